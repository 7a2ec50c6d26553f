//! The root file system that Void releases: downloaded, checked, and read for what is in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use banger_exec::Cancel;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use sha2::{Digest as _, Sha256};

use super::download::small;
use super::{Build, VoidError};
use crate::build::BuildError;
use crate::checksum::Checksum;
use crate::fetch::{Download, fetch};
use crate::minisign;
use crate::oci::entries::{Meta, Reader, What};
use crate::xbps::files::{self, Entry};
use crate::xbps::pkgdb::{self, Database};
use crate::xbps::sums;

/// Checksums and their signature have some KiB.
const SUMS: u64 = 1 << 20;
/// The root file system has some 200 MiB.
const ROOTFS: u64 = 16 << 30;
/// What xz takes to unpack what its highest level made, and some (xz(1), `-9`: 65 MiB).
const XZ_MEMORY: u64 = 128 << 20;
/// The database has some 200 KiB, and the longest list of files some MiB.
const DATABASE: u64 = 64 << 20;
/// No file for people to change is longer.
const CONFIG: u64 = 1 << 20;

/// What is in a root file system.
pub(super) struct Base {
    /// Its packages.
    pub database: Database,
    /// Their files, by the names of the packages.
    pub lists: BTreeMap<String, Vec<Entry>>,
    /// The files in `/etc`, by their paths from the root on.
    pub etc: BTreeMap<String, Config>,
}

/// A file in `/etc`.
pub(super) struct Config {
    pub meta: Meta,
    pub content: Vec<u8>,
}

impl Config {
    pub(super) fn checksum(&self) -> Checksum {
        Checksum::Sha256(Sha256::digest(&self.content).into())
    }
}

impl Build<'_> {
    /// Gets the root file system of the release into the cache, and unpacks it to a tar file.
    pub(super) fn release(&self) -> Result<PathBuf, BuildError> {
        let (release, cancel) = (&self.request.release, &self.to.env.cancel);
        let folder = format!("{}/live/{release}", self.mirror());
        let get =
            |name: &str| small(&format!("{folder}/{name}"), SUMS, cancel).map_err(VoidError::Fetch);
        let (list, signature) = (get("sha256sum.txt")?, get("sha256sum.sig")?);
        minisign::verify(&self.keys.release, &signature, &list)
            .map_err(|source| VoidError::Release { release: release.clone(), source })?;

        let name = format!("void-x86_64-ROOTFS-{release}.tar.xz");
        let sums = sums::parse(&String::from_utf8_lossy(&list));
        let not_listed = || VoidError::NotListed { release: release.clone(), file: name.clone() };
        let checksum = sums.get(&name).ok_or_else(not_listed)?;
        let (url, file) = (format!("{folder}/{name}"), self.cache.join(&name));
        let progress = |done, total| self.to.reporter.progress(done, total);
        fetch(&Download { url: &url, file: &file, checksum }, cancel, &progress)
            .map_err(VoidError::Fetch)?;
        let tar = self.to.scratch.join("rootfs.tar");
        unpack(&file, &tar, cancel)?;
        Ok(tar)
    }
}

fn unpack(packed: &Path, tar: &Path, cancel: &Cancel) -> Result<(), BuildError> {
    let file = File::open(packed).map_err(BuildError::io("read", packed))?;
    let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
        .map_err(|error| VoidError::Rootfs(error.into()))?;
    let mut from = XzDecoder::new_stream(BufReader::new(file), stream).take(ROOTFS);
    let mut out = File::create_new(tar).map_err(BuildError::io("write", tar))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let n = from.read(&mut buffer).map_err(VoidError::Rootfs)?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        out.write_all(bytes).map_err(BuildError::io("write", tar))?;
    }
    if from.limit() == 0 {
        let reason = format!("it unpacks to more than {} GiB", ROOTFS >> 30);
        return Err(VoidError::Rootfs(io::Error::other(reason)).into());
    }
    Ok(())
}

/// Reads what is in a root file system.
pub(super) fn read(tar: &Path) -> Result<Base, BuildError> {
    let file = File::open(tar).map_err(BuildError::io("read", tar))?;
    let mut archive = Reader::new(BufReader::with_capacity(256 << 10, file));
    let mut database = None;
    let mut base =
        Base { database: Database::default(), lists: BTreeMap::new(), etc: BTreeMap::new() };
    while let Some(entry) = archive.next().map_err(VoidError::Rootfs)? {
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        let path = path.trim_start_matches("./").trim_start_matches('/');
        let mut content = || -> Result<Vec<u8>, VoidError> {
            let mut bytes = Vec::new();
            archive.read_to_end(&mut bytes).map_err(VoidError::Rootfs)?;
            Ok(bytes)
        };
        if entry.what != What::File {
            continue;
        }
        if let Some(name) = in_database(path).filter(|_| entry.size <= DATABASE) {
            let bytes = content()?;
            if name == pkgdb::FILE {
                database = Some(Database::parse(&bytes).map_err(VoidError::Database)?);
            } else if let Some(package) = listed(name) {
                let list = files::parse(&bytes)
                    .map_err(|source| VoidError::List { package: package.to_owned(), source })?;
                base.lists.insert(package.to_owned(), list);
            }
        } else if path.starts_with("etc/") && entry.size <= CONFIG {
            let content = content()?;
            base.etc.insert(format!("/{path}"), Config { meta: entry.meta, content });
        }
    }
    base.database = database.ok_or(VoidError::NoDatabase)?;
    Ok(base)
}

/// The name of a file in the folder of the database.
fn in_database(path: &str) -> Option<&str> {
    path.strip_prefix(pkgdb::FOLDER)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// The package whose list of files has that name.
fn listed(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix("-files.plist")
}
