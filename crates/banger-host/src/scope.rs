//! A VM's processes in a scope of systemd's (systemd.scope(5)): a unit of their own, that the end of
//! the session or the service in which the daemon was started does not concern.

use std::fs;
use std::path::Path;
use std::time::Duration;

use banger_core::resource::ProcessId;
use banger_exec::{Command, ExecError, Runner, Tool};

/// How long systemd may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Puts the processes of the VM `name` into a scope, if a manager is there that lasts as long as
/// they are to. The scope goes with the last of them.
///
/// # Errors
/// systemd refuses, which takes nothing from the processes.
pub(crate) fn enter(
    runner: &dyn Runner,
    name: &str,
    processes: &[ProcessId],
) -> Result<(), ExecError> {
    let uid = rustix::process::geteuid().as_raw();
    let bus = format!("/run/user/{uid}/bus");
    // sd_booted(3).
    if processes.is_empty() || !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    let manager = if uid == 0 {
        "--system".to_owned()
    } else if Path::new(&bus).exists() && (is_within_manager(uid) || lingers(runner, uid)?) {
        format!("--address=unix:path={bus}")
    } else {
        return Ok(());
    };
    runner.capture(&call(&manager, name, processes)).map(drop)
}

/// Whether we end with the user's manager as it is: a scope of it then ends no earlier.
fn is_within_manager(uid: u32) -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.contains(&format!("/user@{uid}.service/"))
}

/// Whether the user's manager stays when the user has logged out (loginctl(1), `enable-linger`).
fn lingers(runner: &dyn Runner, uid: u32) -> Result<bool, ExecError> {
    let object = format!("/org/freedesktop/login1/user/_{uid}");
    let asked = Command::new(Tool::Busctl)
        .args(["--system", "get-property", "org.freedesktop.login1", &object])
        .args(["org.freedesktop.login1.User", "Linger"])
        .timeout(LIMIT);
    Ok(runner.capture(&asked)?.stdout.trim_ascii() == b"b true")
}

/// `StartTransientUnit` (org.freedesktop.systemd1(5)).
fn call(manager: &str, name: &str, processes: &[ProcessId]) -> Command {
    let pids: Vec<_> = processes.iter().map(|process| process.pid.to_string()).collect();
    // Another run's scope may be there for a moment longer.
    let unit = format!("banger-{name}-{}.scope", pids.join("-"));
    Command::new(Tool::Busctl)
        .args([manager, "--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"])
        .args(["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"])
        .args([&unit, "fail", "3"])
        .args(["Description", "s", &format!("banger VM {name}")])
        .args(["CollectMode", "s", "inactive-or-failed"])
        .args(["PIDs", "au", &pids.len().to_string()])
        .args(pids)
        .arg("0")
        .timeout(LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_processes_of_a_vm_go_into_one_scope() {
        let process = |pid| ProcessId { pid, start_ticks: 1, boot_id: String::new() };
        insta::assert_snapshot!(call("--system", "0123456789abcdef", &[process(41), process(42)]), @"busctl --system --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' banger-0123456789abcdef-41-42.scope fail 3 Description s 'banger VM 0123456789abcdef' CollectMode s inactive-or-failed PIDs au 2 41 42 0");
    }
}
