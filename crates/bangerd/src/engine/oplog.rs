//! The log of one operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banger_core::id::OperationId;
use banger_core::operation::{EventKind, Outcome};
use banger_exec::Cancel;

use crate::clock::now_ms;
use crate::error::OpError;
use crate::store::{Store, StoreError, operations};

/// How often, and how long apart, the end of an operation is tried to be written.
const FINISH_TRIES: u32 = 60;
const FINISH_PAUSE: Duration = Duration::from_secs(1);

/// Appends to the log of one operation. Clones share it.
#[derive(Clone)]
pub struct OpLog {
    id: OperationId,
    store: Store,
    cancel: Cancel,
    ends: Arc<AtomicBool>,
}

impl OpLog {
    pub(super) fn new(id: OperationId, store: Store, cancel: Cancel) -> Self {
        Self { id, store, cancel, ends: Arc::default() }
    }

    /// Whether its end is being told, or is: whoever has heard of it may already ask
    /// for more.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.ends.load(Ordering::SeqCst)
    }

    /// The operation.
    #[must_use]
    pub fn id(&self) -> &OperationId {
        &self.id
    }

    /// What is set when the operation is to stop.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Fails if the operation is to stop.
    ///
    /// # Errors
    /// It is.
    pub fn check(&self) -> Result<(), OpError> {
        if self.cancel.is_cancelled() { Err(OpError::Cancelled) } else { Ok(()) }
    }

    /// Appends an event.
    ///
    /// # Errors
    /// The database's.
    pub async fn append(&self, kind: EventKind) -> Result<(), StoreError> {
        let (id, at) = (self.id.clone(), now_ms());
        self.store.run(move |db| operations::append(db, Some(&id), at, &kind)).await
    }

    /// Appends an event that nothing depends on, without waiting for it.
    pub(crate) fn tell(&self, kind: EventKind) {
        let (id, at) = (self.id.clone(), now_ms());
        self.store.soon("an event", move |db| operations::append(db, Some(&id), at, &kind));
    }

    /// Runs `work` as a stage.
    ///
    /// # Errors
    /// `work`'s.
    pub async fn stage<T>(
        &self,
        stage: &str,
        work: impl Future<Output = Result<T, OpError>>,
    ) -> Result<T, OpError> {
        let started = Instant::now();
        self.tell(EventKind::StageStarted { stage: stage.to_owned() });
        let value = work.await?;
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.tell(EventKind::StageDone { stage: stage.to_owned(), ms });
        Ok(value)
    }

    /// Ends the operation. A reader waits for its last event, so a database
    /// that fails, because the disk is full, say, is tried again for a while.
    pub async fn finish(&self, outcome: Outcome) {
        self.ends.store(true, Ordering::SeqCst);
        for _ in 0..FINISH_TRIES {
            let (id, at, outcome) = (self.id.clone(), now_ms(), outcome.clone());
            match self.store.run(move |db| operations::finish(db, &id, at, &outcome)).await {
                Ok(()) | Err(StoreError::Closed) => return,
                Err(error) => tracing::error!(operation = %self.id, %error, "cannot be ended"),
            }
            tokio::time::sleep(FINISH_PAUSE).await;
        }
    }
}
