//! Changing what is in a file system.

mod plan;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use banger_exec::Cancel;

use super::debugfs::{INODE_ROOM, last_word, line, named};
use super::error::path as shown;
use super::read::{FILE, FOLDER, FORMAT, Found, Kind, Known, LINK, Node, Stat, private};
use super::recover::{Super, recover};
use super::walk::{Halt, parent};
use super::{Disk, PatchError};
use plan::{Plan, Want};

/// A change to a file system. Its path is absolute there. The links in its
/// folders are followed, as in the guest; a link at the very place is not. Modes
/// are permission bits, owners the ids of user and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new file, in the place of what is there. Folders that are missing are
    /// made, for everyone to read. Other names of what was there keep its content.
    /// If there is no room, what was there may be gone.
    Write {
        /// Its path.
        path: PathBuf,
        /// Its content.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: (u32, u32),
    },
    /// A folder. One that is there keeps what is in it.
    Mkdir {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        owner: (u32, u32),
    },
    /// A symbolic link of root's, in the place of what is there; folders that
    /// are missing are made.
    Symlink {
        /// Its path.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// Nothing. A folder goes with all that is in it.
    Remove {
        /// Its path.
        path: PathBuf,
    },
    /// Another mode of what is there.
    Mode {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another owner of what is there, a link too.
    Owner {
        /// Its path.
        path: PathBuf,
        /// Its owner.
        owner: (u32, u32),
    },
}

impl Disk<'_> {
    /// Makes `changes`, one after the other, and reads each of them back. To make
    /// them twice is to make them once. As a rule, what makes no sense is refused
    /// before anything is changed.
    ///
    /// # Errors
    /// A path is impossible, or something else is where a change wants a file or
    /// folder; there is no room; a change did not take; the file system has
    /// features that debugfs does not keep right. If debugfs is killed, the file
    /// system is not clean then: [`recover`](super::recover) it.
    pub fn apply(&self, changes: &[Change]) -> Result<(), PatchError> {
        if !Super::clean(self.path)?.is_supported() {
            return Err(PatchError::Unsupported(self.path.to_owned()));
        }
        let mut rest = changes;
        while !rest.is_empty() {
            let mut known = Known::default();
            let count = loop {
                let needs = match Plan::new(&known, rest) {
                    Ok((plan, count)) => {
                        self.carry_out(&known, &plan)?;
                        break count;
                    }
                    Err(Halt::Failed(error)) => return Err(error),
                    Err(Halt::Need(needs)) => needs,
                };
                self.learn(&mut known, needs)?;
            };
            rest = &rest[count..];
        }
        Ok(())
    }

    fn carry_out(&self, known: &Known, plan: &Plan<'_>) -> Result<(), PatchError> {
        let copies = private()?;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        // What is within a folder sorts behind it.
        for place in plan.doomed.iter().rev() {
            let node = known.node(place).ok().flatten();
            let is_folder = node.is_some_and(|node| node.stat.kind == Kind::Folder);
            first.push(told(if is_folder { "rmdir" } else { "rm" }, place, &[])?);
        }
        for (index, (place, want)) in plan.wants.iter().enumerate() {
            match want {
                Want::Gone | Want::Kept(_) => {}
                Want::Folder(_) => first.push(told("mkdir", place, &[])?),
                Want::Link(target, _) => second.push(told("symlink", place, &[target])?),
                Want::File(content, _) => {
                    let copy = copies.path().join(index.to_string());
                    put(&copy, content).map_err(PatchError::io("write", &copy))?;
                    let (folder, name) = parent(place);
                    // debugfs makes files in its folder only.
                    second.push(told("cd", folder, &[])?);
                    let write = line("write", &[copy.as_os_str().as_bytes(), name]);
                    second.push(write.ok_or_else(|| PatchError::name(place))?);
                }
            }
            for (field, value) in fields(want, known.node(place).ok().flatten()) {
                second.push(told("set_inode_field", place, &[field.as_bytes(), value.as_bytes()])?);
            }
        }
        // debugfs does not free a block of attributes with its file. e2fsck does:
        // it is in use for nothing then.
        let mut mended = plan
            .doomed
            .iter()
            .any(|place| matches!(known.node(place), Ok(Some(node)) if node.attribute_block));
        let change = |script: &[Vec<u8>], mended| {
            let words = self.change(script, mended)?;
            if mended {
                recover(self.runner, self.path, &Cancel::default())?;
            }
            Ok::<_, PatchError>(words)
        };
        let files = plan.wants.iter().filter(|(_, want)| matches!(want, Want::File(..)));
        let folders = files.map(|(place, _)| parent(place).0.to_vec());
        let fresh: Vec<_> = folders
            .filter(|place| matches!(plan.wants.get(place), Some(Want::Folder(_))))
            .collect();
        if !fresh.is_empty() {
            // Were a folder not made, its files would be written to another one.
            let words = change(&first, mended)?;
            let now = self.probe(fresh.iter().map(|place| (place.clone(), false)))?;
            for (place, found) in fresh.iter().zip(now) {
                if found.node.is_none_or(|node| node.stat.kind != Kind::Folder) {
                    return Err(self.wrong(place, "it is no folder", &words));
                }
            }
            first.clear();
            mended = false;
        }
        first.append(&mut second);
        let words = if first.is_empty() { String::new() } else { change(&first, mended)? };
        self.check(plan, &words)
    }

    /// Reads everything back. A file that is not right is removed again.
    fn check(&self, plan: &Plan<'_>, words: &str) -> Result<(), PatchError> {
        // Where something failed, what is there may be large: its size comes first.
        let sizes = match words.lines().count() {
            0 | 1 => None,
            _ => Some(self.probe(plan.wants.keys().map(|place| (place.clone(), false)))?),
        };
        let is_whole = |index: usize, want: &Want<'_>| match want {
            Want::File(content, _) => sizes.as_ref().is_none_or(|sizes| {
                let size = content.len() as u64;
                sizes[index].node.as_ref().is_some_and(|node| node.stat.kind == Kind::File { size })
            }),
            Want::Link(target, _) => target.len() >= INODE_ROOM,
            _ => false,
        };
        let wants = plan.wants.iter().enumerate();
        let now =
            self.probe(wants.map(|(index, (place, want))| (place.clone(), is_whole(index, want))))?;
        let (mut wrong, mut script) = (None, Vec::new());
        for ((place, want), Found { node, content }) in plan.wants.iter().zip(now) {
            let Some(reason) = differs(want, node.as_ref().map(|node| &node.stat), &content) else {
                continue;
            };
            wrong = wrong.or_else(|| Some(self.wrong(place, reason, words)));
            let is_file = node.is_some_and(|node| matches!(node.stat.kind, Kind::File { .. }));
            if is_file && matches!(want, Want::File(..)) {
                script.push(told("rm", place, &[])?);
            }
        }
        if !script.is_empty() {
            self.change(&script, false)?;
        }
        wrong.map_or(Ok(()), Err)
    }

    fn wrong(&self, place: &[u8], reason: &'static str, words: &str) -> PatchError {
        let path = shown(place);
        let full = |of| PatchError::Full { disk: self.path.to_owned(), path: shown(place), of };
        // What libext2fs says; debugfs keeps no status.
        if words.contains("Could not allocate inode") {
            full("inodes")
        } else if words.contains("Could not allocate block") {
            full("space")
        } else {
            PatchError::Wrong { path, reason, words: last_word(words) }
        }
    }
}

