//! `GET /v1/doctor`, and `bangerd doctor` where no daemon answers: this host
//! as it is now, whatever it was when the daemon started.

use std::path::Path;

use banger_core::dirs::Dirs;
use banger_core::doctor::DoctorReport;
use banger_exec::Tools;
use banger_host::doctor::{Scene, examine, storage, user};
use banger_image::elf::check_static;

use crate::daemon::{companion, read_config};
use crate::error::chain;

/// Looks at the host and at banger's folders.
#[must_use]
pub fn report(dirs: &Dirs) -> DoctorReport {
    let root = Path::new("/");
    let config = read_config(dirs).map_err(|error| chain(&error));
    let storage = storage(&dirs.state).map_err(|error| chain(&error));
    let agent = companion("banger-agent");
    examine(&Scene {
        root,
        env: &|name| std::env::var_os(name),
        tools: &Tools::discover(),
        dirs,
        config: config.as_ref().map_err(Clone::clone),
        agent: (&agent, flaw(&agent)),
        user: &user(root),
        storage: storage.as_ref().map_err(Clone::clone),
    })
}

/// What is wrong with the agent.
fn flaw(agent: &Path) -> Option<String> {
    match std::fs::read(agent) {
        Ok(bytes) => check_static(&bytes).err().map(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("it is not there".to_owned())
        }
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}
