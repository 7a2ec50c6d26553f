//! Downloads: resumed, checked, and only then there under their name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use banger_exec::Cancel;
use ureq::Body;
use ureq::config::ConfigBuilder;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use crate::cache;
pub use crate::checksum::Checksum;

/// How often something is asked for.
pub(crate) const TRIES: u32 = 3;
/// How long a server may take to connect, answer, or send the next bytes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });
/// What waiting is counted in.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A file to download.
#[derive(Debug, Clone)]
pub struct Download<'a> {
    /// Where from.
    pub url: &'a str,
    /// Where to.
    pub file: &'a Path,
    /// What it must be.
    pub checksum: &'a Checksum,
}

/// A download that failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection failed, three times.
    #[error("cannot download {url}: {reason}")]
    Transport {
        /// Where from.
        url: String,
        /// What the last try said.
        reason: String,
    },
    /// The server answered, but not with the file.
    #[error("cannot download {url}: the server answered {status}")]
    Status {
        /// Where from.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It is not the file that was asked for.
    #[error("{url} is not what it should be: expected {expected}, got {found}; it was removed")]
    Mismatch {
        /// Where from.
        url: String,
        /// The checksum that it should have.
        expected: Checksum,
        /// The one that it has.
        found: Checksum,
    },
    /// It does not end where it should.
    #[error("{url} has more than the {size} bytes that it should have; it was removed")]
    TooLong {
        /// Where from.
        url: String,
        /// Its length.
        size: u64,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The work it belonged to was cancelled. What is there is kept.
    #[error("the download of {0} was cancelled")]
    Cancelled(String),
}

/// Downloads a file unless it is there already. `progress` gets the bytes
/// that are there and, where the server says it, how many it will be.
///
/// # Errors
/// The download failed, was cancelled, or is not what `checksum` says.
pub fn fetch(
    download: &Download<'_>,
    cancel: &Cancel,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), FetchError> {
    fetch_by(download, None, &|range| get(download.url, range), cancel, progress)
}

/// Downloads a file that has no checksum, of at most `size` bytes. The caller must not have it yet,
/// must know what is in it by other means, and remove it if that is wrong.
///
/// # Errors
/// The download failed or was cancelled, or it has more bytes.
pub(crate) fn fetch_unchecked(
    url: &str,
    file: &Path,
    size: u64,
    cancel: &Cancel,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), FetchError> {
    let target = Target { url, file, checksum: None, size: Some(size) };
    target.fetch(&|range| get(url, range), cancel, progress)
}

/// Asks for a file, with a `Range` if a part of it is there; or says why the connection failed.
pub(crate) type Ask<'a> = &'a dyn Fn(Option<String>) -> Result<Response<Body>, String>;

/// [`fetch`] in another way than with a plain request; of a file that has at most `size` bytes.
pub(crate) fn fetch_by(
    download: &Download<'_>,
    size: Option<u64>,
    ask: Ask<'_>,
    cancel: &Cancel,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), FetchError> {
    let Download { url, file, checksum } = *download;
    Target { url, file, checksum: Some(checksum), size }.fetch(ask, cancel, progress)
}

/// A plain request.
pub(crate) fn get(url: &str, range: Option<String>) -> Result<Response<Body>, String> {
    let agent: ureq::Agent = config().build().into();
    let request =
        range.into_iter().fold(agent.get(url), |request, range| request.header("Range", range));
    request.call().map_err(|error| error.to_string())
}

/// A file to download, with what is known of it.
#[derive(Clone, Copy)]
struct Target<'a> {
    url: &'a str,
    file: &'a Path,
    checksum: Option<&'a Checksum>,
    size: Option<u64>,
}

impl Target<'_> {
    fn fetch(
        self,
        ask: Ask<'_>,
        cancel: &Cancel,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), FetchError> {
        // What is there may have been there for long.
        cache::touch(self.file);
        let mut path = self.file.as_os_str().to_owned();
        path.push(".part");
        Fetch { target: self, ask, part: Path::new(&path), cancel, progress }.run()
    }
}

struct Fetch<'a> {
    target: Target<'a>,
    ask: Ask<'a>,
    part: &'a Path,
    cancel: &'a Cancel,
    progress: &'a dyn Fn(u64, Option<u64>),
}

/// Why one try ended without the file.
enum Stop {
    Retry(String),
    Final(FetchError),
}

