//! Calls to the host that fail.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The one of this number, counted from 0, without having done anything.
    Before(usize),
    /// The one of this number, after it has done its work.
    After(usize),
    /// It and all that follow, without having done anything.
    From(usize),
}

/// What fails of a host. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<Option<Fault>>,
    calls: AtomicUsize,
    struck: AtomicBool,
}

impl Faults {
    /// From now on calls are counted anew, and this one fails; none if all is well.
    pub fn set(&self, fault: Option<Fault>) {
        *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.0.calls.store(0, Ordering::SeqCst);
        self.0.struck.store(false, Ordering::SeqCst);
    }

    /// Whether a call has failed since.
    #[must_use]
    pub fn struck(&self) -> bool {
        self.0.struck.load(Ordering::SeqCst)
    }

    /// Does a call's work, or fails in its place. `fail` makes the error.
    pub(crate) fn call<T, E>(
        &self,
        fail: impl FnOnce(io::Error) -> E,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let fault = *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.0.calls.fetch_add(1, Ordering::SeqCst);
        let (strikes, works) = match fault {
            Some(Fault::Before(n)) => (n == call, false),
            Some(Fault::After(n)) => (n == call, true),
            Some(Fault::From(n)) => (n <= call, false),
            None => (false, false),
        };
        if !strikes {
            return work();
        }
        self.0.struck.store(true, Ordering::SeqCst);
        if works {
            work()?;
        }
        Err(fail(io::Error::other(format!("injected into call {call}"))))
    }
}
