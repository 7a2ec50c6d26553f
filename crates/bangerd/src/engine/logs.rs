//! Logs stay small while they grow: a guest may print without end on its
//! console, and its VMM about it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_core::dirs::vm_files;

use crate::engine::Engine;
use crate::engine::resources::blocking;

/// A log that is larger than this is cut.
pub const LIMIT: u64 = 4 << 20;
/// What stays of it: its end.
pub const KEEP: u64 = 1 << 20;
/// How often logs are looked at. In between, one may grow as fast as its writer can.
const PAUSE: Duration = Duration::from_secs(5);
/// The first line of a log that was cut.
const MARK: &[u8] = b"[banger cut this log here: what came before is gone]\n";

impl Engine {
    /// Keeps the logs of VMs that run, and our own, within bounds, for ever.
    pub async fn bound_logs(self) {
        let own = self.dirs.daemon_log();
        loop {
            let mut logs = vec![own.clone()];
            for dir in self.running() {
                logs.extend([
                    vm_files::console(&dir),
                    vm_files::vmm_log(&dir),
                    vm_files::vsock_log(&dir),
                ]);
            }
            // The task cannot fail: it tells what did.
            let _ = blocking(move || {
                bound_all(&logs);
                Ok(())
            })
            .await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn bound_all(logs: &[PathBuf]) {
    for log in logs {
        match bound(log) {
            Ok(false) => {}
            Ok(true) => tracing::info!(log = %log.display(), "cut to its end"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(log = %log.display(), %error, "cannot be cut"),
        }
    }
}

/// Cuts a log that has grown too large. Its writers append, so that they go on
/// behind what is left; what they write in this moment may be lost.
///
/// # Errors
/// It cannot be read or written.
pub fn bound(path: &Path) -> io::Result<bool> {
    let length = std::fs::metadata(path)?.len();
    if length <= LIMIT {
        return Ok(false);
    }
    let mut file = File::options().read(true).append(true).open(path)?;
    file.seek(SeekFrom::Start(length - KEEP))?;
    let mut kept = MARK.to_vec();
    (&mut file).take(KEEP).read_to_end(&mut kept)?;
    file.set_len(0)?;
    file.write_all(&kept)?;
    Ok(true)
}

/// Where a reader goes on that had read a log to its end before it was cut: behind
/// what was kept. One that was begun anew is read from its start.
///
/// # Errors
/// It cannot be read.
pub fn resume(path: &Path) -> io::Result<u64> {
    let mut start = Vec::new();
    File::open(path)?.take(MARK.len() as u64).read_to_end(&mut start)?;
    Ok(if start == MARK { MARK.len() as u64 + KEEP } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_too_large_keeps_its_end_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut writer = File::options().create(true).append(true).open(&path).unwrap();
        let line = |i: u64| format!("{i:015}\n");
        let lines = LIMIT / 16;
        (0..lines).for_each(|i| writer.write_all(line(i).as_bytes()).unwrap());
        assert!(!bound(&path).unwrap(), "it is as large as it may be");
        writer.write_all(line(lines).as_bytes()).unwrap();
        assert!(bound(&path).unwrap());
        assert!(!bound(&path).unwrap());
        writer.write_all(b"and on\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (mark, rest) = text.split_once('\n').unwrap();
        assert_eq!(format!("{mark}\n").as_bytes(), MARK);
        assert!(rest.starts_with(&line(lines + 1 - KEEP / 16)), "{}", &rest[..40]);
        assert!(rest.ends_with(&format!("{}and on\n", line(lines))));
        let at = usize::try_from(resume(&path).unwrap()).unwrap();
        assert_eq!(&text[at..], "and on\n");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(resume(&path).unwrap(), 0);
    }
}
