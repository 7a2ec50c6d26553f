//! Copies of disk files that share or skip what they can.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::{At as _, HostError};

/// Copies `from` to `to`, which must not exist: by reflink where the file
/// system can, else hole by hole. Returns whether it was a reflink.
///
/// # Errors
/// Either file, or the file system is full; `to` is then removed.
pub fn clone_file(from: &Path, to: &Path) -> Result<bool, HostError> {
    let source = File::open(from).at("open", from)?;
    let mut options = File::options();
    let target = options.write(true).create_new(true).mode(0o600).open(to).at("create", to)?;
    let copied =
        reflink(&source, &target).or_else(|_| sparse_copy(&source, &target).map(|()| false));
    copied.inspect_err(|_| drop(std::fs::remove_file(to))).at("copy to", to)
}

#[expect(clippy::disallowed_methods, reason = "this crate is where host effects live")]
pub(crate) fn reflink(source: &File, target: &File) -> io::Result<bool> {
    rustix::fs::ioctl_ficlone(target, source)?;
    Ok(true)
}

fn sparse_copy(source: &File, target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // No data up to the end of the file.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(source, SeekFrom::Hole(data))?;
        copy_range(source, target, data, hole)?;
        at = hole;
    }
    Ok(())
}

fn copy_range(source: &File, target: &File, from: u64, to: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (from, from);
    while read_at < to {
        let left = usize::try_from((to - read_at).min(1 << 30)).map_err(io::Error::other)?;
        let copied = rustix::fs::copy_file_range(
            source,
            Some(&mut read_at),
            target,
            Some(&mut write_at),
            left,
        );
        let n = match copied {
            // Between file systems, or where the kernel cannot: by hand.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP) => {
                return copy_by_hand(source, target, read_at, to);
            }
            other => other?,
        };
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn copy_by_hand(source: &File, target: &File, mut at: u64, to: u64) -> io::Result<()> {
    let mut block = vec![0; 256 << 10];
    while at < to {
        let left = usize::try_from(to - at).unwrap_or(usize::MAX).min(block.len());
        source.read_exact_at(&mut block[..left], at)?;
        target.write_all_at(&block[..left], at)?;
        at += left as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn holes_stay_holes_and_data_stays_data() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"head", 0).unwrap();
        source.write_all_at(b"middle", 33 << 20).unwrap();
        clone_file(&from, &to).unwrap();
        assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
        let real = std::fs::metadata(&to).unwrap().blocks() * 512;
        assert!(real < 1 << 20, "{real} bytes allocated");
        assert!(clone_file(&from, &to).is_err(), "overwrote a file");
        let by_hand = dir.path().join("by hand");
        let target = File::create(&by_hand).unwrap();
        copy_by_hand(&File::open(&from).unwrap(), &target, 0, 64 << 20).unwrap();
        assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&by_hand).unwrap());
    }
}
