//! Acquiring and releasing host resources by the journal: a row first, then
//! the resource; the resource's end first, then the row's.

use banger_core::resource::{Observed, ResourceSpec};
use banger_exec::Cancel;
use rusqlite::Connection;

use crate::engine::Engine;
use crate::error::{OpError, chain};
use crate::store::StoreError;
use crate::store::journal::{self, Entry, Scope};

/// A resource that is written down and is yet to be acquired.
pub(crate) struct Intended {
    pub(crate) row: i64,
    pub(crate) spec: ResourceSpec,
}

/// What became of a release.
pub(crate) struct Released {
    /// What failed.
    failures: Vec<String>,
    /// Whether there were taps among it.
    taps: bool,
}

/// Writes down that `owner` is about to acquire resources, in that order.
pub(crate) fn intend<const N: usize>(
    db: &Connection,
    owner: &str,
    scope: Scope,
    specs: [ResourceSpec; N],
) -> Result<[Intended; N], StoreError> {
    let rows: Vec<i64> = specs
        .iter()
        .map(|spec| journal::intend(db, owner, scope, spec))
        .collect::<Result<_, _>>()?;
    let mut rows = rows.into_iter();
    // As many rows as specs: they were made of them.
    Ok(specs.map(|spec| Intended { row: rows.next().unwrap_or_default(), spec }))
}

impl Engine {
    /// Acquires a resource for `owner`.
    ///
    /// # Errors
    /// The host's or the database's. The row stays, so that what was half
    /// made is released with the rest.
    pub(crate) async fn acquire(
        &self,
        owner: &str,
        scope: Scope,
        spec: ResourceSpec,
        cancel: &Cancel,
    ) -> Result<Observed, OpError> {
        let owner = owner.to_owned();
        let [intended] = self.store.run(move |db| intend(db, &owner, scope, [spec])).await?;
        self.ensure(intended, cancel).await
    }

    /// Acquires a resource that is written down already.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub(crate) async fn ensure(
        &self,
        Intended { row, spec }: Intended,
        cancel: &Cancel,
    ) -> Result<Observed, OpError> {
        let (host, cancel) = (self.host.clone(), cancel.clone());
        let observed = blocking(move || Ok(host.ensure(&spec, &cancel)?)).await?;
        let seen = observed.clone();
        // Before whatever builds on it is: that is asked for later.
        self.store.soon("what was acquired", move |db| journal::acquired(db, row, &seen));
        Ok(observed)
    }

    /// Releases what `owner` holds, the last acquired first; only what a run
    /// acquired if `run_only`. Goes on after a failure: returns what failed,
    /// whose rows stay. What only a tap of it needed goes with it.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn release(
        &self,
        owner: &str,
        run_only: bool,
    ) -> Result<Vec<String>, StoreError> {
        let Released { failures, taps } = self.release_held(owner, run_only).await?;
        if taps {
            self.network_idle().await?;
        }
        Ok(failures)
    }

    /// Releases what `owner` holds, and no more.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn release_held(
        &self,
        owner: &str,
        run_only: bool,
    ) -> Result<Released, StoreError> {
        let row_owner = owner.to_owned();
        let held = self.store.read(move |db| journal::held(db, &row_owner, run_only)).await?;
        let taps = held.iter().any(|entry| matches!(entry.spec, ResourceSpec::Tap { .. }));
        // The processes go first, for they were acquired last, and all at a time: each takes
        // a while to give its memory back.
        let (processes, others): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|entry| matches!(entry.spec, ResourceSpec::Process { .. }));
        let ends: Vec<_> = processes
            .into_iter()
            .map(|entry| tokio::spawn(self.clone().release_one(owner.to_owned(), entry)))
            .collect();
        let mut failures = Vec::new();
        for end in ends {
            failures.extend(end.await.unwrap_or_else(|error| Some(error.to_string())));
        }
        for entry in others {
            failures.extend(self.clone().release_one(owner.to_owned(), entry).await);
        }
        Ok(Released { failures, taps })
    }

    /// Releases one resource and forgets it. Returns what failed.
    async fn release_one(
        self,
        owner: String,
        Entry { id, spec, observed }: Entry,
    ) -> Option<String> {
        let (host, what) = (self.host.clone(), spec.to_string());
        match blocking(move || Ok(host.release(&spec, observed.as_ref())?)).await {
            Ok(()) => {
                // If this gets lost, it is released again: that does no harm.
                self.store.soon("a release", move |db| journal::released(db, id));
                None
            }
            Err(error) => {
                let failure = format!("cannot release the {what}: {}", chain(&error));
                tracing::error!(owner, failure, "release failed");
                Some(failure)
            }
        }
    }
}

/// Runs work that blocks.
///
/// # Errors
/// The work's.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpError> + Send + 'static,
) -> Result<T, OpError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(OpError::Internal(error.to_string())))
}
