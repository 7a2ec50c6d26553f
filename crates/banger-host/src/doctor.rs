//! What works here, what is missing, and what to do about it.

mod keys;
mod programs;
mod root;
mod storage;
mod user;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use banger_core::config::Config;
use banger_core::dirs::Dirs;
use banger_core::doctor::{Check, DoctorReport};
use banger_exec::{Tool, Tools};

pub use storage::{Storage, storage};
pub use user::{User, user};

use crate::facts::{Kvm, kvm_at};
use crate::{Ready, Version};

/// What is looked at. Tests put a host of their own making in its place.
pub struct Scene<'a> {
    /// The root of the file system.
    pub root: &'a Path,
    /// A variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The programs.
    pub tools: &'a Tools,
    /// banger's folders.
    pub dirs: &'a Dirs,
    /// The configuration, or what is wrong with it.
    pub config: Result<&'a Config, String>,
    /// The agent that goes into images, and what is wrong with it.
    pub agent: (&'a Path, Option<String>),
    /// Who runs VMs.
    pub user: &'a User,
    /// The version of a VMM, if it says one.
    pub version: &'a dyn Fn(Tool) -> Option<Version>,
    /// What the helper can do, or why it cannot be used.
    pub helper: Result<&'a Ready, String>,
    /// The file system of the state folder, or why it cannot be looked at.
    pub storage: Result<&'a Storage, String>,
}

/// Looks at everything.
#[must_use]
pub fn examine(scene: &Scene<'_>) -> DoctorReport {
    let mut checks = vec![scene.kvm()];
    checks.extend(scene.programs());
    checks.push(scene.agent());
    checks.extend(scene.trust());
    checks.extend(scene.without_root());
    checks.push(scene.sudo());
    checks.push(scene.configuration());
    checks.push(scene.ssh_key());
    checks.push(scene.state_folder());
    checks.push(scene.run_folder());
    DoctorReport { checks }
}

/// Looks at what decides how fast and how connected VMs are: KVM, then sudo.
#[must_use]
pub fn essentials(scene: &Scene<'_>) -> [Check; 2] {
    [scene.kvm(), scene.sudo()]
}

impl Scene<'_> {
    /// A file of the host.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file of the host; nothing if it cannot be read.
    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// A command line for root.
    fn as_root(&self, command: &str) -> String {
        if self.user.uid == 0 { command.to_owned() } else { format!("sudo {command}") }
    }

    /// How to install a package of Debian's.
    fn install(&self, package: &str) -> String {
        if !self.at("usr/bin/apt-get").exists() {
            return format!("install what Debian has in its package {package}");
        }
        // Where qemu-utils is of a newer suite, apt would remove it for QEMU; script/setup
        // knows a way round that.
        let option = if package.starts_with("qemu") { "--no-remove " } else { "" };
        self.as_root(&format!("apt-get install {option}{package}"))
    }

    fn kvm(&self) -> Check {
        let (device, modules) = (self.at("dev/kvm"), self.at("sys/module"));
        let reason = match kvm_at(&device, &modules) {
            Kvm::Usable => return Check::ok("KVM", "works"),
            Kvm::Unusable(reason) => reason,
        };
        let warning =
            |why: &str| Check::warning("KVM", format!("{why}; VMs are emulated, and slow"));
        let hardware = ["kvm_intel", "kvm_amd"].iter().any(|module| modules.join(module).exists());
        if hardware && device.exists() {
            let group = format!("usermod --append --groups kvm {}", self.user.name);
            return warning(&reason).remedy(format!("{}, then log in anew", self.as_root(&group)));
        }
        if modules.join("kvm_pvm").exists() {
            return warning("kvm_pvm is loaded, which is no hardware virtualisation");
        }
        let cpu = self.text("proc/cpuinfo");
        let has = |flag: &str| cpu.split_whitespace().any(|word| word == flag);
        match (has("vmx"), has("svm")) {
            (true, _) => warning(&reason).remedy(self.as_root("modprobe kvm_intel")),
            (_, true) => warning(&reason).remedy(self.as_root("modprobe kvm_amd")),
            _ => warning("this processor offers no hardware virtualisation"),
        }
    }

    fn agent(&self) -> Check {
        let (path, flaw) = &self.agent;
        let Some(flaw) = flaw else { return Check::ok("banger-agent", path.display().to_string()) };
        let detail = format!("{}: {flaw}; it goes into every image", path.display());
        Check::missing("banger-agent", detail)
            .remedy("in banger's sources: make build, then make install (or cargo xtask agent)")
    }

    /// What downloads are checked by.
    fn trust(&self) -> [Check; 2] {
        let keyring = "usr/share/keyrings/debian-archive-keyring.gpg";
        let certificates = [
            "etc/ssl/certs/ca-certificates.crt",
            "etc/pki/tls/certs/ca-bundle.crt",
            "etc/ssl/ca-bundle.pem",
            "etc/ssl/cert.pem",
        ];
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().find_map(|name| (self.env)(name));
        let known = certificates.iter().map(|path| self.at(path)).find(|path| path.exists());
        let check = |name: &str, found: Option<PathBuf>, need: &str| match found {
            Some(path) => Check::ok(name, path.display().to_string()),
            None => Check::missing(name, format!("needed for {need}")).remedy(self.install(name)),
        };
        [
            check(
                "debian-archive-keyring",
                Some(self.at(keyring)).filter(|path| path.exists()),
                "verifying Debian's packages",
            ),
            check("ca-certificates", named.map(PathBuf::from).or(known), "downloads over HTTPS"),
        ]
    }

    fn configuration(&self) -> Check {
        let path = self.dirs.config_file();
        match &self.config {
            Err(why) => Check::missing("configuration", why)
                .remedy(format!("correct {}; without it the defaults serve", path.display())),
            Ok(_) if path.exists() => Check::ok("configuration", path.display().to_string()),
            Ok(_) => Check::ok("configuration", format!("the defaults: no {}", path.display())),
        }
    }

    fn run_folder(&self) -> Check {
        const NAME: &str = "run-time folder";
        let folder = self.dirs.run.display();
        let Some(value) = (self.env)("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) else {
            return Check::ok(NAME, format!("{folder} (XDG_RUNTIME_DIR is not set)"));
        };
        let path = Path::new(&value);
        if !path.is_absolute() {
            let detail = format!("{folder}: XDG_RUNTIME_DIR is not an absolute path, and ignored");
            return Check::warning(NAME, detail);
        }
        if !path.is_dir() {
            let detail = format!("XDG_RUNTIME_DIR is {}, which is not there", path.display());
            return Check::warning(NAME, detail).remedy("log in anew, or unset XDG_RUNTIME_DIR");
        }
        Check::ok(NAME, folder.to_string())
    }
}

#[cfg(test)]
mod tests;
