//! The programs that banger runs today.

use banger_core::doctor::Check;
use banger_core::vm::Vmm;
use banger_exec::{Tool, is_program, quote, tools_folder};

use super::Scene;
use crate::oldest;

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

    /// Missing only where the configuration wants it: QEMU is the default.
    fn firecracker(&self) -> Option<Check> {
        const TOOL: Tool = Tool::Firecracker;
        let config = self.config.as_ref().ok();
        if let Some(path) = config.and_then(|config| config.firecracker_bin.as_ref())
            && !is_program(path)
        {
            let detail = format!("firecracker_bin is {}, which is no program", path.display());
            let remedy = format!("correct {}", self.dirs.config_file().display());
            return Some(Check::warning(TOOL.program(), detail).remedy(remedy));
        }
        let wanted = config.is_some_and(|config| config.vmm == Vmm::Firecracker);
        (wanted || self.tools.path(TOOL).is_ok()).then(|| self.program(TOOL))
    }

    fn program(&self, tool: Tool) -> Check {
        if let Ok(path) = self.tools.path(tool) {
            let path = path.display();
            let asked = oldest(tool).and_then(|oldest| Some((oldest, (self.version)(tool)?)));
            return match asked {
                Some((oldest, found)) if found < oldest => {
                    let detail = format!("{path} is {found}; {oldest} or newer is needed");
                    Check::warning(tool.program(), detail).remedy(self.get(tool))
                }
                _ => Check::ok(tool.program(), path.to_string()),
            };
        }
        let detail = format!("needed for {}", tool.purpose());
        Check::missing(tool.program(), detail).remedy(self.get(tool))
    }

    /// How to get a program.
    fn get(&self, tool: Tool) -> String {
        match tool {
            Tool::VhostDeviceVsock => install_vsock(),
            // No distribution has it.
            Tool::Firecracker => "put a release of Firecracker's own into /usr/local/bin \
                (https://github.com/firecracker-microvm/firecracker/releases)"
                .to_owned(),
            _ => self.install(tool.package()),
        }
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
