//! The thread that owns the database: it does what it is sent in order, and
//! commits together what comes together. A commit is a flush of the disk.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::{Gate, StoreError, operations};

/// How long a write that nobody waits for may wait for company.
const PATIENCE: Duration = Duration::from_millis(10);
/// The most that share a commit.
const COMPANY: usize = 64;

/// What the thread is sent.
pub(super) enum Message {
    /// Work in a transaction.
    Job(Kind, Work),
    /// The log is to be written into the database; answers when it is.
    Settle(oneshot::Sender<rusqlite::Result<()>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody waits until it is durable.
    Write,
    /// Nobody waits: it may share the next commit.
    Soon,
    /// It changes nothing.
    Read,
}

/// Does the work in the transaction.
pub(super) type Work = Box<dyn FnOnce(&Transaction<'_>) -> Done + Send>;

/// Work that was done, or failed.
pub(super) struct Done {
    /// Tells whoever asked, once it is known what became of the transaction.
    pub(super) tell: Box<dyn FnOnce(Result<(), StoreError>)>,
    /// Whether it failed for want of room.
    pub(super) full: bool,
    /// What is done once it is durable, before anybody is told of its events.
    pub(super) then: Option<Box<dyn FnOnce()>>,
}

/// The thread's own.
pub(super) struct Commits {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) last_seq: watch::Sender<u64>,
    pub(super) gate: Gate,
}

impl Commits {
    /// Runs until nobody can send any more.
    pub(super) fn run(mut self) {
        let mut next = None;
        while let Some(message) = next.take().or_else(|| self.queue.recv().ok()) {
            match message {
                Message::Job(kind, work) => next = self.transact(kind, work),
                Message::Settle(reply) => {
                    let all = "PRAGMA wal_checkpoint(TRUNCATE)";
                    // The asker may have gone.
                    let _ = reply.send(self.db.query_row(all, [], |_| Ok(())));
                }
            }
        }
    }

