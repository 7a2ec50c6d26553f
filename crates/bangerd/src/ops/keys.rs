//! SSH keys: one pair that enters VMs, one host key a VM.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use banger_core::config::Config;
use banger_core::dirs::{Dirs, vm_files};
use banger_core::id::VmId;
use banger_exec::{Command, Runner, Tool};

use crate::engine::lock;
use crate::error::OpError;

/// The private key that enters VMs and its public line: the configured one,
/// else a pair that is made once.
///
/// # Errors
/// The configured key has no public part, or a pair cannot be made.
pub fn client_key(
    runner: &dyn Runner,
    dirs: &Dirs,
    config: &Config,
) -> Result<(PathBuf, String), OpError> {
    let path = match &config.ssh_key {
        Some(path) => path.clone(),
        None => {
            let path = dirs.ssh_key();
            make_key(runner, &path, "banger")?;
            path
        }
    };
    let public = path.with_added_extension("pub");
    let what = format!("read the public SSH key {}", public.display());
    let line = fs::read_to_string(&public).map_err(OpError::file(what))?;
    Ok((path, line))
}

/// Makes a VM's host key in its folder, and the known_hosts file that pins it.
///
/// # Errors
/// Either cannot be written.
pub fn make_host_key(runner: &dyn Runner, dir: &Path, id: &VmId) -> Result<(), OpError> {
    let key = vm_files::host_key(dir);
    make_key(runner, &key, id.short())?;
    let public = key.with_added_extension("pub");
    let line = fs::read_to_string(&public).map_err(OpError::file("read the host key"))?;
    let known_hosts = format!("{id} {line}");
    let mut options = fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let written = file
        .open(vm_files::known_hosts(dir))
        .and_then(|mut file| std::io::Write::write_all(&mut file, known_hosts.as_bytes()));
    written.map_err(OpError::file("write the known_hosts file"))
}

/// Makes an ed25519 pair without a passphrase, unless it is there.
fn make_key(runner: &dyn Runner, path: &Path, comment: &str) -> Result<(), OpError> {
    // Several VMs may be made at once, before there is a key.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = lock(&ONE_AT_A_TIME);
    if path.exists() {
        return Ok(());
    }
    let Some(dir) = path.parent() else { return Ok(()) };
    let what = format!("create {}", dir.display());
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(OpError::file(what))?;
    // Made beside and moved: a pair that is there is whole. The private key comes last.
    let part = path.with_added_extension("new");
    let (part_public, public) =
        (part.with_added_extension("pub"), path.with_added_extension("pub"));
    let _ = fs::remove_file(&part);
    let _ = fs::remove_file(&part_public);
    let command = Command::new(Tool::SshKeygen)
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(&part);
    runner.capture(&command)?;
    let moved = fs::rename(&part_public, &public).and_then(|()| fs::rename(&part, path));
    moved.map_err(OpError::file(format!("write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{HostRunner, Tools};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_pair_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_owned();
        let dirs = Dirs::from_env(|name| (name == "HOME").then(|| home.clone())).unwrap();
        let runner = HostRunner::new(Tools::discover());
        let (path, line) = client_key(&runner, &dirs, &Config::default()).unwrap();
        assert!(line.starts_with("ssh-ed25519 "), "{line}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(client_key(&runner, &dirs, &Config::default()).unwrap(), (path, line));
    }

    #[test]
    fn a_configured_key_without_its_public_part_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_owned();
        let dirs = Dirs::from_env(|name| (name == "HOME").then(|| home.clone())).unwrap();
        let config = Config { ssh_key: Some(dir.path().join("mine")), ..Config::default() };
        let runner = HostRunner::new(Tools::discover());
        let error = client_key(&runner, &dirs, &config).unwrap_err();
        assert!(error.to_string().contains("mine.pub"), "{error}");
    }

    #[test]
    fn a_host_key_is_pinned_by_the_vms_id() {
        let dir = tempfile::tempdir().unwrap();
        let id = VmId::from_bits(7);
        make_host_key(&HostRunner::new(Tools::discover()), dir.path(), &id).unwrap();
        let pinned = fs::read_to_string(vm_files::known_hosts(dir.path())).unwrap();
        assert!(pinned.starts_with("0000000000000007 ssh-ed25519 "), "{pinned}");
    }
}
