//! `banger vm ssh`, `vm exec` and the proxy that carries them over vsock.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::SshAccess;
use banger_core::vm::SSH_PORT;
use banger_exec::{Command, Tool, Tools};

use crate::cmd::guest::{agent, running};
use crate::daemon;
use crate::error::CommandError;
use crate::follow::OK;
use crate::relay::{Linger, relay};
use crate::signals::End;

/// How long the guest may be silent after our input has ended.
const LINGER: Duration = Duration::from_secs(10);

/// Becomes `ssh`, so that exit status, terminal and signals are its own.
pub async fn enter(
    key: &str,
    command: &[String],
    terminal: bool,
) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let vm = running(&client, key).await?;
    let access: SshAccess = client.get(&format!("/v1/vms/{}/ssh", vm.id)).await?;
    let own = std::env::current_exe()?;
    let terminal = terminal && std::io::stdin().is_terminal();
    let proxy = proxy_line(&own, &["vm", "proxy", vm.id.as_str(), &SSH_PORT.to_string()]);
    let args = arguments(vm.name.as_str(), &access, &proxy, command, terminal);
    let ssh = Command::new(Tool::Ssh).args(args);
    Err(banger_exec::replace(&Tools::discover(), &ssh).into())
}

/// The line that makes `ssh` run us as its proxy. ssh expands % in it, and
/// gives it to a shell.
pub fn proxy_line(own: &Path, words: &[&str]) -> String {
    let words = words.iter().map(|word| quote(&percent(word)));
    std::iter::once(quote(&percent(&own.to_string_lossy())))
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What ssh reads back as it is where it expands %.
pub fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// The arguments of `ssh` (ssh(1), ssh_config(5)) that enter `host`, whose
/// name is only shown. The person's own configuration is left out: it may say
/// what does not fit a VM.
pub fn arguments(
    host: &str,
    access: &SshAccess,
    proxy: &str,
    command: &[String],
    terminal: bool,
) -> Vec<String> {
    // ssh expands % in these values.
    let path = |path: &Path| percent(&path.to_string_lossy());
    let options = [
        ("ProxyCommand", proxy.to_owned()),
        ("IdentityFile", format!("\"{}\"", path(&access.key))),
        ("IdentitiesOnly", "yes".to_owned()),
        ("UserKnownHostsFile", format!("\"{}\"", path(&access.known_hosts))),
        ("GlobalKnownHostsFile", "/dev/null".to_owned()),
        ("HostKeyAlias", access.host_key_alias.clone()),
        ("StrictHostKeyChecking", "yes".to_owned()),
        ("PasswordAuthentication", "no".to_owned()),
        ("LogLevel", "ERROR".to_owned()),
    ];
    let mut args = vec!["-F".to_owned(), "none".to_owned()];
    args.extend(
        options.into_iter().flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")]),
    );
    if !command.is_empty() {
        args.push(if terminal { "-t" } else { "-T" }.to_owned());
    }
    args.push(format!("{}@{}", access.user, host));
    match command {
        [] => {}
        [line] => args.extend(["--".to_owned(), line.clone()]),
        several => {
            args.push("--".to_owned());
            args.extend(several.iter().map(|word| quote(word)));
        }
    }
    args
}

/// A word that a POSIX shell reads back as it is.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Connects standard input and output to a port of the guest.
pub async fn proxy(key: &str, port: u16) -> Result<ExitCode, CommandError> {
    // Caught before there is a connection that would be left in the guest.
    let mut end = End::catch_hang_up_too()?;
    let client = daemon::connect().await?;
    let vm = running(&client, key).await?;
    let guest = agent(&vm).stream(port).await?;
    let (stdin, stdout) = (tokio::io::stdin(), tokio::io::stdout());
    relay(guest, stdin, stdout, Linger::Silence(LINGER), end.told()).await?;
    Ok(OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a-b/c"), "a-b/c");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quote(""), "''");
        let line = proxy_line(Path::new("/opt/a b/100%"), &["vm", "proxy", "1"]);
        assert_eq!(line, "'/opt/a b/100%%' vm proxy 1");
    }
}
