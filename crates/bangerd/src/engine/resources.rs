//! Acquiring and releasing host resources by the journal: a row first, then
//! the resource; the resource's end first, then the row's.

use banger_core::resource::{Observed, ResourceSpec};
use banger_exec::Cancel;

use crate::engine::Engine;
use crate::error::{OpError, chain};
use crate::store::StoreError;
use crate::store::journal::{self, Scope};

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
        let (row_owner, row_spec) = (owner.to_owned(), spec.clone());
        let id =
            self.store.run(move |db| journal::intend(db, &row_owner, scope, &row_spec)).await?;
        let (host, cancel) = (self.host.clone(), cancel.clone());
        let observed = blocking(move || Ok(host.ensure(&spec, &cancel)?)).await?;
        let row_observed = observed.clone();
        self.store.run(move |db| journal::acquired(db, id, &row_observed)).await?;
        Ok(observed)
    }

    /// Releases what `owner` holds, the last acquired first; only what a run
    /// acquired if `run_only`. Goes on after a failure: returns what failed,
    /// whose rows stay.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn release(
        &self,
        owner: &str,
        run_only: bool,
    ) -> Result<Vec<String>, StoreError> {
        let row_owner = owner.to_owned();
        let held = self.store.run(move |db| journal::held(db, &row_owner, run_only)).await?;
        let mut failures = Vec::new();
        for entry in held {
            let host = self.host.clone();
            let (spec, observed) = (entry.spec.clone(), entry.observed);
            let released = blocking(move || Ok(host.release(&spec, observed.as_ref())?));
            let forgotten = async {
                released.await?;
                Ok(self.store.run(move |db| journal::released(db, entry.id)).await?)
            };
            match forgotten.await {
                Ok(()) => {}
                Err::<(), OpError>(error) => {
                    let failure = format!("cannot release the {}: {}", entry.spec, chain(&error));
                    tracing::error!(owner, failure, "release failed");
                    failures.push(failure);
                }
            }
        }
        Ok(failures)
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