impl Fetch<'_> {
    fn run(&self) -> Result<(), FetchError> {
        if self.is_there()? {
            return Ok(());
        }
        let Some(mut part) = self.lock()? else {
            return Ok(());
        };
        let done = self.attempts(&mut part);
        // An empty file is no beginning of anything.
        if done.is_err() && part.metadata().is_ok_and(|part| part.len() == 0) {
            // What it failed for is told.
            let _ = std::fs::remove_file(self.part);
        }
        done
    }

    fn attempts(&self, part: &mut File) -> Result<(), FetchError> {
        let mut reason = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(TICK * 2_u32.pow(attempt));
            }
            match self.attempt(part) {
                Ok(()) => return self.settle(part),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Retry(why)) => reason = why,
            }
        }
        Err(FetchError::Transport { url: self.target.url.to_owned(), reason })
    }

    /// Whether the file is there and right.
    fn is_there(&self) -> Result<bool, FetchError> {
        match File::open(self.target.file) {
            Ok(mut file) => {
                let Some(checksum) = self.target.checksum else { return Ok(true) };
                Ok(self.digest(checksum, &mut file, self.target.file)? == *checksum)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(FetchError::Io { path: self.target.file.to_owned(), source }),
        }
    }

    /// The part file, ours alone; none if another download made the file
    /// while we waited for it.
    fn lock(&self) -> Result<Option<File>, FetchError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        loop {
            let part = options.open(self.part).map_err(|source| self.io(source))?;
            while let Err(error) = part.try_lock() {
                match error {
                    std::fs::TryLockError::WouldBlock => self.check_cancel()?,
                    std::fs::TryLockError::Error(source) => return Err(self.io(source)),
                }
                sleep(TICK);
            }
            // The holder before us renamed or removed it: look again.
            let ours = part.metadata().map_err(|source| self.io(source))?.ino();
            if std::fs::metadata(self.part).is_ok_and(|there| there.ino() == ours) {
                return Ok(Some(part));
            }
            if self.is_there()? {
                return Ok(None);
            }
        }
    }

    fn attempt(&self, part: &mut File) -> Result<(), Stop> {
        self.check_cancel().map_err(Stop::Final)?;
        let io = |source| Stop::Final(self.io(source));
        let mut have = part.seek(SeekFrom::End(0)).map_err(io)?;
        let url = self.target.url;
        let range = (have > 0).then(|| format!("bytes={have}-"));
        let mut response = (self.ask)(range).map_err(Stop::Retry)?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let resumed = header("content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
        match status {
            206 if resumed => {}
            200 => {
                part.set_len(0).map_err(io)?;
                have = part.seek(SeekFrom::Start(0)).map_err(io)?;
            }
            // What we have is not a beginning of what the server has.
            206 | 416 => {
                part.set_len(0).map_err(io)?;
                return Err(Stop::Retry(format!("the server answered {status}")));
            }
            500.. | 408 | 429 => return Err(Stop::Retry(format!("the server answered {status}"))),
            _ => return Err(Stop::Final(FetchError::Status { url: url.to_owned(), status })),
        }
        let total = header("content-length").and_then(|n| n.parse::<u64>().ok()).map(|n| n + have);
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            (self.progress)(have, total);
            self.check_cancel().map_err(Stop::Final)?;
            let n = body.read(&mut buffer).map_err(|error| Stop::Retry(error.to_string()))?;
            if n == 0 {
                break;
            }
            part.write_all(&buffer[..n]).map_err(|source| {
                // Half a file must not keep a full disk full. What the write failed for is told.
                let _ = std::fs::remove_file(self.part);
                io(source)
            })?;
            have += n as u64;
            if let Some(size) = self.target.size.filter(|size| have > *size) {
                std::fs::remove_file(self.part).map_err(io)?;
                return Err(Stop::Final(FetchError::TooLong { url: url.to_owned(), size }));
            }
        }
        match total {
            Some(total) if have < total => Err(Stop::Retry("the connection was cut".to_owned())),
            _ => Ok(()),
        }
    }

    /// Checks what was downloaded and gives it its name.
    fn settle(&self, part: &mut File) -> Result<(), FetchError> {
        if let Some(expected) = self.target.checksum {
            let found = self.digest(expected, part, self.part)?;
            if found != *expected {
                std::fs::remove_file(self.part).map_err(|source| self.io(source))?;
                let (url, expected) = (self.target.url.to_owned(), expected.clone());
                return Err(FetchError::Mismatch { url, expected, found });
            }
        }
        part.sync_all().map_err(|source| self.io(source))?;
        std::fs::rename(self.part, self.target.file).map_err(|source| self.io(source))
    }

    fn digest(
        &self,
        checksum: &Checksum,
        file: &mut File,
        path: &Path,
    ) -> Result<Checksum, FetchError> {
        let io = |source| FetchError::Io { path: path.to_owned(), source };
        let mut digest = checksum.start();
        let mut buffer = vec![0; 1 << 20];
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        loop {
            self.check_cancel()?;
            match file.read(&mut buffer).map_err(io)? {
                0 => return Ok(digest.finish()),
                n => digest.update(&buffer[..n]),
            }
        }
    }

    fn check_cancel(&self) -> Result<(), FetchError> {
        if self.cancel.is_cancelled() {
            return Err(FetchError::Cancelled(self.target.url.to_owned()));
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> FetchError {
        FetchError::Io { path: self.part.to_owned(), source }
    }
}

/// How banger speaks HTTP.
pub(crate) fn config() -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
}

#[cfg(test)]
mod tests;
