//! What the daemon knows, in SQLite. One thread owns the database; everyone
//! else sends it work. A transaction is durable when it returns.

pub mod images;
pub mod journal;
pub mod operations;
mod reserve;
pub mod schema;
pub mod vms;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, ErrorCode, Transaction};
use tokio::sync::{oneshot, watch};

use crate::error::FREE_SPACE;

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened or made.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It is not whole.
    #[error("the database {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        what: String,
    },
    /// There is no room for a write.
    #[error("the disk of the database {} is full", .0.display())]
    Full(PathBuf),
    /// A newer banger wrote it.
    #[error(
        "the database {} is of a newer banger (schema {found}, this one knows {known})",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that we know.
        known: i64,
    },
    /// The image of a VM was deleted while the VM was defined.
    #[error("the image was deleted in the meantime")]
    ImageGone,
    /// A name is in use.
    #[error("the name '{0}' is taken")]
    NameTaken(String),
    /// SQLite refused.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row holds what we cannot read.
    #[error("the database holds what cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The daemon is ending.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } => Some(format!(
                "put a backup of {0} back, or move it and {0}-wal away to begin anew: the VMs' \
                 disks stay in {1}",
                path.display(),
                path.with_file_name("vms").display()
            )),
            Self::Open { path, .. } => Some(format!(
                "make {} and its folder yours and writable, or set XDG_STATE_HOME to another folder",
                path.display()
            )),
            Self::NameTaken(_) => {
                Some("choose another name, or delete the one that has it".to_owned())
            }
            Self::Newer { .. } => Some("update banger; nothing was changed".to_owned()),
            Self::Full(_) => Some(FREE_SPACE.to_owned()),
            _ => None,
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Asked before and after each commit of something written; false ends the
/// work there, as the end of the daemon would. For tests.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// A handle on the database. Clones share it.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    last_seq: watch::Sender<u64>,
    gate: Gate,
}

impl Store {
    /// Opens the database, making or migrating it.
    ///
    /// # Errors
    /// It cannot be opened, is damaged, or is of a newer banger.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_gated(path, Arc::new(|| true))
    }

    /// Opens the database with a gate at each of its writes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_gated(path: &Path, gate: Gate) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let mut db = Connection::open(path).map_err(open)?;
        // It holds passwords.
        let private = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
        private.map_err(|e| open(rusqlite::Error::ToSqlConversionFailure(Box::new(e))))?;
        schema::prepare(&mut db, path)?;
        if let Err(error) = reserve::reserve(path) {
            tracing::warn!(%error, "no room could be reserved for the database's log");
        }
        let seq = operations::last_seq(&db)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || queue.into_iter().for_each(|job| job(&mut db)))
            .map_err(|e| open(rusqlite::Error::ToSqlConversionFailure(Box::new(e))))?;
        Ok(Self { path: path.to_owned(), jobs, last_seq: watch::Sender::new(seq), gate })
    }

    /// Runs `work` in a transaction of its own, which is committed if it
    /// succeeds.
    ///
    /// # Errors
    /// `work`'s, or the commit's.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let (last_seq, gate) = (self.last_seq.clone(), self.gate.clone());
        let job = move |db: &mut Connection| {
            let result = (|| {
                let transaction = db.transaction()?;
                let before = transaction.total_changes();
                let value = work(&transaction)?;
                let seq = operations::last_seq(&transaction)?;
                let wrote = transaction.total_changes() != before;
                if wrote && !gate() {
                    return Err(StoreError::Closed);
                }
                transaction.commit()?;
                if wrote && !gate() { Err(StoreError::Closed) } else { Ok((value, seq)) }
            })();
            let result = result.map(|(value, seq)| {
                // Readers are woken after the commit, so that they find what they look for.
                last_seq.send_if_modified(|last| std::mem::replace(last, seq) != seq);
                value
            });
            // The asker may have gone; the work is done all the same.
            let _ = reply.send(result);
        };
        self.jobs.send(Box::new(job)).map_err(|_| StoreError::Closed)?;
        let result = answer.await.map_err(|_| StoreError::Closed)?;
        result.map_err(|error| match error {
            StoreError::Sqlite(e) if e.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                StoreError::Full(self.path.clone())
            }
            error => error,
        })
    }

    /// Writes all that is in the log into the database, so that its file alone is
    /// the whole of it while no daemon runs.
    ///
    /// # Errors
    /// The database's; nothing is lost then.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |db: &mut Connection| {
            let settled = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = reply.send(settled);
        };
        self.jobs.send(Box::new(job)).map_err(|_| StoreError::Closed)?;
        Ok(answer.await.map_err(|_| StoreError::Closed)??)
    }

    /// Changes whenever an event is appended; holds its sequence number.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last_seq.subscribe()
    }
}

/// Tells a taken name from other failures of an insert or update.
pub(crate) fn name_conflict(error: rusqlite::Error, name: &str) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => match error.sqlite_extended_error_code() {
            Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => StoreError::ImageGone,
            _ => StoreError::NameTaken(name.to_owned()),
        },
        _ => error.into(),
    }
}
