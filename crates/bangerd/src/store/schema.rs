//! The tables, and how an older database becomes a current one.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::StoreError;

/// Each entry takes the database from the version before it to its own;
/// `user_version` counts those applied. Entries are never changed.
pub(super) const MIGRATIONS: &[&str] = &[
    "
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
",
    "
    CREATE UNIQUE INDEX address_of_vm ON vms (vm ->> '$.lease.address');
    CREATE UNIQUE INDEX mac_of_vm ON vms (vm ->> '$.lease.mac');
    CREATE UNIQUE INDEX tap_of_vm ON vms (vm ->> '$.lease.tap');
",
];

/// A database of this size is looked through in a few milliseconds.
const CHECKED: u64 = 64 << 20;

/// Sets the connection up, looks whether the database is whole, and migrates.
pub(super) fn prepare(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.to_owned(), what: source.to_string() }
        }
        Some(ErrorCode::DiskFull) => StoreError::Full(path.to_owned()),
        _ => StoreError::Open { path: path.to_owned(), source },
    };
    // Before anything is written to it.
    if std::fs::metadata(path).is_ok_and(|m| m.len() <= CHECKED) {
        let found: String =
            db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(open)?;
        if found != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned(), what: found });
        }
    }
    db.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
    // A row is written before its host resource is acquired: it must survive
    // a power cut, which WAL ensures only with FULL.
    db.pragma_update(None, "synchronous", "FULL").map_err(open)?;
    db.pragma_update(None, "foreign_keys", true).map_err(open)?;
    // Of 4 KiB each; the default is 2 MB, more than most of these databases have.
    db.pragma_update(None, "cache_size", 64).map_err(open)?;
    let known = MIGRATIONS.len() as i64;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(open)?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (i, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = db.transaction().map_err(open)?;
        transaction.execute_batch(migration).map_err(open)?;
        transaction.pragma_update(None, "user_version", i as i64 + 1).map_err(open)?;
        transaction.commit().map_err(open)?;
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
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let refused = Store::open(&path).err().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content, "it was changed");
            assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        };
        refused("this is not a database, it is a poem about one ...".repeat(50).as_bytes());
        std::fs::remove_file(&path).unwrap();
        let mut db = Connection::open(&path).unwrap();
        prepare(&mut db, &path).unwrap();
        db.pragma_update(None, "journal_mode", "DELETE").unwrap();
        let filled = db.transaction().unwrap();
        for i in 0..500 {
            filled.execute("INSERT INTO events (at_ms, kind) VALUES (?1, ?2)", [i, i]).unwrap();
        }
        filled.commit().unwrap();
        drop(db);
        let mut whole = std::fs::read(&path).unwrap();
        refused(&whole[..whole.len() / 2]);
        // The header stays; a page in the middle does not.
        whole[2 * 4096..3 * 4096].fill(0x5a);
        refused(&whole);
    }
}
