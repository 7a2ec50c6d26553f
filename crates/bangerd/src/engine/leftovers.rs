//! What is on the host and is ours, but in no journal: nothing, unless a bug or a person made it so.

use banger_core::api::{ApiError, ErrorKind, Leftover};
use banger_core::resource::{ProcessId, ResourceSpec};
use banger_host::Found;

use crate::engine::resources::blocking;
use crate::engine::{Engine, store_error};
use crate::error::chain;
use crate::store::journal::{self, Entry};

impl Engine {
    /// What is left behind, in the order in which it can be released.
    ///
    /// # Errors
    /// The host or the database cannot be looked at.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, ApiError> {
        let first = self.not_written_down().await?;
        // What was being released when it was seen is gone by now.
        let second = if first.is_empty() { Vec::new() } else { self.not_written_down().await? };
        let left = second.into_iter().filter(|found| first.contains(found));
        Ok(left.map(|found| Leftover { what: found.spec.to_string(), error: None }).collect())
    }

    /// Releases what is left behind. Tells all of it, and of each whether that failed.
    ///
    /// # Errors
    /// As [`Self::leftovers`].
    pub async fn release_leftovers(&self) -> Result<Vec<Leftover>, ApiError> {
        let mut released = Vec::new();
        // A VM that starts could take one of them for its own.
        let _alone = self.0.network.lock().await;
        for found in self.not_written_down().await? {
            // Gone, or a VM's, by now?
            if !self.not_written_down().await?.contains(&found) {
                continue;
            }
            let Found { spec, observed } = found;
            let (host, what) = (self.host.clone(), spec.to_string());
            let done = blocking(move || Ok(host.release(&spec, Some(&observed))?)).await;
            tracing::warn!(what, ?done, "left behind by nobody known, and released");
            released.push(Leftover { what, error: done.err().map(|error| chain(&error)) });
        }
        Ok(released)
    }

    /// What is there is looked at first: all of it was written down before it was made.
    async fn not_written_down(&self) -> Result<Vec<Found>, ApiError> {
        let (host, runs) = (self.host.clone(), self.dirs.vm_runs());
        let internal = |error| ApiError::new(ErrorKind::Internal, chain(&error));
        let found = blocking(move || Ok(host.found(&runs)?)).await.map_err(internal)?;
        let read = self.store.read(|db| {
            let mut all = Vec::new();
            for owner in journal::owners(db)? {
                all.extend(journal::held(db, &owner, false)?);
            }
            Ok(all)
        });
        let held = read.await.map_err(store_error)?;
        Ok(found.into_iter().filter(|found| !held.iter().any(|held| is(held, found))).collect())
    }
}

/// Whether a row is that of what was found.
fn is(held: &Entry, found: &Found) -> bool {
    let known = held.observed.as_ref().and_then(|observed| observed.process.as_ref());
    match (&held.spec, &found.spec) {
        (ResourceSpec::Process { args, .. }, ResourceSpec::Process { args: seen, .. }) => {
            let process: Option<&ProcessId> = found.observed.process.as_ref();
            (known.is_some() && known == process) || seen.ends_with(args)
        }
        (ResourceSpec::Process { .. }, _) | (_, ResourceSpec::Process { .. }) => false,
        (held, found) => held.to_string() == found.to_string(),
    }
}
