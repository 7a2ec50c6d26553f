//! The files of an image that lies on the disk, by their names in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};

use super::clean::parts;
use super::compress;
use super::digest::Digest;
use super::document::{DocumentError, LIMIT};
use super::entries::{Reader, What};
use super::layout::{Import, ImportError};
use crate::cache;

/// The folder of a cache that has the layers.
const LAYERS: &str = "sha256";
/// More than any archive has: some files for each layer.
const FILES: usize = 100_000;

/// Where a file of the cache is; its folder is made.
pub(super) fn place(cache: &Path, digest: Digest) -> io::Result<PathBuf> {
    let folder = cache.join(LAYERS);
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(digest.hex()))
}

/// Forgets the layers of a cache that nobody has used for a while.
pub(crate) fn tidy(cache: &Path) {
    cache::tidy(&cache.join(LAYERS));
}

/// Where the files are.
pub(super) enum Source<'a> {
    /// In a folder.
    Folder(&'a Import<'a>),
    /// Unpacked from an archive, by their digests. So no name in it becomes one on the disk.
    Unpacked { folder: TempDir, names: BTreeMap<Vec<u8>, Unpacked> },
}

/// What an archive has under a name.
pub(super) enum Unpacked {
    File(Digest, u64),
    /// Another name; `docker save` had the same layer once.
    Link(Vec<u8>),
}

/// A file with its digest.
pub(super) struct Blob {
    pub path: PathBuf,
    pub digest: Digest,
    pub size: u64,
    /// Whether it goes away with its [`Source`].
    pub temporary: bool,
}

impl<'a> Source<'a> {
    pub(super) fn open(request: &'a Import<'a>) -> Result<Self, ImportError> {
        if request.path.is_dir() { Ok(Self::Folder(request)) } else { unpack(request) }
    }

    /// A small file, if it is there.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImportError> {
        let Some(path) = self.path(name) else { return Ok(None) };
        let read = ImportError::io("read", &path);
        let mut json = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut json))
            .map_err(read)?;
        if json.len() as u64 > LIMIT {
            return Err(DocumentError::TooLong { what: "document of the image" }.into());
        }
        Ok(Some(json))
    }

    /// A layer.
    pub(super) fn file(&self, name: &str) -> Result<Blob, ImportError> {
        let missing = || ImportError::Missing(name.to_owned());
        let path = self.path(name).ok_or_else(missing)?;
        match self {
            Self::Folder(request) => {
                let mut file = File::open(&path).map_err(ImportError::io("read", &path))?;
                let (digest, size) = copy(request, &mut file, &mut io::sink(), 0)
                    .map_err(ImportError::io("read", &path))?;
                Ok(Blob { path, digest, size, temporary: false })
            }
            Self::Unpacked { names, .. } => {
                let (digest, size) = resolve(names, name).ok_or_else(missing)?;
                Ok(Blob { path, digest, size, temporary: true })
            }
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Folder(request) => {
                let parts = parts(name.as_bytes()).ok()?;
                let parts =
                    parts.into_iter().map(|part| String::from_utf8_lossy(part).into_owned());
                let path = request.path.join(parts.collect::<PathBuf>());
                // A link could lead out of the folder, and a FIFO would never be read to its end.
                path.symlink_metadata().is_ok_and(|file| file.is_file()).then_some(path)
            }
            Self::Unpacked { folder, names } => {
                resolve(names, name).map(|(digest, _)| folder.path().join(digest.hex()))
            }
        }
    }
}

fn resolve(names: &BTreeMap<Vec<u8>, Unpacked>, name: &str) -> Option<(Digest, u64)> {
    let mut name = parts(name.as_bytes()).ok()?.join(&b'/');
    for _ in 0..8 {
        match names.get(&name)? {
            Unpacked::File(digest, size) => return Some((*digest, *size)),
            Unpacked::Link(target) => name.clone_from(target),
        }
    }
    None
}

/// Unpacks an archive into a folder of its own in the cache.
fn unpack<'a>(request: &Import<'_>) -> Result<Source<'a>, ImportError> {
    let write = ImportError::io("write to", request.cache);
    std::fs::create_dir_all(request.cache).map_err(&write)?;
    let folder =
        tempfile::Builder::new().prefix("import-").tempdir_in(request.cache).map_err(&write)?;
    let unpack = ImportError::io("unpack", request.path);
    let read = ImportError::io("read the archive", request.path);
    let mut reader = Reader::new(compress::open(request.path, request.cancel).map_err(&read)?);
    let mut names = BTreeMap::new();
    let (mut done, mut count) = (0_u64, 0);
    while let Some(entry) = reader.next().map_err(&read)? {
        count += 1;
        if count > FILES {
            return Err(ImportError::TooMany(FILES));
        }
        let text = || String::from_utf8_lossy(&entry.path).chars().take(200).collect();
        let outside = |path: &[u8]| {
            path.starts_with(b"/") || path.split(|b| *b == b'/').any(|part| part == b"..")
        };
        if outside(&entry.path) {
            return Err(ImportError::Outside(text()));
        }
        let clean = |path: &[u8]| match parts(path) {
            Ok(parts) => Ok(parts.join(&b'/')),
            Err(_) => Err(ImportError::Outside(text())),
        };
        let name = clean(&entry.path)?;
        let what = match &entry.what {
            What::File => {
                done = done.saturating_add(entry.size);
                if done > request.limit {
                    return Err(ImportError::TooLarge(request.limit));
                }
                let mut file = NamedTempFile::new_in(folder.path()).map_err(&write)?;
                let (digest, size) =
                    copy(request, &mut reader, &mut file, done - entry.size).map_err(&unpack)?;
                file.persist(folder.path().join(digest.hex()))
                    .map_err(|error| write(error.error))?;
                Unpacked::File(digest, size)
            }
            What::Link(target) if !outside(target) => Unpacked::Link(clean(target)?),
            What::Symlink(target) if !target.starts_with(b"/") => {
                Unpacked::Link(clean(&[&name, b"/../".as_slice(), target].concat())?)
            }
            What::Link(_) | What::Symlink(_) => return Err(ImportError::Outside(text())),
            What::Dir | What::Char(..) | What::Block(..) | What::Fifo => continue,
        };
        names.insert(name, what);
    }
    Ok(Source::Unpacked { folder, names })
}

/// Copies to the end; what was read before counts in the progress.
fn copy(
    request: &Import<'_>,
    from: &mut impl Read,
    to: &mut impl io::Write,
    before: u64,
) -> io::Result<(Digest, u64)> {
    let (mut sum, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        if request.cancel.is_cancelled() {
            return Err(io::Error::other(compress::Cancelled));
        }
        let n = from.read(&mut buffer)?;
        if n == 0 {
            to.flush()?;
            return Ok((Digest::finish(sum), size));
        }
        sum.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        size += n as u64;
        (request.progress)(before + size);
    }
}
