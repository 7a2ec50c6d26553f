//! The archive format of an initramfs: cpio in its "new ASCII" variant, newc
//! (kernel: `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;

const HEADER: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// What an archive cannot hold, or why it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// A path that leaves the archive's root, or that the format cannot say.
    #[error("'{0}' is not a path for an archive: use a relative one without '.', '..' and NUL")]
    Path(String),
    /// A file of 4 GiB or more.
    #[error("'{0}' is too large for an initramfs: a file there is less than 4 GiB")]
    TooLarge(String),
    /// Bytes that are no newc archive.
    #[error("not a newc archive: {reason} at byte {offset}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Writes an archive: the same calls give the same bytes.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    folders: BTreeSet<String>,
    inode: u32,
}

impl Writer {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder, and those above it that are not there yet. One that is
    /// there already stays as it is.
    ///
    /// # Errors
    /// The path is not a relative, plain one.
    pub fn dir(&mut self, path: &str, mode: u32) -> Result<(), CpioError> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            self.entry(path, DIRECTORY | (mode & 0o7777), 2, &[])?;
        }
        Ok(())
    }

    /// Adds a file, and the folders above it.
    ///
    /// # Errors
    /// The path is not a relative, plain one, or the file is 4 GiB or more.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), CpioError> {
        self.parents(path)?;
        self.entry(path, REGULAR | (mode & 0o7777), 1, content)
    }

    /// Adds a symbolic link, and the folders above it.
    ///
    /// # Errors
    /// The path is not a relative, plain one.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), CpioError> {
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, 1, target.as_bytes())
    }

    /// Adds a character device, and the folders above it.
    ///
    /// # Errors
    /// The path is not a relative, plain one.
    pub fn device(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
    ) -> Result<(), CpioError> {
        self.parents(path)?;
        self.inode += 1;
        self.raw(path, CHARACTER_DEVICE | (mode & 0o7777), 1, (major, minor), &[]);
        Ok(())
    }

    /// The archive. Its length is a multiple of 4, so that another may follow.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.raw(TRAILER, 0, 1, (0, 0), &[]);
        self.out
    }

    fn parents(&mut self, path: &str) -> Result<(), CpioError> {
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !path.split('/').all(plain) || path == TRAILER {
            return Err(CpioError::Path(path.to_owned()));
        }
        for (end, _) in path.match_indices('/') {
            let parent = &path[..end];
            if self.folders.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY | 0o755, 2, &[])?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        links: u32,
        content: &[u8],
    ) -> Result<(), CpioError> {
        if u32::try_from(content.len()).is_err() {
            return Err(CpioError::TooLarge(path.to_owned()));
        }
        self.inode += 1;
        self.raw(path, mode, links, (0, 0), content);
        Ok(())
    }

    fn raw(
        &mut self,
        name: &str,
        mode: u32,
        links: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) {
        // magic, then: inode, mode, uid, gid, links, mtime, size, its file system's device (2),
        // its own device (2), name size, check
        let (name_size, size) = (name.len() as u32 + 1, content.len() as u32);
        self.out.extend_from_slice(b"070701");
        for field in [self.inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            self.out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.pad();
        self.out.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path.
    pub path: &'a str,
    /// File type and permission bits, as stat(2) has them.
    pub mode: u32,
    /// Its content; the target of a symbolic link.
    pub content: &'a [u8],
}

/// Whether the bytes begin as an archive does, with or without checksums.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

/// The members of an archive and of those that follow it, in order.
///
/// # Errors
/// The bytes are not such archives.
pub fn read(archive: &[u8]) -> Result<Vec<Entry<'_>>, CpioError> {
    let mut entries = Vec::new();
    let mut at = 0;
    let mut open = false;
    loop {
        if !open {
            // Between archives there may be any number of zero bytes.
            at += archive[at..].iter().take_while(|byte| **byte == 0).count();
            if at == archive.len() {
                return Ok(entries);
            }
        }
        let (entry, next) = entry_at(archive, at)?;
        open = entry.path != TRAILER;
        if open {
            entries.push(entry);
        }
        at = next.min(archive.len());
    }
}

