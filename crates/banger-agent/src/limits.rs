//! How much the agent does at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many of what the agent answers at once. Streams have a bound of their
/// own: however many are open, there is room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are being read and answered; each is limited in time.
    pub requests: usize,
    /// Streams of bytes, which last as long as their ends want.
    pub streams: usize,
}

impl Limits {
    /// A thread and a few files in `/proc` each.
    const REQUESTS: usize = 64;
    /// Two threads each, which take some 50 KiB when bytes flow.
    const STREAMS: usize = 512;
    const FILES_PER_REQUEST: u64 = 4;
    const FILES_PER_STREAM: u64 = 4;

    /// What is possible with so many open files.
    #[must_use]
    pub fn for_open_files(files: u64) -> Self {
        let left = files.saturating_sub(Self::REQUESTS as u64 * Self::FILES_PER_REQUEST);
        let streams = usize::try_from(left / Self::FILES_PER_STREAM).unwrap_or(usize::MAX);
        Self { requests: Self::REQUESTS, streams: streams.clamp(1, Self::STREAMS) }
    }
}

/// Raises the limit of open files as far as it goes without a right to more.
/// Returns it; the largest number there is if there is none.
#[must_use]
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // Where it stays as it is, that is what there is.
    raised.map_or(current, |()| maximum).unwrap_or(u64::MAX)
}

/// Places for what may be there only so many times at once.
#[derive(Debug)]
pub struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// So many free places.
    #[must_use]
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(count), freed: Condvar::new() })
    }

    /// Takes one, and waits until there is one.
    #[must_use]
    pub fn wait(self: &Arc<Self>) -> Place {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.freed.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(Arc::clone(self))
    }

    /// Takes one if there is one.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_becomes_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let lower = maximum.map_or(1024, |files| files - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum }).unwrap();
        assert_eq!(raise_open_files(), maximum.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }

    #[test]
    fn streams_leave_files_for_requests() {
        let streams = |files| Limits::for_open_files(files).streams;
        assert_eq!([0, 1024, 4096, u64::MAX].map(streams), [1, 192, 512, 512]);
    }

    #[test]
    fn a_place_can_be_taken_again_when_it_is_free() {
        let places = Places::new(1);
        let first = places.wait();
        assert!(places.take().is_none());
        let waiting = {
            let places = Arc::clone(&places);
            std::thread::spawn(move || drop(places.wait()))
        };
        drop(first);
        waiting.join().unwrap();
        assert!(places.take().is_some());
    }
}
