//! Fetching packages, several at a time, and checking them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use banger_exec::Cancel;

use super::AlpineError;
use crate::apk::index::Record;
use crate::apk::installed::Installed;
use crate::apk::keys::Keys;
use crate::apk::package::{self, Package, PackageError};
use crate::assemble::Assembly;
use crate::build::BuildError;
use crate::cache;
use crate::fetch::{TICK, fetch_unchecked};

/// How many are fetched at a time: a mirror is slow to answer and fast to send.
const PARALLEL: usize = 3;

/// A package to get.
pub(super) struct Wanted<'a> {
    pub record: &'a Record,
    /// Where from.
    pub url: String,
}

/// A package that is here, and is what its record says.
pub(super) struct Had<'a> {
    pub record: &'a Record,
    /// What it has, and its files as a tar file; none of one that has nothing to unpack.
    pub content: Option<(Package, PathBuf)>,
}

impl Had<'_> {
    pub(super) fn installed(&self) -> Installed<'_> {
        let package = self.content.as_ref().map(|(package, _)| package);
        Installed { record: self.record, package }
    }
}

/// What a thread has to tell about a package, by its place.
enum Told {
    /// Bytes that are here.
    Progress(usize, u64),
    Done(usize, Box<Result<(Package, PathBuf), BuildError>>),
}

/// Gets packages: from the cache, or from where they are. The tar files of their data are in the
/// scratch folder.
pub(super) fn get<'a>(
    to: &Assembly<'_>,
    keys: &Keys,
    wanted: &[Wanted<'a>],
) -> Result<Vec<Had<'a>>, BuildError> {
    let cache = to.env.cache.join("apk");
    fs::create_dir_all(&cache).map_err(BuildError::io("make the folder", &cache))?;
    let stop = Cancel::default();
    let place = Place { cache: &cache, scratch: to.scratch, keys, stop: &stop };
    // apk fetches none that has nothing to unpack.
    let full = |wanted: &&Wanted<'_>| wanted.record.installed_size > 0;
    let total = wanted.iter().filter(full).map(|wanted| wanted.record.size).sum();
    let queue = Mutex::new(wanted.iter().enumerate().filter(|(_, wanted)| full(wanted)));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();

    let mut bytes = vec![0; wanted.len()];
    let mut contents: Vec<_> = wanted.iter().map(|_| None).collect();
    let mut failed = None;
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..PARALLEL {
            let (tell, next, place) = (tell.clone(), &next, &place);
            scope.spawn(move || {
                while let Some((n, wanted)) = next().filter(|_| !place.stop.is_cancelled()) {
                    let done = place.get(n, wanted, &tell);
                    // Nobody listens when the build is over.
                    drop(tell.send(Told::Done(n, Box::new(done))));
                }
            });
        }
        drop(tell);
        loop {
            match told.recv_timeout(TICK) {
                Ok(Told::Progress(n, here)) => {
                    if let Some(before) = bytes.get_mut(n) {
                        *before = here;
                    }
                    to.reporter.progress(bytes.iter().sum(), Some(total));
                }
                Ok(Told::Done(n, done)) => match *done {
                    Ok(content) => {
                        if let Some(place) = contents.get_mut(n) {
                            *place = Some(content);
                        }
                    }
                    Err(error) => {
                        stop.cancel();
                        failed.get_or_insert(error);
                    }
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if to.env.cancel.is_cancelled() {
                stop.cancel();
            }
        }
    });
    match failed {
        Some(error) => Err(error),
        None if to.env.cancel.is_cancelled() => Err(BuildError::Cancelled),
        None => {
            cache::tidy(&cache);
            let had = wanted.iter().zip(contents);
            Ok(had.map(|(wanted, content)| Had { record: wanted.record, content }).collect())
        }
    }
}

/// Where packages are put.
struct Place<'a> {
    cache: &'a Path,
    scratch: &'a Path,
    keys: &'a Keys,
    stop: &'a Cancel,
}

impl Place<'_> {
    fn get(
        &self,
        n: usize,
        wanted: &Wanted<'_>,
        tell: &Sender<Told>,
    ) -> Result<(Package, PathBuf), BuildError> {
        let Wanted { record, url } = wanted;
        // Another package of the same name and version has another hash, and so another file.
        let identity = record.identity.digits();
        let file = self.cache.join(format!("{}-{}.{identity}.apk", record.name, record.version));
        let progress = |here| drop(tell.send(Told::Progress(n, here)));
        let tar = self.scratch.join(format!("{n}.tar"));
        let was_here = file.exists();
        if was_here {
            match self.read(&file, record, &tar) {
                Err(AttemptError::Package(_)) => {}
                Err(AttemptError::Other(error)) => return Err(error),
                Ok(package) => {
                    progress(record.size);
                    return Ok((package, tar));
                }
            }
        }
        fetch_unchecked(url, &file, record.size, self.stop, &|here, _| progress(here))
            .map_err(AlpineError::from)?;
        match self.read(&file, record, &tar) {
            Ok(package) => Ok((package, tar)),
            Err(AttemptError::Package(source)) => {
                Err(AlpineError::Package { url: url.clone(), source }.into())
            }
            Err(AttemptError::Other(error)) => Err(error),
        }
    }

    /// Reads a package of the cache, and removes it if it is wrong.
    fn read(&self, file: &Path, record: &Record, tar: &Path) -> Result<Package, AttemptError> {
        let read = File::open(file).map_err(BuildError::io("read", file))?;
        let write = BuildError::io("write", tar);
        let mut out = Stoppable {
            inner: BufWriter::new(File::create(tar).map_err(&write)?),
            stop: self.stop,
        };
        match package::read(read, record, self.keys, &mut out) {
            Ok(package) => {
                out.flush().map_err(write)?;
                Ok(package)
            }
            Err(PackageError::Write(error)) => Err(write(error).into()),
            Err(error) => {
                fs::remove_file(file).map_err(BuildError::io("remove", file))?;
                Err(AttemptError::Package(error))
            }
        }
    }
}

/// Why a package could not be read.
enum AttemptError {
    /// It is wrong.
    Package(PackageError),
    Other(BuildError),
}

impl From<BuildError> for AttemptError {
    fn from(error: BuildError) -> Self {
        Self::Other(error)
    }
}

/// Writes until it is stopped.
struct Stoppable<'a, W> {
    inner: W,
    stop: &'a Cancel,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("it was stopped"));
        }
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
