//! Files of a root, in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

/// What is at a path.
#[derive(Clone)]
pub(super) enum Node {
    File { mode: u32, owner: (u64, u64), content: Vec<u8> },
    Link(String),
    Folder(u32),
}

impl Node {
    pub(super) fn file(mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self::File { mode, owner: (0, 0), content: content.into() }
    }
}

/// Files by their paths below the root.
#[derive(Clone, Default)]
pub(super) struct Tree(pub BTreeMap<String, Node>);

impl Tree {
    /// Reads what is wanted of a tar file. `bin`, `sbin` and `lib` are in `usr`, as in Void.
    pub(super) fn read(tar: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut archive = Archive::new(File::open(tar)?);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").trim_end_matches('/');
            let moved = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|top| path.starts_with(top));
            let path = if moved { format!("usr/{path}") } else { path.to_owned() };
            if !wanted(&path) {
                continue;
            }
            let node = match entry.header().entry_type() {
                EntryType::Regular => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    let header = entry.header();
                    let owner = (header.uid()?, header.gid()?);
                    Node::File { mode: header.mode()?, owner, content }
                }
                EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    Node::Link(String::from_utf8_lossy(&target).into_owned())
                }
                _ => continue,
            };
            tree.0.insert(path, node);
        }
        Ok(tree)
    }

    pub(super) fn add(&mut self, path: &str, node: Node) {
        self.0.insert(path.to_owned(), node);
    }

    /// Takes files out.
    pub(super) fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Self {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(p, _)| wanted(p));
        self.0 = rest;
        Self(taken)
    }

    /// Lays other files over these.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(path, node)| (path.clone(), node.clone())));
    }

    /// The text of a file.
    pub(super) fn text(&self, path: &str) -> io::Result<String> {
        match self.0.get(path) {
            Some(Node::File { content, .. }) => Ok(String::from_utf8_lossy(content).into_owned()),
            _ => Err(io::Error::other(format!("there is no {path}"))),
        }
    }

    /// Writes all of it, with `./` before the paths.
    pub(super) fn write(&self, tar: &mut Builder<Vec<u8>>) -> io::Result<()> {
        for (path, node) in &self.0 {
            write(tar, &format!("./{path}"), node)?;
        }
        Ok(())
    }
}

/// Writes one file under any name.
pub(super) fn write(tar: &mut Builder<Vec<u8>>, path: &str, node: &Node) -> io::Result<()> {
    let mut header = Header::new_gnu();
    let (kind, mode, owner, content): (_, _, _, &[u8]) = match node {
        Node::File { mode, owner, content } => (EntryType::Regular, *mode, *owner, content),
        Node::Link(_) => (EntryType::Symlink, 0o777, (0, 0), &[]),
        Node::Folder(mode) => (EntryType::Directory, *mode, (0, 0), &[]),
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_size(content.len() as u64);
    if let Node::Link(target) = node {
        header.set_link_name_literal(target)?;
    }
    // The library would leave `./` out, and refuse what a test needs.
    match header.as_old_mut().name.get_mut(..path.len()) {
        Some(name) => name.copy_from_slice(path.as_bytes()),
        None => return tar.append_data(&mut header, path, content),
    }
    header.set_cksum();
    tar.append(&header, content)
}
