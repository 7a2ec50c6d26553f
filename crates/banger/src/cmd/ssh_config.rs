//! `banger ssh-config`: every program that goes by ssh's configuration reaches `NAME.banger`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use banger_core::api::SshAccess;
use banger_core::config::Config;
use banger_core::vm::{SSH_PORT, Vm};

use crate::cli::{KnownHost, SUFFIX, SshConfig, vm_of_host};
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};
use banger_core::ssh::{percent, proxy_line, quote};

pub fn run(args: SshConfig) -> Result<ExitCode, CommandError> {
    let dirs = daemon::dirs()?;
    let config = fs::read_to_string(dirs.config_file()).unwrap_or_default();
    let config = Config::parse(&config).map_err(|e| CommandError::new(e.to_string()).code(2))?;
    let key = config.ssh_key.unwrap_or_else(|| dirs.ssh_key());
    let text = stanza(&std::env::current_exe()?, &key);
    if !(args.install || args.remove) {
        output::line(text.trim_end());
        return Ok(OK);
    }
    let ours = dirs.config.join("ssh_config");
    let theirs = home()?.join(".ssh/config");
    let include = format!("Include \"{}\"", ours.display());
    let before = match fs::read_to_string(&theirs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed("read", &theirs))?,
    };
    // First, for what comes behind a `Host` line is that host's only.
    let after = with_first_line(&before, &include, !args.remove);
    if args.install {
        write(&ours, &text)?;
    }
    if after != before {
        write(&theirs, &after)?;
    }
    if args.remove {
        match fs::remove_file(&ours) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &ours)(error));
            }
            _ => output::note(&format!("{} no longer knows VMs", theirs.display())),
        }
    } else {
        output::note(&format!("{} includes {}", theirs.display(), ours.display()));
        output::note("try: ssh NAME.banger");
    }
    Ok(OK)
}

fn home() -> Result<PathBuf, CommandError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from).ok_or_else(|| CommandError::new("HOME is not set"))
}

/// A text with a line as its first, or without it; the other lines as they are.
fn with_first_line(text: &str, line: &str, wanted: bool) -> String {
    let others = text.split_inclusive('\n').filter(|other| other.trim() != line);
    let first = if wanted { format!("{line}\n") } else { String::new() };
    std::iter::once(first.as_str()).chain(others).collect()
}

/// Writes a file of the person's whole or not at all, where a link leads that may be in its place.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mode = fs::metadata(&place).map_or(0o600, |m| m.permissions().mode() & 0o777);
        let part = place.with_added_extension("new");
        let mut options = fs::File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &place)
    };
    write().map_err(failed("write", path))
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> CommandError {
    let what = format!("cannot {what} {}", path.display());
    move |error| CommandError::new(format!("{what}: {error}"))
}

/// What ssh is told of all VMs (ssh_config(5)). The key of each is asked of us (`KnownHostsCommand`,
/// OpenSSH 8.5), so nothing has to be written when a VM is made or renamed.
fn stanza(own: &Path, key: &Path) -> String {
    let proxy = proxy_line(&own.to_string_lossy(), &["vm", "proxy"]);
    let key = percent(&key.to_string_lossy());
    format!(
        "# Written by 'banger ssh-config': ssh, scp, rsync and editors reach NAME{SUFFIX}.\n\
         Host *{SUFFIX}\n    \
             User root\n    \
             ProxyCommand {proxy} %n {SSH_PORT}\n    \
             KnownHostsCommand {proxy_own} vm known-host %n\n    \
             UserKnownHostsFile none\n    \
             GlobalKnownHostsFile none\n    \
             StrictHostKeyChecking yes\n    \
             IdentityFile \"{key}\"\n    \
             IdentitiesOnly yes\n",
        // The first word of a command is taken as it is.
        proxy_own = quote(&own.to_string_lossy()),
    )
}

/// Prints the line of known_hosts that pins the host key of a VM by the name it is reached by.
pub async fn known_host(args: KnownHost) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let key = vm_of_host(&args.host).map_err(|why| CommandError::new(why).code(2))?;
    let vm: Vm = client.get(&format!("/v1/vms/{key}")).await?;
    let access: SshAccess = client.get(&format!("/v1/vms/{}/ssh", vm.id)).await?;
    let pinned =
        fs::read_to_string(&access.known_hosts).map_err(failed("read", &access.known_hosts))?;
    let key = pinned.split_once(' ').map_or("", |(_, key)| key.trim());
    output::line(&format!("{} {key}", args.host));
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_first_and_goes_again() {
        for text in ["", "Host a\n  User b\n", "# Include \"x\"\nHost a", "Host a\n\n"] {
            let with = with_first_line(text, "Include \"x\"", true);
            assert_eq!(with, format!("Include \"x\"\n{text}"));
            assert_eq!(with_first_line(&with, "Include \"x\"", true), with);
            assert_eq!(with_first_line(&with, "Include \"x\"", false), text);
        }
    }

    #[test]
    fn one_stanza_serves_all_vms() {
        let text = stanza(Path::new("/opt/my tools/banger"), Path::new("/s/banger/ssh/id_ed25519"));
        insta::assert_snapshot!(text, @r#"
        # Written by 'banger ssh-config': ssh, scp, rsync and editors reach NAME.banger.
        Host *.banger
            User root
            ProxyCommand '/opt/my tools/banger' vm proxy %n 22
            KnownHostsCommand '/opt/my tools/banger' vm known-host %n
            UserKnownHostsFile none
            GlobalKnownHostsFile none
            StrictHostKeyChecking yes
            IdentityFile "/s/banger/ssh/id_ed25519"
            IdentitiesOnly yes
        "#);
    }
}
