//! banger's own files in an Alpine root, and those that apk would write.

use std::path::{Path, PathBuf};

use super::packages::Had;
use super::{OwnKey, REPOSITORIES, provision};
use crate::apk::installed::{Database, Installed};
use crate::apk::package::Package;
use crate::archive::{Archive, Item, members};
use crate::build::BuildError;
use crate::opencode;

const BUSYBOX: &str = "/bin/busybox";
/// The list of busybox's programs, in its package.
const PATHS: &str = "etc/busybox-paths.d/busybox";
const SERVER: &str = "usr/local/bin/opencode";

/// The services of a VM, by run level; of those, the ones that are there. Each costs time at every
/// boot. Left out are those for consoles and hardware that no VM has, and network and host name, which
/// are the bootstrap's. The kernel makes the devices itself (devtmpfs), and has the host's time; the
/// clock's service only sees to it that time does not go back.
const RUNLEVELS: &[(&str, &[&str])] = &[
    ("sysinit", &["cgroups", "devfs", "sysfs"]),
    ("boot", &["bootmisc", "localmount", "modules", "swclock", "sysctl", "syslog"]),
    ("default", &["opencode", "sshd"]),
    ("shutdown", &["killprocs", "mount-ro", "savecache"]),
];

/// For busybox's init: OpenRC, and no consoles to log in at, as people come by SSH.
const INITTAB: &str = "\
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/openrc shutdown
";

/// banger makes the host key; to make others takes long where the processor is emulated.
const SSHD: &str = "\
# The host key is banger's.
sshd_disable_keygen=yes
";

/// The log is needed sooner than what sets a clock, of which a VM may have none.
const SYSLOG: &str = "\
# Clock and host name are banger's.
SYSLOGD_OPTS=-t
rc_need=\"!clock !hostname\"
";

/// The kernel and the initramfs are the image's, outside of the root.
const MKINITFS: &str = "\
# This VM is not booted from /boot.
disable_trigger=yes
features=\"base ext4 virtio vsock\"
";

/// What an initramfs of mkinitfs' has by that name: its own feature `virtio` has disks and network,
/// but not the way to the agent.
const VSOCK_FEATURE: &str = "\
kernel/net/vmw_vsock/vsock.ko*
kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko*
kernel/net/vmw_vsock/vmw_vsock_virtio_transport_common.ko*
";

/// Loaded by the service `modules`, where no initramfs has loaded it.
const VSOCK_MODULE: &str = "vmw_vsock_virtio_transport\n";

/// As the kernel is told at its start; Alpine would have two minutes.
const SYSCTL: &str = "\
# A panic ends the VM.
kernel.panic = 1
";

/// As on Debian: it takes much processor time to start, so others come first, and it starts only
/// if the VM is to have it.
const OPENCODE: &str = r#"#!/sbin/openrc-run
description="opencode server"
supervisor=supervise-daemon
command=/usr/local/bin/opencode
command_args="serve --hostname 0.0.0.0 --port 4096"
directory=/root
respawn_delay=2
respawn_max=0

depend() {
    after banger-bootstrap banger-sshd sshd
}

start() {
    [ -s /etc/banger/opencode.env ] || return 0
    set -a
    . /etc/banger/opencode.env
    HOME=/root
    set +a
    default_start
}
"#;

/// What a root has beyond its packages.
pub(super) struct Contents<'a> {
    /// The URL of the folder that has the repositories.
    pub repositories: &'a str,
    /// Keys to trust beyond Alpine's.
    pub keys: &'a [OwnKey],
    pub database: &'a Database,
    pub installed: &'a [Installed<'a>],
    /// Programs that are busybox's.
    pub links: Vec<String>,
    /// The server's downloaded package.
    pub opencode: Option<&'a Path>,
}

