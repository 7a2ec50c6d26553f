//! The programs that banger runs today.

use banger_core::doctor::Check;
use banger_exec::{Tool, is_program, quote, tools_folder};

use super::Scene;
use crate::OLDEST_QEMU;

/// What running VMs takes.
const RUNNING: &[Tool] = &[
    Tool::QemuSystem,
    Tool::VhostDeviceVsock,
    Tool::QemuImg,
    Tool::E2fsck,
    Tool::Resize2fs,
    Tool::Ssh,
    Tool::SshKeygen,
];
/// What building images takes beyond that.
const BUILDING: &[Tool] = &[Tool::Mmdebstrap, Tool::Tar, Tool::Mke2fs, Tool::Debugfs];
/// … and without root.
const BUILDING_WITHOUT_ROOT: &[Tool] = &[Tool::Newuidmap, Tool::Unshare, Tool::Rm];

/// The version that `script/setup` installs.
const VSOCK_VERSION: &str = "0.3.0";

impl Scene<'_> {
    pub(super) fn programs(&self) -> Vec<Check> {
        let without_root = if self.user.uid == 0 { &[] } else { BUILDING_WITHOUT_ROOT };
        let all = RUNNING.iter().chain(BUILDING).chain(without_root);
        all.map(|tool| self.program(*tool)).chain(self.firecracker()).collect()
    }

    /// Looked at only where the configuration names it: QEMU is the default.
    fn firecracker(&self) -> Option<Check> {
        let path = self.config.as_ref().ok()?.firecracker_bin.as_ref()?;
        let name = Tool::Firecracker.program();
        if is_program(path) {
            return Some(Check::ok(name, path.display().to_string()));
        }
        let detail = format!("firecracker_bin is {}, which is no program", path.display());
        let remedy = format!("correct {}", self.dirs.config_file().display());
        Some(Check::warning(name, detail).remedy(remedy))
    }

    fn program(&self, tool: Tool) -> Check {
        if let Ok(path) = self.tools.path(tool) {
            let path = path.display();
            return match self.qemu.filter(|found| tool == Tool::QemuSystem && *found < OLDEST_QEMU)
            {
                None => Check::ok(tool.program(), path.to_string()),
                Some(found) => {
                    let detail = format!("{path} is {found}; {OLDEST_QEMU} or newer is needed");
                    Check::warning(tool.program(), detail).remedy(self.install(tool.package()))
                }
            };
        }
        let remedy = match tool {
            Tool::VhostDeviceVsock => install_vsock(),
            _ => self.install(tool.package()),
        };
        Check::missing(tool.program(), format!("needed for {}", tool.purpose())).remedy(remedy)
    }
}

/// No distribution has it. In the tools folder it is found whatever PATH is.
fn install_vsock() -> String {
    let root = tools_folder().map(|folder| format!("--root {} ", quote(&folder.to_string_lossy())));
    let root = root.unwrap_or_default();
    format!("cargo install --locked {root}vhost-device-vsock@{VSOCK_VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_setup_installs() {
        let script = include_str!("../../../../script/lib.sh");
        assert!(script.contains(&format!("VSOCK_VERSION={VSOCK_VERSION} ")));
    }
}
