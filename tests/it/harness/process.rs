//! Running banger, and finding what runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools};
use rustix::process::{Pid, Signal, kill_process};

use super::As;
use super::programs::{programs, tools_folder};
use super::user::user;

/// Nothing that is tested takes this long.
pub const LIMIT: Duration = Duration::from_secs(1200);

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

#[expect(clippy::disallowed_methods, reason = "tests of crashes, of Ctrl-C, of a busy host")]
pub fn signal(pid: i32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(pid).unwrap(), signal)
}

/// The ids and command lines of the processes that have a path below `dir` in
/// them, the daemon left out.
pub fn processes_of(dir: &Path) -> Vec<(i32, String)> {
    let needle = dir.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let daemon = line.trim_end().ends_with("bangerd");
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (line.contains(&needle) && !daemon).then_some((pid, line))
        })
        .collect()
}

pub fn run((runner, command): (HostRunner, Command)) -> Ran {
    match runner.capture(&command) {
        Ok(output) => Ran {
            code: 0,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: output.stderr,
        },
        Err(ExecError::Failed { status, stdout, stderr, .. }) => {
            let code = status.trim_start_matches("exit status ").parse().unwrap_or(-1);
            Ran { code, stdout, stderr }
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn command(dir: &Path, who: As, own: Option<&Path>, args: &[&str]) -> (HostRunner, Command) {
    let programs = own.map_or_else(|| programs(who), Path::to_owned);
    let tools = Tools::discover().with(Tool::Banger, programs.join("banger"));
    let command = match who {
        As::Me => Command::new(Tool::Banger),
        As::User => {
            let user = user();
            Command::new(Tool::Setpriv)
                .args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)])
                .arg("--init-groups")
                .arg(programs.join("banger"))
                .env("HOME", &user.home)
        }
    };
    // What this machine trusts, and its mirrors.
    let passed_on = ["SSL_CERT_FILE", "SSL_CERT_DIR", "NPM_CONFIG_USERCONFIG"];
    let command = passed_on.iter().fold(command, |command, name| match std::env::var_os(name) {
        Some(value) => command.env(name, value),
        None => command,
    });
    let command = command
        .args(args)
        .timeout(LIMIT)
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("BANGER_TOOLS", tools_folder(who));
    (HostRunner::new(tools), command)
}