/// The programs that busybox is, and that no other package has. Its scripts make the same links,
/// but a script needs a shell, which is one of them.
pub(super) fn links(
    packages: &[Had<'_>],
    has: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, BuildError> {
    let missing = || BuildError::Missing(PATHS.to_owned());
    let has_list = |(package, _): &&(Package, PathBuf)| {
        package.files.iter().any(|file| file.path == PATHS.as_bytes())
    };
    let contents = packages.iter().filter_map(|package| package.content.as_ref());
    let (_, tar) = contents.rev().find(has_list).ok_or_else(missing)?;
    let list = members(tar, |path| path == PATHS)?.remove(PATHS).ok_or_else(missing)?;
    let list = String::from_utf8_lossy(&list);
    let paths = list.lines().map(|line| line.trim().trim_start_matches('/'));
    let paths = paths.filter(|path| !path.is_empty() && !has(&format!("/{path}")));
    Ok(paths.map(str::to_owned).collect())
}

impl Contents<'_> {
    /// Writes a layer into the new file `out`, for a root that has some paths.
    pub(super) fn write(
        &self,
        out: &Path,
        created_at: u64,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<(), BuildError> {
        let mut archive = Archive::create(out, created_at)?;
        for (path, content) in self.apk_files() {
            archive.add(&Item::File { path: &path, mode: 0o644, content: &content })?;
        }
        for path in &self.links {
            archive.add(&Item::Link { path: path.clone(), target: BUSYBOX.to_owned() })?;
        }
        archive.add(&Item::Folder("etc/banger"))?;
        for (path, mode, content) in self.services(has) {
            archive.add(&Item::File { path, mode, content: content.as_bytes() })?;
        }
        for link in self.runlevels(has) {
            archive.add(&link)?;
        }
        provision::add(&mut archive, self.installed)?;
        if let Some(package) = self.opencode {
            let add =
                |size, binary: &mut dyn std::io::Read| archive.file(SERVER, 0o755, size, binary);
            opencode::with_binary(package, add)?;
        }
        archive.finish()
    }

    /// What apk in the guest goes on from.
    fn apk_files(&self) -> Vec<(String, Vec<u8>)> {
        let database = self.database;
        let repositories: String =
            REPOSITORIES.iter().map(|name| format!("{}/{name}\n", self.repositories)).collect();
        let mut files: Vec<_> = [
            ("etc/apk/arch", &database.arch),
            ("etc/apk/repositories", &repositories.into_bytes()),
            ("etc/apk/world", &database.world),
            ("lib/apk/db/installed", &database.installed),
            ("lib/apk/db/lock", &Vec::new()),
            ("lib/apk/db/scripts.tar", &database.scripts),
            ("lib/apk/db/triggers", &database.triggers),
        ]
        .map(|(path, content)| (path.to_owned(), content.clone()))
        .into();
        let keys = self.keys.iter();
        files.extend(keys.map(|key| (format!("etc/apk/keys/{}", key.name), key.pem.clone())));
        files
    }

    fn services(&self, has: &dyn Fn(&str) -> bool) -> Vec<(&'static str, u32, &'static str)> {
        let mut files = vec![
            ("etc/inittab", 0o644, INITTAB),
            ("etc/conf.d/sshd", 0o644, SSHD),
            ("etc/conf.d/syslog", 0o644, SYSLOG),
            ("etc/modules-load.d/banger.conf", 0o644, VSOCK_MODULE),
            ("etc/sysctl.d/99-banger.conf", 0o644, SYSCTL),
        ];
        if has("/etc/mkinitfs/mkinitfs.conf") {
            files.push(("etc/mkinitfs/mkinitfs.conf", 0o644, MKINITFS));
            files.push(("etc/mkinitfs/features.d/vsock.modules", 0o644, VSOCK_FEATURE));
        }
        if self.opencode.is_some() {
            files.push(("etc/init.d/opencode", 0o755, OPENCODE));
        }
        files
    }

    /// As `rc-update add` makes them.
    fn runlevels(&self, has: &dyn Fn(&str) -> bool) -> Vec<Item<'static>> {
        let there = |service: &str| match service {
            "opencode" => self.opencode.is_some(),
            _ => has(&format!("/etc/init.d/{service}")),
        };
        let level = |(level, services): &(&str, &[&'static str])| {
            let link = |service: &&str| Item::Link {
                path: format!("etc/runlevels/{level}/{service}"),
                target: format!("/etc/init.d/{service}"),
            };
            services.iter().filter(|service| there(service)).map(link).collect::<Vec<_>>()
        };
        RUNLEVELS.iter().flat_map(level).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::guest::OPENCODE_ENV;

    #[test]
    fn services_that_are_there_are_switched_on() {
        let database = Database {
            installed: b"I".to_vec(),
            scripts: Vec::new(),
            triggers: Vec::new(),
            world: b"W".to_vec(),
            arch: b"A".to_vec(),
            superseded: Vec::new(),
        };
        let keys = [OwnKey { name: "own.rsa.pub".to_owned(), pem: Vec::new() }];
        let contents = Contents {
            repositories: "https://mirror.example/v3.22",
            keys: &keys,
            database: &database,
            installed: &[],
            links: vec!["bin/sh".to_owned()],
            opencode: Some(Path::new("x")),
        };
        let has = |path: &str| ["/etc/init.d/sshd", "/etc/init.d/sysctl"].contains(&path);
        let links = contents.runlevels(&has).into_iter().filter_map(|item| match item {
            Item::Link { path, target } => Some(format!("{path} -> {target}")),
            Item::File { .. } | Item::Folder(_) => None,
        });
        insta::assert_snapshot!(links.collect::<Vec<_>>().join("\n"), @"
        etc/runlevels/boot/sysctl -> /etc/init.d/sysctl
        etc/runlevels/default/opencode -> /etc/init.d/opencode
        etc/runlevels/default/sshd -> /etc/init.d/sshd
        ");
        let files = contents.services(&|_| true);
        let list: Vec<_> = files.iter().map(|(path, mode, _)| format!("{mode:o} {path}")).collect();
        insta::assert_snapshot!(list.join("\n"), @"
        644 etc/inittab
        644 etc/conf.d/sshd
        644 etc/conf.d/syslog
        644 etc/modules-load.d/banger.conf
        644 etc/sysctl.d/99-banger.conf
        644 etc/mkinitfs/mkinitfs.conf
        644 etc/mkinitfs/features.d/vsock.modules
        755 etc/init.d/opencode
        ");
        let files = contents.apk_files();
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| {
                let text = String::from_utf8_lossy(content);
                format!("{path} {}", text.trim_end().replace('\n', " ")).trim_end().to_owned()
            })
            .collect();
        insta::assert_snapshot!(files.join("\n"), @"
        etc/apk/arch A
        etc/apk/repositories https://mirror.example/v3.22/main https://mirror.example/v3.22/community
        etc/apk/world W
        lib/apk/db/installed I
        lib/apk/db/lock
        lib/apk/db/scripts.tar
        lib/apk/db/triggers
        etc/apk/keys/own.rsa.pub
        ");
    }

    #[test]
    fn the_server_is_started_with_what_the_host_writes() {
        assert!(OPENCODE.contains(&format!("[ -s /{OPENCODE_ENV} ]")));
        assert!(OPENCODE.contains(&format!("command=/{SERVER}\n")));
    }
}
