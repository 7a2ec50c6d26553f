//! One tree out of the layers of an image, without root and without unpacking.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use banger_exec::Cancel;
use sha2::{Digest as _, Sha256};

use super::clean::{Name, name, parts};
use super::compress::{self, Cancelled};
use super::digest::Digest;
use super::entries::{Entry, Reader, What};
use super::inspect::{self, Facts};
use super::tree::{Misfit, Source, Tree};
use super::{Layer, write};

/// What an image may have at most: compressed, a few KiB can become terabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers together, unpacked.
    pub bytes: u64,
    /// Entries of all layers together, with the folders that they lack. They are held in memory.
    pub entries: u64,
    /// Bytes of all names, link targets and xattrs together. They are held in memory.
    pub names: u64,
}

impl Default for Limits {
    /// More than any image of a system has: 64 GiB, two million entries, 512 MiB of names.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 2_000_000, names: 512 << 20 }
    }
}

/// Layers that make no tree.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    /// A layer cannot be read, or is damaged.
    #[error("cannot read the layer {}", path.display())]
    Read {
        /// The layer.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An entry makes no sense.
    #[error("the layer {layer} has an entry '{path}' that cannot be: {reason}")]
    Entry {
        /// The layer.
        layer: Digest,
        /// The entry.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A layer is not what the image's configuration says.
    #[error(
        "the layer {layer} is not what the image's configuration says: unpacked it should be {expected}, and is {found}"
    )]
    DiffId {
        /// The layer.
        layer: Digest,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// It is larger than was allowed.
    #[error(
        "the image has more than {limit} {what}: it is damaged or malicious, or the limit is too low"
    )]
    TooLarge {
        /// The limit.
        limit: u64,
        /// What of.
        what: &'static str,
    },
    /// The tree cannot be written.
    #[error("cannot write the tree of the image")]
    Write(#[source] io::Error),
    /// The work it belonged to was cancelled.
    #[error("laying the layers of the image over each other was cancelled")]
    Cancelled,
}

/// The root file system of an image.
pub struct Root {
    tree: Tree,
    layers: Vec<PathBuf>,
    kept: inspect::Kept,
    limits: Limits,
    left: Limits,
}

/// Reads through, with a sum and a limit.
struct Counted<'a, R> {
    inner: R,
    sum: Sha256,
    left: &'a Cell<u64>,
}

/// Why [`Counted`] stopped.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than the limit")]
struct TooLong;

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(n as u64);
        self.left.set(left.ok_or_else(|| io::Error::other(TooLong))?);
        self.sum.update(&buffer[..n]);
        Ok(n)
    }
}

impl Root {
    /// Lays layers over each other, the lowest first. Nothing of their content is kept, and
    /// `limits` bounds what is.
    ///
    /// As the image-spec has it ("Applying Changesets"): whiteouts take away only what lower layers
    /// have, wherever in the layer they are; an entry replaces what had its name, but a folder
    /// keeps what is in it. As containerd and umoci do, and within the root: absolute names begin at
    /// it, `..` does not lead out of it, and links in the folders of a name are followed.
    ///
    /// # Errors
    /// A layer cannot be read, is not what its diff id says, has an entry that makes no sense, or
    /// all together are more than `limits`; or it was cancelled.
    pub fn read(layers: &[Layer], limits: &Limits, cancel: &Cancel) -> Result<Self, FlattenError> {
        let mut root = Self {
            tree: Tree::new(limits.entries),
            layers: Vec::new(),
            kept: inspect::Kept::default(),
            limits: *limits,
            left: *limits,
        };
        for layer in layers {
            root.push(layer, cancel)?;
        }
        Ok(root)
    }

