//! The tables, and how an older database becomes a current one.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// Each entry takes the database from the version before it to its own;
/// `user_version` counts those applied. Entries are never changed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image TEXT NOT NULL
    ) STRICT;
    CREATE TABLE vms (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        image TEXT NOT NULL REFERENCES images (id),
        vm TEXT NOT NULL,
        opencode_password TEXT
    ) STRICT;
    CREATE TABLE operations (
        id TEXT PRIMARY KEY,
        started_at_ms INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        operation TEXT NOT NULL
    ) STRICT;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        operation TEXT REFERENCES operations (id) ON DELETE CASCADE,
        at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_of_operation ON events (operation, seq);
    CREATE TABLE resources (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        scope TEXT NOT NULL,
        spec TEXT NOT NULL,
        observed TEXT
    ) STRICT;
    CREATE INDEX resources_of_owner ON resources (owner, id);
"];

/// Sets the connection up and migrates.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open = |source| StoreError::Open { path: path.to_owned(), source };
    db.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    // A row is written before its host resource is acquired: it must survive
    // a power cut, which WAL ensures only with FULL.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    let known = MIGRATIONS.len() as i64;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (i, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = db.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", i as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(Store::open(&path).unwrap());
        drop(Store::open(&path).unwrap());
        let db = Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert!(error.to_string().contains("newer banger"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_damaged_database_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        std::fs::write(&path, "this is not a database, it is a poem about one ...".repeat(50))
            .unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Open { .. })));
    }
}