fn entry_at(archive: &[u8], offset: usize) -> Result<(Entry<'_>, usize), CpioError> {
    let malformed = |reason| CpioError::Malformed { offset, reason };
    let slice = |from: usize, len: usize| {
        let end = from.checked_add(len).filter(|end| *end <= archive.len());
        end.map(|end| &archive[from..end]).ok_or_else(|| malformed("it ends too early"))
    };
    let header = slice(offset, HEADER)?;
    if !header.starts_with(b"070701") {
        return Err(malformed("no header"));
    }
    let field = |index: usize| {
        let digits = &header[6 + index * 8..14 + index * 8];
        let text = std::str::from_utf8(digits).ok();
        text.filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or_else(|| malformed("a field that is not hexadecimal"))
    };
    let (mode, size, name_size) = (field(1)?, field(6)? as usize, field(11)? as usize);
    let name = slice(offset + HEADER, name_size)?;
    let name = name.strip_suffix(&[0]).ok_or_else(|| malformed("a name without its NUL"))?;
    let path = std::str::from_utf8(name).map_err(|_| malformed("a name that is not UTF-8"))?;
    let start = (offset + HEADER + name_size).next_multiple_of(4);
    let content = slice(start, size)?;
    Ok((Entry { path, mode, content }, (start + size).next_multiple_of(4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listing(archive: &[u8]) -> String {
        let line = |e: &Entry<'_>| format!("{:o} {} {}", e.mode, e.path, e.content.len());
        read(archive).unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn folders_come_before_their_files_and_once() {
        let mut writer = Writer::new();
        writer.dir("root", 0o700).unwrap();
        writer.file("root/.ssh/key", 0o600, b"abc").unwrap();
        writer.file("root/.ssh/other", 0o644, b"").unwrap();
        writer.symlink("bin", "usr/bin").unwrap();
        let archive = writer.finish();
        assert_eq!(archive.len() % 4, 0);
        insta::assert_snapshot!(listing(&archive), @r"
        40700 root 0
        40755 root/.ssh 0
        100600 root/.ssh/key 3
        100644 root/.ssh/other 0
        120777 bin 7
        ");
    }

    #[test]
    fn archives_may_follow_each_other() {
        let archive = |name: &str| {
            let mut writer = Writer::new();
            writer.file(name, 0o644, name.as_bytes()).unwrap();
            writer.finish()
        };
        let both = [archive("first"), vec![0; 8], archive("2nd")].concat();
        assert_eq!(listing(&both), "100644 first 5\n100644 2nd 3");
    }

    #[test]
    fn a_path_stays_inside() {
        for bad in ["", "/etc", "a//b", "a/", "../a", "a/./b", "a\0b", TRAILER] {
            assert_eq!(
                Writer::new().file(bad, 0o644, b""),
                Err(CpioError::Path(bad.to_owned())),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            files in proptest::collection::vec(
                ("[a-c]{1,3}(/[a-zé ]{1,9}){0,3}", 0_u32..0o7777, proptest::collection::vec(any::<u8>(), 0..50)),
                0..9,
            )
        ) {
            let mut writer = Writer::new();
            for (path, mode, content) in &files {
                writer.file(path, *mode, content).unwrap();
            }
            let archive = writer.finish();
            let read: Vec<_> = read(&archive).unwrap().into_iter().filter(|e| e.mode & REGULAR != 0).collect();
            prop_assert_eq!(read.len(), files.len());
            for (entry, (path, mode, content)) in read.iter().zip(&files) {
                prop_assert_eq!((entry.path, entry.mode, entry.content), (path.as_str(), mode | REGULAR, content.as_slice()));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), flip in 0_usize..120) {
            let _ = read(&bytes);
            let mut writer = Writer::new();
            writer.file("a/b", 0o644, &bytes).unwrap();
            let mut archive = writer.finish();
            archive[flip] = bytes.pop().unwrap_or(b'f');
            let _ = read(&archive);
        }
    }
}
