//! A mirror of a distribution: a folder, by HTTP on a loopback address.

pub(crate) mod alpine;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a mirror does wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not there.
    Missing,
    /// The connection ends behind so many bytes of each answer; the next may ask for the rest.
    Cut(u64),
    /// Nothing comes behind so many bytes, and the connection stays.
    Stall(u64),
}

/// A mirror; it is there until the process ends.
pub struct Mirror {
    /// Its address, without a slash at the end.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    troubles: Mutex<BTreeMap<String, Trouble>>,
    asked: Mutex<Vec<String>>,
}

impl Mirror {
    /// Serves what is in `folder`.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            troubles: Mutex::default(),
            asked: Mutex::default(),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                // Who hangs up gets no more.
                thread::spawn(move || drop(shared.answer(stream)));
            }
        });
        Ok(Self { url, shared })
    }

    /// Has trouble with a file from now on, or none any more.
    pub fn trouble(&self, path: &str, trouble: Option<Trouble>) {
        let mut troubles = self.shared.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert(path.to_owned(), trouble),
            None => troubles.remove(path),
        };
    }

    /// The paths that were asked for so far, each with ` from N` if the rest of it was.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let mut from = 0;
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            let range =
                line.strip_prefix("range: bytes=").and_then(|range| range.strip_suffix('-'));
            from = range.and_then(|range| range.parse().ok()).unwrap_or(from);
        }
        let more = if from > 0 { format!(" from {from}") } else { String::new() };
        let asked = format!("{path}{more}");
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = troubles.get(&path).copied();
        drop(troubles);
        self.send(stream, &path, from, trouble)
    }

    fn send(
        &self,
        mut stream: TcpStream,
        path: &str,
        from: u64,
        trouble: Option<Trouble>,
    ) -> io::Result<()> {
        let within = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let file = File::open(self.folder.join(path)).ok();
        let Some(mut file) = file.filter(|_| within && trouble != Some(Trouble::Missing)) else {
            return stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        };
        let size = file.metadata()?.len();
        let left = size.saturating_sub(from);
        let status = match from {
            0 => "200 OK".to_owned(),
            _ => format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}",
                size.saturating_sub(1)
            ),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {left}\r\nConnection: close\r\n\r\n")?;
        file.seek(SeekFrom::Start(from))?;
        let sent = match trouble {
            Some(Trouble::Cut(bytes) | Trouble::Stall(bytes)) => bytes,
            _ => left,
        };
        io::copy(&mut file.take(sent), &mut stream)?;
        if matches!(trouble, Some(Trouble::Stall(_))) {
            thread::sleep(Duration::from_secs(600));
        }
        Ok(())
    }
}
