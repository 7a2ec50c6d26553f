//! What is in the root of an image, by which one knows how it can be booted.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::clean::parts;
use super::entries::{Entry, What};
use super::tree::{Kind, Source, Tree};

/// Where the system says what it is (os-release(5)), in the order of their weight.
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
const RELEASE_LIMIT: u64 = 64 << 10;

/// What is in a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What `/etc/os-release` says, unquoted.
    pub os_release: BTreeMap<String, String>,
    /// What starts the system, if anything in it can.
    pub init: Option<Init>,
    /// What installs packages in it, if anything in it can.
    pub packages: Option<Packages>,
    /// Whether there is a server of SSH.
    pub sshd: bool,
    /// Whether there is an `ip`, which sets up a network.
    pub ip: bool,
}

impl Facts {
    /// The system, as in `debian` or `alpine`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.os_release.get("ID").map(String::as_str)
    }
}

/// What starts a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// runit.
    Runit,
}

/// What installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// apt, of Debian and Ubuntu.
    Apt,
    /// apk, of Alpine.
    Apk,
    /// xbps, of Void.
    Xbps,
}

/// The files that say what the system is, as layers have them; each layer's replaces the last.
#[derive(Default)]
pub(super) struct Release([Option<(Source, Vec<u8>)>; 2]);

impl Release {
    /// Keeps the content of an entry, if it may be needed.
    pub(super) fn keep(
        &mut self,
        entry: &Entry,
        source: Source,
        content: &mut impl Read,
    ) -> io::Result<()> {
        let parts = parts(&entry.path).unwrap_or_default().join(&b'/');
        let slot = RELEASES.iter().position(|path| path.as_bytes() == parts);
        if let Some(slot) = slot
            && entry.what == What::File
            && entry.size <= RELEASE_LIMIT
        {
            let mut text = Vec::new();
            content.read_to_end(&mut text)?;
            self.0[slot] = Some((source, text));
        }
        Ok(())
    }
}

pub(super) fn facts(tree: &Tree, release: &Release) -> Facts {
    let source = |path: &str| match tree.inode(tree.follow(path)?).kind {
        Kind::File { source, .. } => Some(source),
        _ => None,
    };
    let any = |paths: &[&str]| paths.iter().any(|path| source(path).is_some());
    let init = [
        (Init::Systemd, &["usr/lib/systemd/systemd", "lib/systemd/systemd"][..]),
        (Init::OpenRc, &["sbin/openrc-init", "sbin/openrc", "usr/bin/openrc-init"]),
        (Init::Runit, &["sbin/runit-init", "usr/bin/runit-init", "usr/bin/runit", "sbin/runit"]),
    ];
    let packages = [
        (Packages::Apt, &["usr/bin/apt-get"][..]),
        (Packages::Apk, &["sbin/apk", "usr/bin/apk"]),
        (Packages::Xbps, &["usr/bin/xbps-install"]),
    ];
    let programs = |name: &str| {
        ["usr/sbin", "usr/bin", "sbin", "bin"].map(|folder| format!("{folder}/{name}"))
    };
    let program = |name| programs(name).iter().any(|path| source(path).is_some());
    let text = RELEASES.iter().find_map(|path| source(path)).and_then(|found| {
        release.0.iter().flatten().find(|(source, _)| *source == found).map(|(_, text)| text)
    });
    Facts {
        os_release: text
            .map(|text| assignments(&String::from_utf8_lossy(text)))
            .unwrap_or_default(),
        init: init.iter().find(|(_, paths)| any(paths)).map(|(init, _)| *init),
        packages: packages.iter().find(|(_, paths)| any(paths)).map(|(packages, _)| *packages),
        sshd: program("sshd"),
        ip: program("ip"),
    }
}

/// The lines `NAME=VALUE` of an os-release file.
fn assignments(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let quoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        let mut value = quoted.unwrap_or(value).chars();
        let mut plain = String::new();
        while let Some(c) = value.next() {
            plain.extend(if c == '\\' { value.next() } else { Some(c) });
        }
        (!name.starts_with('#')).then(|| (name.to_owned(), plain))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
