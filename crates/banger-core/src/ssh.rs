//! What `ssh` is told to enter a VM.

use std::path::Path;

use crate::api::SshAccess;

/// The line that makes `ssh` run us as its proxy. ssh expands % in it, and
/// gives it to a shell.
#[must_use]
pub fn proxy_line(own: &str, words: &[&str]) -> String {
    let words = words.iter().map(|word| quote(&percent(word)));
    std::iter::once(quote(&percent(own))).chain(words).collect::<Vec<_>>().join(" ")
}

/// What ssh reads back as it is where it expands %.
#[must_use]
pub fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// The arguments of `ssh` (ssh(1), ssh_config(5)) that enter `host`, whose
/// name is only shown. The person's own configuration is left out: it may say
/// what does not fit a VM.
#[must_use]
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
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a-b/c"), "a-b/c");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quote(""), "''");
        let line = proxy_line("/opt/a b/100%", &["vm", "proxy", "1"]);
        assert_eq!(line, "'/opt/a b/100%%' vm proxy 1");
    }
}
