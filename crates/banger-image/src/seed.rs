//! Work seeds: the file system that the work disks of new VMs start from.
//!
//! A seed is made of the person's home folder for VMs, and made again when that
//! has changed: beside it lies the fingerprint of what it was made of.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use banger_core::image::files::{WORK_SEED, WORK_SEED_FINGERPRINT};
use banger_core::size::Size;
use banger_exec::{Cancel, Runner};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::build::{BuildError, remove_tree};
use crate::checksum::Checksum;
use crate::ext4;
use crate::namespace::Namespace;

/// The most that a home folder may hold, each file rounded up to whole blocks:
/// with its journal it then fits into [`ext4::WORK_SEED_SIZE`].
pub const MAX_SIZE: Size = Size::mib(128);
/// The most files, folders and links: a seed has inodes for 16384.
pub const MAX_ENTRIES: usize = 10_000;

/// How seeds are made. Counted up when one that is there is to be made again.
const VERSION: u32 = 1;
const BLOCK: u64 = 4096;

/// What a home starts with where the person has no folder for it.
const DEFAULTS: [(&str, &str); 2] =
    [(".bashrc", include_str!("seed/bashrc")), (".profile", include_str!("seed/profile"))];

/// A home folder that no seed can be made of, or a seed that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Something that a VM cannot be given.
    #[error("{} is {what}: only files, folders and symbolic links can go into a VM", path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A name, or the target of a link, that is not text.
    #[error("{} has a name or leads to one that is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// It is too large.
    #[error("{} holds more than {MAX_SIZE}", .0.display())]
    TooLarge(PathBuf),
    /// It has too many files.
    #[error("{} holds more than {MAX_ENTRIES} files and folders", .0.display())]
    TooMany(PathBuf),
    /// A file or program failed.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What a seed was made of. Times do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    version: u32,
    home: BTreeMap<String, Mark>,
}

/// What counts of a file, a folder, a link. Modes are octal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Folder { mode: String },
    File { mode: String, content: String },
    Link { target: String },
}

struct Entry {
    /// Relative to the home.
    path: String,
    mode: u32,
    kind: Kind,
}

enum Kind {
    Folder,
    File(PathBuf),
    Ours(&'static str),
    Link(String),
}

/// Whether the seed in an image's folder, `dir`, is made of what `home` holds now.
///
/// # Errors
/// `home` cannot be read, or a VM cannot be given what it holds.
pub fn is_current(home: &Path, dir: &Path) -> Result<bool, SeedError> {
    let now = take(&scan(home)?, None)?;
    // One that cannot be read says nothing: the seed is made again.
    let then = fs::read(dir.join(WORK_SEED_FINGERPRINT)).ok();
    let then = then.and_then(|json| serde_json::from_slice::<Fingerprint>(&json).ok());
    Ok(then == Some(now) && dir.join(WORK_SEED).is_file())
}

/// Makes the seed in an image's folder, `dir`, anew of what `home` holds, or of banger's
/// own files if there is no such folder. It takes the old one's place whole.
/// What one that was interrupted left behind is removed.
///
/// # Errors
/// As [`is_current`]; or a program or the disk fails. The old seed then stays.
pub fn refresh(
    runner: &dyn Runner,
    home: &Path,
    dir: &Path,
    cancel: &Cancel,
) -> Result<(), SeedError> {
    let seed = dir.join(WORK_SEED).with_added_extension("part");
    let part = Part { tree: dir.join("work-seed.part"), seed };
    part.remove(runner)?;
    let made = part.make(runner, home, cancel);
    let made = made.and_then(|fingerprint| place(dir, &part.seed, &fingerprint));
    let removed = part.remove(runner);
    made.and(removed)
}

/// A seed that is being made.
struct Part {
    tree: PathBuf,
    seed: PathBuf,
}

impl Part {
    /// Copies the home first: its files get the owner that becomes root in the
    /// namespace, and what is in the seed is what is in the fingerprint.
    fn make(
        &self,
        runner: &dyn Runner,
        home: &Path,
        cancel: &Cancel,
    ) -> Result<Fingerprint, SeedError> {
        let tree = &self.tree;
        let made = DirBuilder::new().mode(0o700).create(tree);
        made.map_err(BuildError::io("make the folder", tree))?;
        // Nor has it a group that is passed on to what is made in it.
        set_mode(tree, 0o700)?;
        let fingerprint = take(&scan(home)?, Some(tree))?;
        ext4::make_work_seed(runner, Namespace::current(), tree, &self.seed, cancel)
            .map_err(BuildError::from)?;
        Ok(fingerprint)
    }

    fn remove(&self, runner: &dyn Runner) -> Result<(), SeedError> {
        remove_file(&self.seed)?;
        match fs::remove_dir_all(&self.tree) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // A folder that not even its owner may write to; root may.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Ok(remove_tree(runner, Namespace::current(), &self.tree)?)
            }
            other => Ok(other.map_err(BuildError::io("remove", &self.tree))?),
        }
    }
}

