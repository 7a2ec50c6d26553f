//! The files of a package.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};

use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::PackageError;
use crate::fetch::Checksum;
use crate::oci::entries::{Entry, What};
use crate::oci::write::{header, pad};
use crate::xbps::archive::Archive;
use crate::xbps::files::{self, Kind};

/// Linux cannot have longer paths and names (`PATH_MAX`, `NAME_MAX`).
const PATH: usize = 4095;
const NAME: usize = 255;

/// Checks and writes what the archive has from `next` on.
pub(super) fn write(
    archive: &mut Archive<'_>,
    mut next: Option<Entry>,
    listed: Vec<files::Entry>,
    out: &mut dyn Write,
) -> Result<(), PackageError> {
    let listed = listed.into_iter().map(|entry| (entry.path, entry.kind)).collect();
    let mut payload = Payload { listed, seen: BTreeMap::new(), out };
    while let Some(entry) = next {
        payload.entry(&entry, archive)?;
        next = archive.next().map_err(PackageError::Archive)?;
    }
    match payload.listed.into_keys().next() {
        Some(path) => Err(PackageError::Absent(path)),
        None => Ok(()),
    }
}

struct Payload<'a> {
    /// What is listed and was not found yet.
    listed: BTreeMap<String, Kind>,
    /// The files so far, with their checksums; symlinks have none.
    seen: BTreeMap<String, Option<Checksum>>,
    out: &'a mut dyn Write,
}

/// A path from the root on, as the list has it. Whatever is not plainly that is none: xbps makes
/// `./usr/bin/x` of it and nothing else.
fn absolute(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let inner = path.strip_prefix("./").unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= NAME;
    (inner.len() <= PATH && inner.split('/').all(part)).then(|| format!("/{inner}"))
}

impl Payload<'_> {
    fn entry(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), PackageError> {
        // xbps makes folders itself, also where archives have them.
        if entry.what == What::Dir && matches!(&*entry.path, b"." | b"./") {
            return Ok(());
        }
        let shown = || String::from_utf8_lossy(&entry.path).into_owned();
        let path = absolute(&entry.path).ok_or_else(|| PackageError::Path(shown()))?;
        match &entry.what {
            What::Dir => Ok(()),
            What::File => self.file(path, entry, archive),
            What::Link(target) => self.link(path, entry, target),
            What::Symlink(target) => {
                // Where it leads is not compared: the list has that from the root on, as it was
                // where the package was made.
                let Some(Kind::Link) = self.listed.remove(&path) else {
                    return Err(self.unlisted(path));
                };
                self.header(&path, entry, EntryType::Symlink, target)?;
                self.place(path, None)
            }
            What::Char(..) | What::Block(..) | What::Fifo => Err(PackageError::Kind(path)),
        }
    }

    fn file(
        &mut self,
        path: String,
        entry: &Entry,
        archive: &mut Archive<'_>,
    ) -> Result<(), PackageError> {
        let Some(expected) = self.expected(&path) else { return Err(self.unlisted(path)) };
        self.header(&path, entry, EntryType::Regular, b"")?;
        let mut sum = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = archive.read(&mut buffer).map_err(PackageError::Archive)?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
            sum.update(bytes);
            self.out.write_all(bytes).map_err(PackageError::Write)?;
        }
        pad(self.out, entry.size).map_err(PackageError::Write)?;
        if Checksum::Sha256(sum.finalize().into()) != expected {
            return Err(PackageError::Changed(path));
        }
        self.place(path, Some(expected))
    }

    /// Another name of a file that came before; the list has it as a file.
    fn link(&mut self, path: String, entry: &Entry, target: &[u8]) -> Result<(), PackageError> {
        let shown = String::from_utf8_lossy(target).into_owned();
        let target = absolute(target).ok_or(PackageError::Path(shown))?;
        let Some(expected) = self.expected(&path) else { return Err(self.unlisted(path)) };
        match self.seen.get(&target) {
            Some(Some(sum)) if *sum == expected => {}
            Some(Some(_)) => return Err(PackageError::Changed(path)),
            _ => return Err(PackageError::Link { path, target }),
        }
        let target = target.strip_prefix('/').unwrap_or(&target).to_owned();
        self.header(&path, entry, EntryType::Link, target.as_bytes())?;
        self.place(path, Some(expected))
    }

    /// The checksum that a file should have.
    fn expected(&mut self, path: &str) -> Option<Checksum> {
        match self.listed.remove(path)? {
            Kind::File(sum) | Kind::Config(sum) => Some(sum),
            Kind::Link => None,
        }
    }

    fn unlisted(&self, path: String) -> PackageError {
        if self.seen.contains_key(&path) {
            PackageError::Place(path)
        } else {
            PackageError::NotListed(path)
        }
    }

    /// Remembers a file, if it is in no other's place: something below a symlink would be written
    /// where that leads.
    fn place(&mut self, path: String, sum: Option<Checksum>) -> Result<(), PackageError> {
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let below = format!("{path}/");
        let has = self.seen.range(below.clone()..).next();
        if above.into_iter().any(|folder| self.seen.contains_key(folder))
            || has.is_some_and(|(other, _)| other.starts_with(&below))
        {
            return Err(PackageError::Place(path));
        }
        self.seen.insert(path, sum);
        Ok(())
    }

    fn header(
        &mut self,
        path: &str,
        entry: &Entry,
        kind: EntryType,
        target: &[u8],
    ) -> Result<(), PackageError> {
        let name = path.strip_prefix('/').unwrap_or(path);
        let size = if kind == EntryType::Regular { entry.size } else { 0 };
        header(self.out, name.as_bytes(), kind, target, &entry.meta, size)
            .map_err(PackageError::Write)
    }
}
