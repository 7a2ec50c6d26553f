//! What is in the root of an image, by which one knows how it can be booted.

use std::io::{self, Read};

use banger_core::image::Init;

use super::clean::parts;
use super::entries::{Entry, What};
use super::tree::{Kind, Source, Tree};

/// Where the system says what it is (os-release(5)), in the order of their weight.
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Where sshd has its configuration: the first that there is.
const SSHD_CONFIGS: [&str; 2] = ["etc/ssh/sshd_config", "usr/etc/ssh/sshd_config"];
/// The names of files whose content is looked at, whatever folder they are in: links may lead there.
const KEPT: [&[u8]; 2] = [b"os-release", b"sshd_config"];
/// Such are small, and few.
const KEPT_LIMIT: u64 = 64 << 10;
const KEPT_FILES: usize = 64;

/// What is in a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What the system calls itself, as in `Debian GNU/Linux 12 (bookworm)`.
    pub system: Option<String>,
    /// What starts the system, if anything in it can.
    pub init: Option<Init>,
    /// Whether there is a server of SSH.
    pub sshd: bool,
    /// Its configuration, empty if there is none; nothing if it is none that can be looked at.
    pub sshd_config: Option<String>,
    /// Whether there is an `ip`, which sets up a network.
    pub ip: bool,
}

/// The content of files, as layers have them.
#[derive(Default)]
pub(super) struct Kept(Vec<(Source, Vec<u8>)>);

impl Kept {
    /// Keeps the content of an entry, if it may be needed.
    pub(super) fn keep(
        &mut self,
        entry: &Entry,
        source: Source,
        content: &mut impl Read,
    ) -> io::Result<()> {
        let parts = parts(&entry.path).unwrap_or_default();
        if parts.last().is_some_and(|name| KEPT.contains(name))
            && entry.what == What::File
            && entry.size <= KEPT_LIMIT
        {
            let mut text = Vec::new();
            content.read_to_end(&mut text)?;
            if self.0.len() >= KEPT_FILES {
                // Of two, the later is the likelier to be seen.
                self.0.remove(0);
            }
            self.0.push((source, text));
        }
        Ok(())
    }
}

/// The content that a file has, if it is one.
fn source(tree: &Tree, path: &str) -> Option<Source> {
    match tree.inode(tree.follow(path)?).kind {
        Kind::File { source, .. } => Some(source),
        _ => None,
    }
}

/// Whether there is a file, or a link that leads to one.
pub(super) fn has(tree: &Tree, path: &str) -> bool {
    source(tree, path).is_some()
}

pub(super) fn facts(tree: &Tree, kept: &Kept) -> Facts {
    let program = |name: &str| {
        let folders = ["usr/sbin", "usr/bin", "sbin", "bin"];
        folders.iter().any(|folder| has(tree, &format!("{folder}/{name}")))
    };
    let text = |path: &str| {
        let found = source(tree, path)?;
        let (_, text) = kept.0.iter().find(|(source, _)| *source == found)?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    Facts {
        system: RELEASES.iter().find_map(|path| text(path)).and_then(|text| pretty_name(&text)),
        init: init(tree),
        sshd: program("sshd"),
        sshd_config: SSHD_CONFIGS
            .iter()
            .find(|path| has(tree, path))
            .map_or_else(|| Some(String::new()), |path| text(path)),
        ip: program("ip"),
    }
}

/// What starts services in it: what `/sbin/init` is, or else what there is.
fn init(tree: &Tree) -> Option<Init> {
    let first = tree.follow("/sbin/init");
    let is_first = |path: &str| first.is_some() && tree.follow(path) == first;
    if let Some(init) = Init::of(is_first) {
        return Some(init);
    }
    // An init that is none of these, as busybox's, has OpenRC below it rather than systemd.
    let systemd = |path: &str| Init::Systemd.programs().contains(&path);
    let below = Init::of(|path| has(tree, path) && !systemd(path));
    below.filter(|_| first.is_some()).or_else(|| Init::of(|path| has(tree, path)))
}

/// The value of a line `PRETTY_NAME=VALUE`, on one line of text.
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    let quoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
    let mut value = quoted.unwrap_or(value).chars();
    let mut plain = String::new();
    while let Some(c) = value.next() {
        let c = if c == '\\' { value.next() } else { Some(c) };
        plain.extend(c.filter(|c| !c.is_control()));
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