/// Moves a whole seed to its place, for good. Between the two there is no
/// fingerprint: a crash there costs making it once more.
fn place(dir: &Path, seed: &Path, fingerprint: &Fingerprint) -> Result<(), SeedError> {
    let sync = |path: &Path| {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(BuildError::io("write to disk", path))
    };
    let to = dir.join(WORK_SEED_FINGERPRINT);
    let part = to.with_added_extension("part");
    sync(seed)?;
    remove_file(&to)?;
    sync(dir)?;
    fs::rename(seed, dir.join(WORK_SEED)).map_err(BuildError::io("move", seed))?;
    sync(dir)?;
    let json = serde_json::to_vec_pretty(fingerprint).map_err(io::Error::from);
    json.and_then(|json| fs::write(&part, json)).map_err(BuildError::io("write", &part))?;
    sync(&part)?;
    fs::rename(&part, &to).map_err(BuildError::io("move", &part))?;
    Ok(sync(dir)?)
}

fn remove_file(path: &Path) -> Result<(), SeedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other.map_err(BuildError::io("remove", path))?),
    }
}

/// What is in a home, each folder before what is in it.
fn scan(home: &Path) -> Result<Vec<Entry>, SeedError> {
    // The folder itself may be a link, to where the person keeps such files.
    if fs::symlink_metadata(home).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let ours =
            |(path, text)| Entry { path: String::from(path), mode: 0o644, kind: Kind::Ours(text) };
        return Ok(DEFAULTS.map(ours).into());
    }
    let (mut entries, mut size) = (Vec::new(), 0);
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        for found in fs::read_dir(&folder).map_err(BuildError::io("read", &folder))? {
            let place = found.map_err(BuildError::io("read", &folder))?.path();
            let metadata = fs::symlink_metadata(&place).map_err(BuildError::io("read", &place))?;
            let text = |path: &Path| path.to_str().map(str::to_owned);
            let not_text = || SeedError::NotText(place.clone());
            // All of them are found below it.
            let path = text(place.strip_prefix(home).unwrap_or(&place)).ok_or_else(not_text)?;
            let kind = if metadata.is_dir() {
                folders.push(place.clone());
                Kind::Folder
            } else if metadata.is_file() {
                size += metadata.len().next_multiple_of(BLOCK);
                Kind::File(place.clone())
            } else if metadata.is_symlink() {
                let target = fs::read_link(&place).map_err(BuildError::io("read", &place))?;
                Kind::Link(text(&target).ok_or_else(not_text)?)
            } else {
                return Err(SeedError::Special { what: what(metadata.file_type()), path: place });
            };
            entries.push(Entry { path, mode: metadata.permissions().mode() & 0o7777, kind });
            if size > MAX_SIZE.as_bytes() {
                return Err(SeedError::TooLarge(home.to_owned()));
            }
            if entries.len() > MAX_ENTRIES {
                return Err(SeedError::TooMany(home.to_owned()));
            }
        }
    }
    Ok(entries)
}

fn what(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a device"
    }
}

/// The fingerprint of `entries`, which are copied to `tree` if there is one.
fn take(entries: &[Entry], tree: Option<&Path>) -> Result<Fingerprint, SeedError> {
    let mut home = BTreeMap::new();
    for entry in entries {
        let to = tree.map(|tree| tree.join(&entry.path));
        home.insert(entry.path.clone(), entry.take(to.as_deref())?);
    }
    // Last, and the inner ones first: they may forbid to write.
    for entry in entries.iter().rev() {
        if let (Kind::Folder, Some(tree)) = (&entry.kind, tree) {
            set_mode(&tree.join(&entry.path), entry.mode)?;
        }
    }
    Ok(Fingerprint { version: VERSION, home })
}

impl Entry {
    fn take(&self, to: Option<&Path>) -> Result<Mark, SeedError> {
        let mode = format!("{:04o}", self.mode);
        match &self.kind {
            Kind::Folder => {
                if let Some(to) = to {
                    fs::create_dir(to).map_err(BuildError::io("make the folder", to))?;
                }
                Ok(Mark::Folder { mode })
            }
            Kind::Link(target) => {
                if let Some(to) = to {
                    symlink(target, to).map_err(BuildError::io("make the link", to))?;
                }
                Ok(Mark::Link { target: target.clone() })
            }
            Kind::File(from) => {
                let file = File::open(from).map_err(BuildError::io("read", from))?;
                // One that grows meanwhile has no end.
                let content = self.copy(from, file.take(MAX_SIZE.as_bytes()), to)?;
                Ok(Mark::File { mode, content })
            }
            Kind::Ours(text) => {
                let content = self.copy(Path::new(&self.path), text.as_bytes(), to)?;
                Ok(Mark::File { mode, content })
            }
        }
    }

    /// Copies a file, if there is a place for it. Returns its checksum.
    fn copy(
        &self,
        from: &Path,
        mut content: impl Read,
        to: Option<&Path>,
    ) -> Result<String, SeedError> {
        let mut copy = match to {
            Some(to) => Some(File::create_new(to).map_err(BuildError::io("write", to))?),
            None => None,
        };
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
        loop {
            let count = content.read(&mut buffer).map_err(BuildError::io("read", from))?;
            if count == 0 {
                break;
            }
            digest.update(&buffer[..count]);
            if let (Some(copy), Some(to)) = (&mut copy, to) {
                copy.write_all(&buffer[..count]).map_err(BuildError::io("write", to))?;
            }
        }
        if let Some(to) = to {
            set_mode(to, self.mode)?;
        }
        Ok(Checksum::Sha256(digest.finalize().into()).to_string())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), SeedError> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    Ok(set.map_err(BuildError::io("set the mode of", path))?)
}

#[cfg(test)]
mod tests;
