//! What the daemon knows, in SQLite. One thread owns the database; everyone
//! else sends it work.

mod commits;
pub mod images;
pub mod journal;
pub mod operations;
mod reserve;
pub mod schema;
pub mod vms;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use commits::{Commits, Done, Kind, Message, whole};
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
    /// What shared a transaction with it failed so that all of it was undone.
    #[error("the database undid it with something else that failed")]
    Undone,
    /// What was to be committed together was not.
    #[error(transparent)]
    Shared(Arc<StoreError>),
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
            Self::Shared(error) => error.remedy(),
            _ => None,
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            _ => false,
        }
    }

    /// The same; a lack of room with the path of the database that has none.
    fn named(self, path: &Path) -> Self {
        if self.is_full() { Self::Full(path.to_owned()) } else { self }
    }
}

/// Asked before and after each commit of something written; false ends the
/// work there, as the end of the daemon would. For tests.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// A handle on the database. Clones share it.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    messages: mpsc::Sender<Message>,
    last_seq: watch::Sender<u64>,
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
        let last_seq = watch::Sender::new(operations::last_seq(&db)?);
        let (messages, queue) = mpsc::channel();
        let (path, bell) = (path.to_owned(), last_seq.clone());
        let commits = Commits { db, path: path.clone(), queue, last_seq: bell, gate };
        std::thread::Builder::new().name("store".to_owned()).spawn(|| commits.run()).map_err(
            |e| StoreError::Open {
                path: path.clone(),
                source: rusqlite::Error::ToSqlConversionFailure(Box::new(e)),
            },
        )?;
        Ok(Self { path, messages, last_seq })
    }

    /// Does `work` whole or not at all, and returns once it is durable.
    ///
    /// # Errors
    /// `work`'s, or the commit's.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Kind::Write, work, || {}).await
    }

    /// The same; does `then` once it is durable, before anybody is told of its events: who has heard
    /// of one finds what it tells of.
    ///
    /// # Errors
    /// As [`Self::run`]; `then` is not done.
    pub async fn run_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Kind::Write, work, then).await
    }

    /// Does `work`, which changes nothing. It sees all that was asked for
    /// before it, also what is not durable yet.
    ///
    /// # Errors
    /// `work`'s.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Kind::Read, work, || {}).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = move |db: &Transaction<'_>| {
            let result = whole(db, work);
            let then = result.is_ok().then(|| Box::new(then) as Box<dyn FnOnce()>);
            let full = result.as_ref().is_err_and(StoreError::is_full);
            // The asker may have gone; the work is done all the same.
            let tell = move |committed: Result<(), StoreError>| {
                drop(reply.send(result.and_then(|value| committed.map(|()| value))));
            };
            Done { tell: Box::new(tell), full, then }
        };
        self.send(Message::Job(kind, Box::new(work)))?;
        answer.await.map_err(|_| StoreError::Closed)?.map_err(|error| error.named(&self.path))
    }

    /// Does `work` after all that was asked for before, and before all that is
    /// asked for later, but does not wait: for what no step depends on. It is
    /// committed with the next write, within moments at the latest. A failure
    /// is logged as that of `what`.
    pub fn soon(
        &self,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        let work = move |db: &Transaction<'_>| {
            let result = whole(db, work);
            let full = result.as_ref().is_err_and(StoreError::is_full);
            let tell = move |committed| {
                if let Err(error) = result.and(committed) {
                    tracing::error!(%error, "{what} could not be written down");
                }
            };
            Done { tell: Box::new(tell), full, then: None }
        };
        // A daemon that is ending has no next step.
        let _ = self.send(Message::Job(Kind::Soon, Box::new(work)));
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        self.messages.send(message).map_err(|_| StoreError::Closed)
    }

    /// Writes all that is in the log into the database, so that its file alone is
    /// the whole of it while no daemon runs.
    ///
    /// # Errors
    /// The database's; nothing is lost then.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Settle(reply))?;
        Ok(answer.await.map_err(|_| StoreError::Closed)??)
    }

    /// Changes whenever an event is appended; holds the sequence number of the
    /// last that is durable.
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
            // Of what is unique, the name is the only column; the others are of leases.
            _ if error.to_string().contains(".name") => StoreError::NameTaken(name.to_owned()),
            _ => error.into(),
        },
        _ => error.into(),
    }
}