/// A line of a script about a place.
fn told(command: &str, place: &[u8], more: &[&[u8]]) -> Result<Vec<u8>, PatchError> {
    let place_word = named(place);
    let words: Vec<&[u8]> = std::iter::once(&*place_word).chain(more.iter().copied()).collect();
    line(command, &words).ok_or_else(|| PatchError::name(place))
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

/// The fields of an inode that are to be set.
fn fields(want: &Want<'_>, now: Option<&Node>) -> Vec<(&'static str, String)> {
    let (format, want, now) = match (want, now) {
        (Want::Kept(want), Some(node)) => (node.mode & FORMAT, want, Some(&node.stat)),
        (Want::Folder(want), _) => (FOLDER, want, None),
        (Want::File(_, want), _) => (FILE, want, None),
        (Want::Link(_, want), _) => (LINK, want, None),
        (Want::Gone | Want::Kept(_), _) => return Vec::new(),
    };
    let mut fields = Vec::new();
    if now.is_none_or(|now| now.mode != want.mode) {
        fields.push(("mode", format!("0{:o}", format | want.mode)));
    }
    if now.is_none_or(|now| now.owner != want.owner) {
        fields.push(("uid", want.owner.0.to_string()));
        fields.push(("gid", want.owner.1.to_string()));
    }
    fields
}

/// What of a place, of which `content` was read, is not as it shall be.
fn differs(want: &Want<'_>, now: Option<&Stat>, content: &[u8]) -> Option<&'static str> {
    let (kind, attributes) = match want {
        Want::Gone => return now.map(|_| "it is still there"),
        Want::Kept(attributes) => (None, attributes),
        Want::Folder(attributes) => (Some(Kind::Folder), attributes),
        Want::File(wanted, attributes) => {
            (Some(Kind::File { size: wanted.len() as u64 }), attributes)
        }
        Want::Link(target, attributes) => {
            (Some(Kind::Link { target: OsStr::from_bytes(target).to_owned() }), attributes)
        }
    };
    let Some(now) = now else { return Some("it is not there") };
    let same = match want {
        Want::File(wanted, _) => content == *wanted,
        _ => true,
    };
    if kind.is_some_and(|kind| kind != now.kind) {
        Some("it is something else")
    } else if !same {
        Some("its content is another")
    } else if now.mode != attributes.mode {
        Some("its mode is another")
    } else if now.owner != attributes.owner {
        Some("its owner is another")
    } else {
        None
    }
}
