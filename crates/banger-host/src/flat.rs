//! A root in one raw file: an image's with what a VM has changed of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use banger_core::vm::RootDisk;
use banger_exec::{Cancel, Command, Runner, Tool};

use crate::{At as _, HostError, clone_file};

/// How long a large root may take on a slow disk.
const LIMIT: Duration = Duration::from_secs(3600);

/// The header of a snapshot's overlay (kernel: `drivers/md/dm-snap-persistent.c`).
const MAGIC: u32 = 0x7041_6e53;
const VERSION: u32 = 1;
const SECTOR: u64 = 512;
/// Bytes in which one chunk is known: where it was, and where it is.
const EXCEPTION: usize = 16;
/// The largest chunk that is believed, in sectors.
const CHUNK_MAX: u32 = 2048;

/// Makes the new file `to` of the root that the overlay of a VM that does not run is.
///
/// # Errors
/// Either file, a program, or an overlay that holds no whole root; `to` may be left.
pub(crate) fn flatten(
    runner: &dyn Runner,
    driver: RootDisk,
    [base, overlay, to]: [&Path; 3],
    cancel: &Cancel,
) -> Result<(), HostError> {
    match driver {
        RootDisk::Clone => clone_file(overlay, to).map(drop),
        RootDisk::Qcow2 => {
            let convert = Command::new(Tool::QemuImg).args(["convert", "-f", "qcow2", "-O", "raw"]);
            runner.capture(&convert.args([overlay, to]).cancel(cancel).timeout(LIMIT))?;
            Ok(())
        }
        RootDisk::DmSnapshot => {
            clone_file(base, to)?;
            let root = File::options().write(true).open(to).at("open", to)?;
            merge(&File::open(overlay).at("open", overlay)?, &root)
                .at("read the root overlay", overlay)
        }
    }
}

/// Writes what a snapshot's overlay holds over a copy of its base.
fn merge(overlay: &File, root: &File) -> io::Result<()> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut header = [0; 16];
    overlay.read_exact_at(&mut header, 0)?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header == [0; 16] {
        // It never ran.
        return Ok(());
    }
    if word(0) != MAGIC || word(8) != VERSION {
        return Err(wrong("it is not the overlay of a snapshot"));
    }
    if word(4) != 1 {
        return Err(wrong("the snapshot was lost: it was full, or its disk was"));
    }
    let sectors = word(12);
    if !sectors.is_power_of_two() || sectors > CHUNK_MAX {
        return Err(wrong("its chunks have a size that cannot be"));
    }
    let chunk = u64::from(sectors) * SECTOR;
    let length = root.metadata()?.len();
    let mut area = vec![0; usize::try_from(chunk).map_err(io::Error::other)?];
    let mut data = area.clone();
    let stride = chunk / EXCEPTION as u64 + 1;
    let mut at = 1;
    // An area of exceptions, then the chunks that it tells of; the first that is empty is the last.
    while at * chunk < overlay.metadata()?.len() {
        overlay.read_exact_at(&mut area, at * chunk)?;
        for exception in area.chunks_exact(EXCEPTION) {
            let (was, is) = exception.split_at(8);
            let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            let (was, is) = (number(was), number(is));
            if is == 0 {
                return Ok(());
            }
            let to = was.checked_mul(chunk).filter(|to| *to < length);
            let to = to.ok_or_else(|| wrong("it tells of a chunk behind the end of the root"))?;
            let from = is.checked_mul(chunk).ok_or_else(|| wrong("it tells of no chunk of it"))?;
            overlay.read_exact_at(&mut data, from)?;
            let whole = usize::try_from((length - to).min(chunk)).map_err(io::Error::other)?;
            root.write_all_at(&data[..whole], to)?;
        }
        at += stride;
    }
    Ok(())
}