    /// Does work, and that which comes with it, in one transaction. Returns
    /// what came last if it cannot be in it.
    fn transact(&mut self, kind: Kind, work: Work) -> Option<Message> {
        let deadline = Instant::now() + PATIENCE;
        let (mut written, mut read, mut durable) = (Vec::new(), Vec::new(), Vec::new());
        let (mut awaited, mut left) = (false, None);
        // A transaction that begins as a reader's cannot wait for its turn to write.
        let reads = kind == Kind::Read;
        let behavior =
            if reads { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
        let (queue, gate, path) = (&self.queue, &self.gate, &self.path);
        let db = &mut self.db;
        let result = (|| {
            let transaction = db.transaction_with_behavior(behavior)?;
            let before = transaction.total_changes();
            let mut next = Some(Message::Job(kind, work));
            while let Some(message) = next {
                let (kind, work) = match message {
                    Message::Job(kind, work) if !reads || kind == Kind::Read => (kind, work),
                    other => {
                        left = Some(other);
                        break;
                    }
                };
                let Done { tell, full, then } = work(&transaction);
                let undone = transaction.is_autocommit();
                match kind {
                    // Nothing that could be taken back has been seen, but events: see `watch`.
                    Kind::Read if !awaited => tell(Ok(())),
                    Kind::Read => read.push(tell),
                    Kind::Write | Kind::Soon => {
                        written.push(tell);
                        durable.extend(then);
                    }
                }
                if undone {
                    // Some failures end the whole transaction.
                    let full = full.then(|| StoreError::Full(path.clone()));
                    return Err(full.unwrap_or(StoreError::Undone));
                }
                awaited |= kind == Kind::Write;
                next = match written.len() {
                    COMPANY.. => None,
                    0 => queue.try_recv().ok(),
                    _ if awaited => queue.try_recv().ok(),
                    _ => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        queue.recv_timeout(left).ok()
                    }
                };
            }
            let seq = operations::last_seq(&transaction)?;
            let wrote = transaction.total_changes() != before;
            if wrote && !gate() {
                return Err(StoreError::Closed);
            }
            transaction.commit()?;
            if wrote && !gate() { Err(StoreError::Closed) } else { Ok(seq) }
        })();
        let outcome = match result {
            Ok(seq) => {
                durable.into_iter().for_each(|then| then());
                // Readers are woken after the commit, so that they find what they look for.
                self.last_seq.send_if_modified(|last| std::mem::replace(last, seq) != seq);
                Ok(())
            }
            Err(error) => Err(Arc::new(error.named(&self.path))),
        };
        for tell in written.into_iter().chain(read) {
            tell(outcome.as_ref().copied().map_err(again));
        }
        left
    }
}

/// The same failure for each who shared a transaction.
fn again(error: &Arc<StoreError>) -> StoreError {
    match error.as_ref() {
        StoreError::Closed => StoreError::Closed,
        StoreError::Full(path) => StoreError::Full(path.clone()),
        _ => StoreError::Shared(error.clone()),
    }
}

/// Does `work` whole or not at all, whatever becomes of others in the same
/// transaction.
pub(super) fn whole<T>(
    db: &Transaction<'_>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    db.execute_batch("SAVEPOINT job")?;
    let result = work(db).and_then(|value| Ok(db.execute_batch("RELEASE job").map(|()| value)?));
    if result.is_err()
        && !db.is_autocommit()
        && db.execute_batch("ROLLBACK TO job; RELEASE job").is_err()
    {
        // Half of it must not be committed with the rest. What this fails for, the commit does.
        let _ = db.execute_batch("ROLLBACK");
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::{self, Scope};
    use crate::store::{Store, operations};
    use banger_core::operation::EventKind;
    use banger_core::resource::ResourceSpec;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        (dir, store)
    }

    fn intend(db: &Connection, owner: &str) -> Result<i64, StoreError> {
        journal::intend(db, owner, Scope::Life, &ResourceSpec::Dir { path: "/x".into() })
    }

    async fn owners(store: &Store) -> Vec<String> {
        store.read(|db| journal::owners(db)).await.unwrap()
    }

    fn durable(dir: &tempfile::TempDir) -> Vec<String> {
        journal::owners(&Connection::open(dir.path().join("db")).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_done_in_order_and_committed_with_the_next() {
        let (dir, store) = store();
        store.soon("a", |db| intend(db, "a").map(drop));
        store.soon("b", |db| Ok(db.execute_batch("UPDATE resources SET owner = 'b'")?));
        assert_eq!(owners(&store).await, ["b"]);
        store.run(|db| intend(db, "c")).await.unwrap();
        assert_eq!(durable(&dir), ["b", "c"]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_committed_alone_if_nothing_comes() {
        let (dir, store) = store();
        let mut seen = store.watch();
        store.soon("an event", |db| {
            let kind = EventKind::Warning { message: "late".to_owned() };
            operations::append(db, None, 1, &kind)
        });
        seen.changed().await.unwrap();
        let other = Connection::open(dir.path().join("db")).unwrap();
        let seq = *seen.borrow();
        let events = operations::events_after(&other, None, 0, seq, 10).unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [seq]);
    }

    #[tokio::test]
    async fn work_that_fails_leaves_its_company_alone() {
        let (dir, store) = store();
        let fails = |db: &Transaction<'_>| {
            intend(db, "undone")?;
            Err::<(), _>(StoreError::NameTaken("x".to_owned()))
        };
        store.soon("first", |db| intend(db, "first").map(drop));
        store.soon("a failure", fails);
        let (failed, done) = tokio::join!(store.run(fails), store.run(|db| intend(db, "last")));
        assert!(matches!(failed, Err(StoreError::NameTaken(_))), "{failed:?}");
        done.unwrap();
        assert_eq!(durable(&dir), ["first", "last"]);
    }

    #[tokio::test]
    async fn who_waits_is_told_when_nothing_could_be_committed() {
        let (dir, store) = store();
        // The transaction is taken from under all that are in it, as by a full disk.
        let ended = |db: &Transaction<'_>| Ok(db.execute_batch("ROLLBACK")?);
        store.soon("lost", |db| intend(db, "lost").map(drop));
        let (ended, later) = tokio::join!(store.run(ended), store.run(|db| intend(db, "later")));
        assert!(ended.is_err());
        later.unwrap();
        assert_eq!(durable(&dir), ["later"]);
    }
}
