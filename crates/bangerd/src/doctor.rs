//! `GET /v1/doctor`, and `bangerd doctor` where no daemon answers: this host
//! as it is now, whatever it was when the daemon started.

use std::path::Path;

use banger_core::dirs::Dirs;
use banger_core::doctor::{Check, DoctorReport};
use banger_core::image::{Image, files};
use banger_exec::{HostRunner, Tool, Tools};
use banger_host::doctor::{Scene, examine, storage, user};
use banger_host::{AskError, Helper as _, Ready, Sudo, privileged, version};
use banger_image::elf::check_static;
use banger_image::parts;

use crate::daemon::{companion, read_config};
use crate::error::chain;

/// Looks at the host and at banger's folders.
#[must_use]
pub fn report(dirs: &Dirs) -> DoctorReport {
    let mut report = look(dirs, None, examine);
    report.checks.push(images(&dirs.images()));
    report
}

/// Looks at KVM and sudo only, where what the helper can do is known.
#[must_use]
pub fn essentials(dirs: &Dirs, helper: Result<Ready, AskError>) -> [Check; 2] {
    look(dirs, Some(helper), banger_host::doctor::essentials)
}

/// Shows a scene; the helper is asked if what it can do is not known.
fn look<T>(
    dirs: &Dirs,
    helper: Option<Result<Ready, AskError>>,
    at: impl FnOnce(&Scene<'_>) -> T,
) -> T {
    let root = Path::new("/");
    let config = read_config(dirs).map_err(|error| chain(&error));
    let storage = storage(&dirs.state).map_err(|error| chain(&error));
    let agent = companion("banger-agent");
    let named = config.as_ref().ok().and_then(|config| config.firecracker_bin.clone());
    let tools = Tools::discover();
    let tools = match named {
        Some(path) => tools.with(Tool::Firecracker, path),
        None => tools,
    };
    let runner = HostRunner::new(tools.clone());
    let ask = || Sudo::new(tools.clone(), dirs.state.clone()).ready();
    let helper = helper.unwrap_or_else(ask);
    at(&Scene {
        root,
        env: &|name| std::env::var_os(name),
        tools: &tools,
        dirs,
        config: config.as_ref().map_err(Clone::clone),
        agent: (&agent, flaw(&agent)),
        user: &user(root),
        version: &|tool| version(&runner, tool),
        helper: helper.as_ref().map_err(ToString::to_string),
        storage: storage.as_ref().map_err(Clone::clone),
    })
}

/// The line of `/etc/sudoers.d/banger` that lets this user's daemon use `banger-helper`.
///
/// # Errors
/// It would let others than root decide what runs as root.
pub fn sudoers() -> Result<String, String> {
    privileged::sudoers(&Tools::discover(), &user(Path::new("/")).name)
}

/// Whether the images are as they were built, without a daemon: by the lengths of their files, and
/// by the content of those that anybody may have changed, which takes a second or so for each.
fn images(folder: &Path) -> Check {
    const NAME: &str = "images";
    let described = |dir: &Path| -> Option<Image> {
        serde_json::from_slice(&std::fs::read(dir.join(files::DESCRIPTION)).ok()?).ok()
    };
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let dir = entry.path();
        match described(&dir) {
            None => damaged.push(format!("{} holds no image.json", dir.display())),
            Some(image) => {
                let look = if image.in_place.is_some() { parts::verify } else { parts::check };
                match look(&dir, &image) {
                    Ok(()) => whole.push(image.name.to_string()),
                    Err(damage) => damaged.push(format!("'{}': {damage}", image.name)),
                }
            }
        }
    }
    whole.sort();
    match (damaged.is_empty(), whole.is_empty()) {
        (true, true) => Check::ok(NAME, "none yet"),
        (true, false) => Check::ok(NAME, whole.join(", ")),
        (false, _) => Check::warning(NAME, damaged.join("; "))
            .remedy("put the files back, or delete the image and build it again"),
    }
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
