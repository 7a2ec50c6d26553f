//! `cargo xtask openapi`: the API's description, as bangerd prints it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

/// bangerd is built first.
const LIMIT: Duration = Duration::from_secs(1200);

pub(crate) fn write() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let mut command = Command::new(Tool::Cargo)
        .args(["run", "--quiet", "--locked", "-p", "bangerd", "--", "openapi"])
        .dir(root)
        .timeout(LIMIT);
    // What cargo needs to be the same cargo.
    for name in ["RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command = command.env(name, value);
        }
    }
    let output = HostRunner::new(Tools::discover()).capture(&command)?;
    fs::write(root.join("docs/openapi.json"), output.stdout)?;
    Ok(())
}
