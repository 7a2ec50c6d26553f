//! Reading a console's log while it grows.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;

use crate::engine::logs;

const BLOCK: u64 = 64 << 10;
/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Sends the last `lines` of a log and, to `follow`, what is added, until the
/// reader or the VM is gone.
///
/// # Errors
/// The log cannot be read.
pub async fn feed(
    path: &Path,
    lines: u64,
    follow: bool,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let log = path.to_owned();
    let start = tokio::task::spawn_blocking(move || match std::fs::File::open(&log) {
        Ok(mut file) => start_of_last(lines, &mut file),
        // Before the first start there is none.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    });
    let mut at = start.await.map_err(io::Error::other)??;
    loop {
        at = send_from(path, at, sender).await?;
        let gone = !path.parent().is_some_and(Path::exists);
        if !follow || gone {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Sends a log from `at` to where it ends now. Returns that.
async fn send_from(
    path: &Path,
    at: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<u64> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let end = file.metadata().await?.len();
    // One that grew too large was cut.
    let mut at = if end < at { logs::resume(path)?.min(end) } else { at };
    file.seek(SeekFrom::Start(at)).await?;
    while at < end {
        let mut block = Vec::new();
        let n = (&mut file).take(BLOCK.min(end - at)).read_to_end(&mut block).await? as u64;
        if n == 0 || sender.send(Ok(block.into())).await.is_err() {
            break;
        }
        at += n;
    }
    Ok(at)
}

/// Where the last `lines` of a log begin. An end without a line's end is a line.
fn start_of_last(lines: u64, log: &mut (impl Read + Seek)) -> io::Result<u64> {
    let mut at = log.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(at);
    }
    let (mut seen, mut last_byte) = (0, true);
    let mut block = Vec::new();
    while at > 0 {
        let size = BLOCK.min(at);
        log.seek(SeekFrom::Start(at - size))?;
        block.clear();
        log.by_ref().take(size).read_to_end(&mut block)?;
        for (i, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' && !last_byte {
                seen += 1;
                if seen == lines {
                    return Ok(at - size + i as u64 + 1);
                }
            }
            last_byte = false;
        }
        at -= size;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn last(lines: u64, text: &str) -> &str {
        let at = start_of_last(lines, &mut Cursor::new(text)).unwrap();
        &text[usize::try_from(at).unwrap()..]
    }

    #[test]
    fn the_last_lines_are_found() {
        assert_eq!(last(2, "a\nb\nc\n"), "b\nc\n");
        assert_eq!(last(2, "a\nb\nc"), "b\nc");
        assert_eq!(last(1, "a\n\n"), "\n");
        assert_eq!(last(9, "a\nb\n"), "a\nb\n");
        assert_eq!(last(0, "a\nb\n"), "");
        assert_eq!(last(3, ""), "");
        let long = format!("{}\n", "x".repeat(50_000));
        assert_eq!(last(3, &long.repeat(5)), long.repeat(3));
    }

    #[tokio::test]
    async fn a_log_is_followed_through_growth_truncation_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let vm = dir.path().join("vm");
        let path = vm.join("console");
        std::fs::create_dir(&vm).unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let log = path.clone();
        let fed = tokio::spawn(async move { feed(&log, 1, true, &sender).await });
        let mut next =
            async || String::from_utf8(receiver.recv().await.unwrap().unwrap().into()).unwrap();
        tokio::time::sleep(POLL / 2).await;
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(next().await, "one\ntwo\n");
        std::fs::write(&path, "one\ntwo\nthree").unwrap();
        assert_eq!(next().await, "three");
        std::fs::write(&path, "anew").unwrap();
        assert_eq!(next().await, "anew");
        std::fs::remove_dir_all(&vm).unwrap();
        fed.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_log_that_is_not_followed_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let (sender, mut receiver) = mpsc::channel(4);
        feed(&path, 9, false, &sender).await.unwrap();
        std::fs::write(&path, "one\ntwo").unwrap();
        feed(&path, 1, false, &sender).await.unwrap();
        drop(sender);
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "two");
        assert!(receiver.recv().await.is_none());
    }
}
