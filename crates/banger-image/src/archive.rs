//! Tar files of banger's own, whose files are root's; and files out of others'.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::build::BuildError;
use crate::oci::entries::Meta;

/// What goes into an archive. Paths are relative.
pub(crate) enum Item<'a> {
    Folder(&'a str),
    File { path: &'a str, mode: u32, content: &'a [u8] },
    Link { path: String, target: String },
}

/// A tar file that is written.
pub(crate) struct Archive {
    path: PathBuf,
    tar: tar::Builder<File>,
    mtime: u64,
}

impl Archive {
    /// Begins a new file, all of whose entries have a time.
    pub(crate) fn create(path: &Path, mtime: u64) -> Result<Self, BuildError> {
        let file = File::create_new(path).map_err(BuildError::io("write", path))?;
        Ok(Self { path: path.to_owned(), tar: tar::Builder::new(file), mtime })
    }

    pub(crate) fn add(&mut self, item: &Item<'_>) -> Result<(), BuildError> {
        let added = match item {
            Item::Folder(path) => self.entry(path, EntryType::Directory, 0o755, 0, &[][..]),
            Item::File { path, mode, content } => {
                self.entry(path, EntryType::Regular, *mode, content.len() as u64, *content)
            }
            Item::Link { path, target } => {
                let mut header = self.header(EntryType::Symlink, 0o777, 0);
                self.tar.append_link(&mut header, path, target)
            }
        };
        added.map_err(BuildError::io("write", &self.path))
    }

    /// Adds a file of so many bytes.
    pub(crate) fn file(
        &mut self,
        path: &str,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        self.entry(path, EntryType::Regular, mode, size, content)
    }

    /// Adds a file whose owner is not root, or may not be.
    pub(crate) fn owned(
        &mut self,
        path: &str,
        meta: &Meta,
        content: &[u8],
    ) -> Result<(), BuildError> {
        let mut header = self.header(EntryType::Regular, meta.mode, content.len() as u64);
        header.set_uid(meta.uid.into());
        header.set_gid(meta.gid.into());
        self.tar
            .append_data(&mut header, path, content)
            .map_err(BuildError::io("write", &self.path))
    }

    pub(crate) fn finish(self) -> Result<(), BuildError> {
        let Self { path, tar, .. } = self;
        tar.into_inner().and_then(|mut file| file.flush()).map_err(BuildError::io("write", &path))
    }

    fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = self.header(kind, mode, size);
        self.tar.append_data(&mut header, path, content)
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header
    }
}

/// The regular files of a tar file whose paths are wanted.
pub(crate) fn members(
    tar: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
    let read = || {
        let mut found = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(tar)?);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./");
            if entry.header().entry_type().is_file() && wanted(path) {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                found.insert(path.to_owned(), content);
            }
        }
        Ok(found)
    };
    read().map_err(BuildError::io("read", tar))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tar_belongs_to_root() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("tar");
        let mut archive = Archive::create(&out, 7).unwrap();
        archive.add(&Item::Folder("a")).unwrap();
        archive.add(&Item::File { path: "a/b", mode: 0o750, content: b"B" }).unwrap();
        archive.add(&Item::Link { path: "a/c".to_owned(), target: "/b".to_owned() }).unwrap();
        archive.file("d", 0o600, 3, &b"DDD"[..]).unwrap();
        archive.finish().unwrap();
        let mut archive = tar::Archive::new(File::open(&out).unwrap());
        let line = |entry: io::Result<tar::Entry<'_, File>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 7);
            let path = entry.path().unwrap().display().to_string();
            format!("{:o} {} {path}", header.mode().unwrap(), entry.size())
        };
        let lines: Vec<_> = archive.entries().unwrap().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        755 0 a
        750 1 a/b
        777 0 a/c
        600 3 d
        ");
    }
}