/// Gives the blocks of a file that hold nothing back to the disk. Not all file systems can.
///
/// # Errors
/// The file.
pub fn dig_holes(path: &Path) -> Result<(), HostError> {
    const BLOCK: usize = 64 << 10;
    let file = File::options().read(true).write(true).open(path).at("open", path)?;
    let dig = || {
        let length = fs::metadata(path)?.len();
        let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
        let mut at = 0;
        while at < length {
            match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => at = data / BLOCK as u64 * BLOCK as u64,
                Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            }
            let size = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
            file.read_exact_at(&mut block[..size], at)?;
            if block[..size] == zeros[..size] {
                punch(&file, at, size as u64)?;
            }
            at += BLOCK as u64;
        }
        Ok::<_, io::Error>(())
    };
    dig().at("give back the holes of", path)
}

fn punch(file: &File, at: u64, length: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags as F;
    match rustix::fs::fallocate(file, F::PUNCH_HOLE | F::KEEP_SIZE, at, length) {
        // A file without holes is right, too.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: usize = 4096;

    /// An overlay as the kernel writes it: each chunk behind those before it.
    fn overlay(changes: &[(u64, u8)]) -> File {
        let file = tempfile::tempfile().unwrap();
        let header = [MAGIC, 1, VERSION, 8].map(u32::to_le_bytes).concat();
        file.write_all_at(&header, 0).unwrap();
        let per_area = CHUNK / EXCEPTION;
        for (i, (was, fill)) in changes.iter().enumerate() {
            let (area, slot) = (i / per_area, i % per_area);
            let start = 1 + area * (per_area + 1);
            let is = (start + 1 + slot) as u64;
            let exception = [was.to_le_bytes(), is.to_le_bytes()].concat();
            let at = start * CHUNK + slot * EXCEPTION;
            file.write_all_at(&exception, at as u64).unwrap();
            file.write_all_at(&[*fill; CHUNK], is * CHUNK as u64).unwrap();
        }
        file.set_len((3 + 3 * (per_area + 1)) as u64 * CHUNK as u64).unwrap();
        file
    }

    proptest! {
        #[test]
        fn what_was_changed_is_in_the_root_and_nothing_else(
            changes in proptest::collection::btree_map(0_u64..700, 1_u8.., 0..600),
            short in 0_u64..CHUNK as u64,
        ) {
            let root = tempfile::tempfile().unwrap();
            let length = 700 * CHUNK as u64 - short;
            root.set_len(length).unwrap();
            let list: Vec<_> = changes.iter().map(|(was, fill)| (*was, *fill)).collect();
            merge(&overlay(&list), &root).unwrap();
            let mut expected = vec![0; 700 * CHUNK];
            for (was, fill) in list {
                expected[was as usize * CHUNK..][..CHUNK].fill(fill);
            }
            expected.truncate(length as usize);
            let mut found = vec![0; expected.len()];
            root.read_exact_at(&mut found, 0).unwrap();
            prop_assert!(found == expected);
            prop_assert_eq!(root.metadata().unwrap().len(), length);
        }
    }

    #[test]
    fn an_overlay_that_holds_no_root_is_refused() {
        let root = tempfile::tempfile().unwrap();
        root.set_len(CHUNK as u64).unwrap();
        let refused = |file: &File| merge(file, &root).unwrap_err().to_string();
        let never = tempfile::tempfile().unwrap();
        never.set_len(1 << 20).unwrap();
        merge(&never, &root).unwrap();
        insta::assert_snapshot!(refused(&overlay(&[(1, 1)])), @"it tells of a chunk behind the end of the root");
        let other = overlay(&[]);
        other.write_all_at(&0_u32.to_le_bytes(), 4).unwrap();
        insta::assert_snapshot!(refused(&other), @"the snapshot was lost: it was full, or its disk was");
        other.write_all_at(b"QFI\xfb", 0).unwrap();
        insta::assert_snapshot!(refused(&other), @"it is not the overlay of a snapshot");
    }

    #[test]
    fn blocks_of_zeros_are_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut content = vec![0; 1 << 20];
        content[300_000] = 1;
        fs::write(&path, &content).unwrap();
        let before = crate::allocated(&path).unwrap();
        dig_holes(&path).unwrap();
        assert!(crate::allocated(&path).unwrap() <= before);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}
