//! `banger config`.

use std::path::Path;
use std::process::ExitCode;

use banger_core::config::{Config, Setting};
use serde::Serialize;

use crate::cli;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// What is printed with `--json`.
#[derive(Serialize)]
struct Shown<'a> {
    path: &'a Path,
    exists: bool,
    settings: &'a [Setting],
    home: Home<'a>,
}

/// The folder that `/root` of a new VM starts with.
#[derive(Serialize)]
struct Home<'a> {
    path: &'a Path,
    exists: bool,
}

pub fn run(command: cli::Config) -> Result<ExitCode, CommandError> {
    let dirs = daemon::dirs()?;
    let path = dirs.config_file();
    match command {
        cli::Config::Path => output::line(&path.display().to_string()),
        cli::Config::Show(format) => {
            let text = read(&path)?;
            let exists = text.is_some();
            let settings = Config::settings(&text.unwrap_or_default()).map_err(|error| {
                let message =
                    format!("the configuration {} cannot be used: {error}", path.display());
                CommandError::new(message).code(2)
            })?;
            let home = dirs.home();
            let home = Home { path: &home, exists: home.is_dir() };
            let shown = Shown { path: &path, exists, settings: &settings, home };
            if format.json {
                output::json(&shown);
            } else {
                output::line(&describe(&shown));
            }
        }
    }
    Ok(OK)
}

/// The configuration as it is now.
pub fn current() -> Result<Config, CommandError> {
    let path = daemon::dirs()?.config_file();
    let text = read(&path)?.unwrap_or_default();
    Config::parse(&text).map_err(|error| {
        let message = format!("the configuration {} cannot be used: {error}", path.display());
        CommandError::new(message).code(2)
    })
}

/// The file's text; nothing if there is none.
fn read(path: &Path) -> Result<Option<String>, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::new(format!("cannot read {}: {error}", path.display()))),
    }
}

/// The configuration as a file that says the same.
fn describe(shown: &Shown<'_>) -> String {
    let there = if shown.exists { "" } else { " (not there: these are the defaults)" };
    let head = format!("# {}{there}", shown.path.display());
    let there =
        if shown.home.exists { "" } else { " (not there: a .bashrc and .profile of banger's)" };
    let home = format!(
        "# what /root of a new VM starts with is in a folder{there}\n# {}",
        shown.home.path.display()
    );
    let entries = shown.settings.iter().map(entry);
    std::iter::once(head).chain(entries).chain([home]).collect::<Vec<_>>().join("\n\n")
}

fn entry(setting: &Setting) -> String {
    let Setting { key, meaning, example, .. } = setting;
    let Some(value) = &setting.value else {
        return format!("# {meaning} (not set)\n# {key} = {example}");
    };
    let source = if setting.from_file { "from the file" } else { "default" };
    format!("# {meaning} ({source})\n{key} = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        let text = "memory = \"1500m\"\nssh_key = '/home/me/my \"key\"'\n";
        let describe = |exists, text: &str| {
            let settings = Config::settings(text).unwrap();
            let home = Home { path: Path::new("/c/home"), exists };
            describe(&Shown {
                path: Path::new("/c/config.toml"),
                exists,
                settings: &settings,
                home,
            })
        };
        let shown = describe(true, text);
        assert_eq!(Config::parse(&shown), Config::parse(text));
        insta::assert_snapshot!(shown, @r#"
        # /c/config.toml

        # the image of a new VM that names none (default)
        image = "debian"

        # virtual CPUs of a new VM (default)
        vcpus = 2

        # memory of a new VM (from the file)
        memory = "1500M"

        # work disk of a new VM (default)
        disk = "8G"

        # what runs a new VM: qemu, or firecracker, which needs KVM (default)
        vmm = "qemu"

        # the Firecracker program, if it is not to be looked for on PATH (not set)
        # firecracker_bin = "/opt/firecracker/bin/firecracker"

        # whether the opencode server runs in a new VM (default)
        opencode = true

        # the private key that enters VMs, its .pub beside it; without one, banger makes a pair (from the file)
        ssh_key = '/home/me/my "key"'

        # the addresses of the network nat; without it, a /24 that nothing else here has (not set)
        # subnet = "172.28.0.0/24"

        # the name servers of the network nat; without it, the host's own (not set)
        # dns = ["9.9.9.9"]

        # the host's TCP ports that guests may reach by the network nat (default)
        host_ports = []

        # how long a start may take to reach each readiness stage; 60 with KVM, 240 without (not set)
        # ready_seconds = 240

        # where the web console listens: off, or at an address of loopback with a port (0: any) (default)
        web_listen = "127.0.0.1:7777"

        # what /root of a new VM starts with is in a folder
        # /c/home
        "#);
        let none = describe(false, "");
        assert_eq!(Config::parse(&none).unwrap(), Config::default());
        insta::assert_snapshot!(none.lines().next().unwrap(), @"# /c/config.toml (not there: these are the defaults)");
        let home: Vec<_> = none.lines().rev().take(2).collect();
        insta::assert_snapshot!(home[1], @"# what /root of a new VM starts with is in a folder (not there: a .bashrc and .profile of banger's)");
    }

    #[test]
    fn scripts_get_values_of_their_kind() {
        let settings = Config::settings("vcpus = 4").unwrap();
        let json = serde_json::to_value(&settings).unwrap();
        insta::assert_snapshot!(json[1], @r#"{"example":"2","from_file":true,"key":"vcpus","meaning":"virtual CPUs of a new VM","value":4}"#);
        assert!(json[5]["value"].is_null(), "{}", json[5]);
    }
}
