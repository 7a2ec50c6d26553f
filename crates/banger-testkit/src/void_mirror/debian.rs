//! What is taken of Debian.

use std::collections::BTreeSet;
use std::io;

use super::tree::Tree;

/// Modules of the kernel, beside those that they need.
const MODULES: [&str; 8] = [
    "crc32c-intel",
    "dummy",
    "ext4",
    "virtio-rng",
    "virtio_blk",
    "virtio_mmio",
    "virtio_net",
    "vmw_vsock_virtio_transport",
];

/// The kernel, and those of its modules that a VM needs: others take long to pack.
pub(super) fn kernel(root: &mut Tree) -> io::Result<Tree> {
    let mut kernel = root.take(|path| path.starts_with("boot/") || path.contains("/modules/"));
    let image = kernel.0.keys().find_map(|path| path.strip_prefix("boot/vmlinuz-"));
    let release = image.ok_or_else(|| io::Error::other("there is no kernel"))?;
    let folder = format!("usr/lib/modules/{release}/");
    let needs = kernel.text(&format!("{folder}modules.dep"))?;
    let name = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        file.trim_end_matches(".ko").replace('_', "-")
    };
    let wanted = MODULES.map(name);
    let mut modules = BTreeSet::new();
    for line in needs.lines() {
        let (module, needed) = line.split_once(':').unwrap_or((line, ""));
        if wanted.contains(&name(module)) {
            modules.extend(needed.split_whitespace().chain([module]));
        }
    }
    kernel.0.retain(|path, _| match path.strip_prefix(&folder) {
        Some(file) => modules.contains(file) || file.starts_with("modules."),
        None => true,
    });
    Ok(kernel)
}

/// Files that are of no use to a system that runs no systemd and installs no packages of Debian.
const NOT_OF_ROOT: [&str; 24] = [
    "usr/bin/apt",
    "usr/bin/busctl",
    "usr/bin/dpkg",
    "usr/bin/gpgv",
    "usr/bin/journalctl",
    "usr/bin/localedef",
    "usr/bin/perl",
    "usr/bin/systemctl",
    "usr/bin/systemd",
    "usr/bin/udevadm",
    "usr/lib/x86_64-linux-gnu/libapt",
    "usr/lib/x86_64-linux-gnu/libdb-5",
    "usr/lib/x86_64-linux-gnu/libgnutls",
    "usr/lib/x86_64-linux-gnu/libp11-kit",
    "usr/lib/x86_64-linux-gnu/libperl",
    "usr/lib/x86_64-linux-gnu/libstdc++",
    "usr/lib/x86_64-linux-gnu/libunistring",
    "usr/sbin/halt",
    "usr/sbin/init",
    "usr/sbin/poweroff",
    "usr/sbin/reboot",
    "usr/sbin/runlevel",
    "usr/sbin/shutdown",
    "usr/sbin/telinit",
];

/// What makes a system that runs services, a kernel, and programs for packages.
pub(super) fn of_root(path: &str) -> bool {
    const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu/";
    const FOLDERS: [&str; 14] = [
        "boot/vmlinuz-",
        "etc/alternatives/awk",
        "etc/ld.so",
        "etc/login.defs",
        "etc/pam.d/",
        "etc/security/",
        "etc/ssh/ssh",
        "usr/bin/",
        "usr/lib/modules/",
        "usr/lib/openssh/",
        "usr/lib64/",
        "usr/sbin/",
        "etc/group",
        "etc/passwd",
    ];
    let library = path
        .strip_prefix(LIBRARIES)
        .is_some_and(|file| !file.contains('/') || file.starts_with("security/"));
    let host_key = path.starts_with("etc/ssh/ssh_host_");
    (library || path == "etc/nsswitch.conf" || FOLDERS.iter().any(|begin| path.starts_with(begin)))
        && !host_key
        && !NOT_OF_ROOT.iter().any(|begin| path.starts_with(begin))
}

/// What runs services.
pub(super) fn of_runit(path: &str) -> bool {
    let program = path.strip_prefix("usr/sbin/").or(path.strip_prefix("usr/bin/"));
    let programs = [
        "chpst", "halt", "init", "poweroff", "reboot", "runit", "runsv", "runsvdir", "shutdown",
        "sv",
    ];
    program.is_some_and(|name| programs.contains(&name))
        || ["usr/lib/runit/runit-init", "usr/lib/runit/shutdown"].contains(&path)
}