    /// Lays one more layer over the others.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn push(&mut self, layer: &Layer, cancel: &Cancel) -> Result<(), FlattenError> {
        let number = self.layers.len();
        self.layers.push(layer.path.clone());
        let entries = self.scan(number, layer, cancel)?;
        self.apply(number, layer, entries, cancel)
    }

    /// The entries of a layer.
    fn scan(
        &mut self,
        number: usize,
        layer: &Layer,
        cancel: &Cancel,
    ) -> Result<Vec<Entry>, FlattenError> {
        let (limits, left) = (self.limits, &mut self.left);
        let failed = |source| read_error(&layer.path, &limits, source);
        let inner = compress::open(&layer.path, cancel).map_err(failed)?;
        let bytes = Cell::new(left.bytes);
        let mut reader = Reader::new(Counted { inner, sum: Sha256::new(), left: &bytes });
        let mut entries = Vec::new();
        while let Some(mut entry) = reader.next().map_err(failed)? {
            // Of no use here, and all entries are held in memory.
            entry.records.clear();
            let more = left.entries.checked_sub(1);
            left.entries = more.ok_or_else(|| too_large(limits.entries, "entries"))?;
            let more = left.names.checked_sub(entry.weight());
            left.names = more.ok_or_else(|| too_large(limits.names, "bytes of names"))?;
            let source = Source { layer: number, entry: entries.len() };
            self.kept.keep(&entry, source, &mut reader).map_err(failed)?;
            entries.push(entry);
        }
        let mut rest = reader.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(failed)?;
        left.bytes = bytes.get();
        let (found, expected) = (Digest::finish(rest.sum), layer.diff_id);
        if found != expected {
            return Err(FlattenError::DiffId { layer: layer.digest, expected, found });
        }
        Ok(entries)
    }

    /// Changes the tree as a layer says: first what goes, which can only be of lower layers.
    fn apply(
        &mut self,
        number: usize,
        layer: &Layer,
        entries: Vec<Entry>,
        cancel: &Cancel,
    ) -> Result<(), FlattenError> {
        let limit = self.limits.entries;
        let misfit = |path: &[u8]| {
            let path = String::from_utf8_lossy(path).chars().take(200).collect();
            |misfit| match misfit {
                Misfit::Entry(reason) => FlattenError::Entry { layer: layer.digest, path, reason },
                Misfit::TooMany => too_large(limit, "entries"),
            }
        };
        // Where this layer has a folder, a link of a lower one goes: what it leads to stays.
        let folder = |entry: &Entry| match name(&entry.path) {
            Ok(Name::Entry(path)) if entry.what == What::Dir => Some(path.join(&b'/')),
            _ => None,
        };
        let folders: BTreeSet<Vec<u8>> = entries.iter().filter_map(folder).collect();
        let is_replaced = |tree: &Tree, path: &[&[u8]]| {
            let mut to = (1..=path.len()).map(|end| &path[..end]);
            to.any(|path| folders.contains(&path.join(&b'/')) && tree.is_other(path))
        };
        for entry in &entries {
            if cancel.is_cancelled() {
                return Err(FlattenError::Cancelled);
            }
            let name = name(&entry.path).map_err(|reason| misfit(&entry.path)(reason.into()))?;
            match name {
                Name::Gone(parts)
                    if !is_replaced(&self.tree, &parts[..parts.len().saturating_sub(1)]) =>
                {
                    self.tree.remove(&parts, false)
                }
                Name::Opaque(parts) if !is_replaced(&self.tree, &parts) => {
                    self.tree.remove(&parts, true)
                }
                _ => Ok(()),
            }
            .map_err(misfit(&entry.path))?;
        }
        for (index, entry) in entries.into_iter().enumerate() {
            let path = entry.path.clone();
            let source = Source { layer: number, entry: index };
            if cancel.is_cancelled() {
                return Err(FlattenError::Cancelled);
            }
            if let Ok(Name::Entry(parts)) = name(&path) {
                self.tree.add(&parts, entry, source).map_err(misfit(&path))?;
            }
        }
        Ok(())
    }

    /// What is in it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        inspect::facts(&self.tree, &self.kept)
    }

    /// Bytes of all its layers, unpacked: the tree takes at most that, and what a file system adds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.limits.bytes - self.left.bytes
    }

    /// Takes away what is below each of `folders`, if it is a folder, and whatever else a path leads
    /// to whose last part begins as one of `files` does.
    ///
    /// # Errors
    /// None of paths that make sense.
    pub(crate) fn leave_out(
        &mut self,
        folders: &[&str],
        files: &[&str],
    ) -> Result<(), &'static str> {
        let taken = |misfit| match misfit {
            Misfit::Entry(reason) => reason,
            Misfit::TooMany => "there are too many files",
        };
        for folder in folders {
            let path = parts(folder.as_bytes())?;
            if !self.tree.is_other(&path) {
                self.tree.remove(&path, true).map_err(taken)?;
            }
        }
        for file in files {
            self.tree.remove_all(&parts(file.as_bytes())?).map_err(taken)?;
        }
        Ok(())
    }

    /// Whether there is a file, or a link that leads to one.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        inspect::has(&self.tree, path)
    }

    /// Writes the tree as one tar file, the same each time. Paths begin with `./`. First come all
    /// folders, each before what is in it; then the files, each followed by its other names as hard
    /// links; then symbolic links and FIFOs. So unpacking never goes through a link, and
    /// GNU tar needs `--delay-directory-restore` to keep the folders' times. Owners are numbers
    /// alone, and xattrs pax records (`SCHILY.xattr.NAME`). Devices are left out: a system makes its
    /// own, and who unpacks a stranger's tree wants none of them.
    ///
    /// # Errors
    /// A layer cannot be read or has changed, the tree cannot be written, or it was cancelled.
    pub fn write(&self, out: &mut dyn Write, cancel: &Cancel) -> Result<(), FlattenError> {
        write::write(&self.tree, &self.layers, out, cancel)
    }
}

fn too_large(limit: u64, what: &'static str) -> FlattenError {
    FlattenError::TooLarge { limit, what }
}

fn read_error(path: &Path, limits: &Limits, source: io::Error) -> FlattenError {
    match source.get_ref().is_some_and(|error| error.is::<TooLong>()) {
        true => too_large(limits.bytes, "bytes"),
        false => FlattenError::read(path)(source),
    }
}

impl FlattenError {
    /// Makes the error of a layer that cannot be read.
    pub(super) fn read(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| match source.get_ref().is_some_and(|error| error.is::<Cancelled>()) {
            true => Self::Cancelled,
            false => Self::Read { path: path.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests;
