//! The journal of host resources: a row is there from before its resource is
//! acquired until after it is released.

use banger_core::resource::{Observed, ResourceSpec};
use rusqlite::{Connection, params};

use super::StoreError;

/// How long a resource is meant to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// As long as its owner.
    Life,
    /// One run of a VM.
    Run,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Life => "life",
            Self::Run => "run",
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: later ones are released first.
    pub id: i64,
    /// The resource.
    pub spec: ResourceSpec,
    /// What was seen when it was acquired; none while it is only intended.
    pub observed: Option<Observed>,
}

/// Writes down that a resource is about to be acquired. Returns its row.
pub fn intend(
    db: &Connection,
    owner: &str,
    scope: Scope,
    spec: &ResourceSpec,
) -> Result<i64, StoreError> {
    db.execute(
        "INSERT INTO resources (owner, scope, spec) VALUES (?1, ?2, ?3)",
        params![owner, scope.as_str(), serde_json::to_string(spec)?],
    )?;
    Ok(db.last_insert_rowid())
}

/// Writes down that it was acquired.
pub fn acquired(db: &Connection, id: i64, observed: &Observed) -> Result<(), StoreError> {
    db.execute(
        "UPDATE resources SET observed = ?2 WHERE id = ?1",
        params![id, serde_json::to_string(observed)?],
    )?;
    Ok(())
}

/// Gives a row another spec: before its resource is brought to that, without
/// what was observed.
pub fn respecify(
    db: &Connection,
    id: i64,
    spec: &ResourceSpec,
    observed: Option<&Observed>,
) -> Result<(), StoreError> {
    let observed = observed.map(serde_json::to_string).transpose()?;
    db.execute(
        "UPDATE resources SET spec = ?2, observed = ?3 WHERE id = ?1",
        params![id, serde_json::to_string(spec)?, observed],
    )?;
    Ok(())
}

/// Forgets a resource that was released.
pub fn released(db: &Connection, id: i64) -> Result<(), StoreError> {
    db.execute("DELETE FROM resources WHERE id = ?1", [id])?;
    Ok(())
}

/// The resources of an owner in the order they are to be released; only those
/// of its run if `run_only`.
pub fn held(db: &Connection, owner: &str, run_only: bool) -> Result<Vec<Entry>, StoreError> {
    let mut statement = db.prepare(
        "SELECT id, spec, observed FROM resources
         WHERE owner = ?1 AND (scope = 'run' OR NOT ?2) ORDER BY id DESC",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
    };
    let rows = statement.query_map(params![owner, run_only], read)?;
    rows.map(|row| {
        let (id, spec, observed) = row?;
        let observed = observed.map(|text| serde_json::from_str(&text)).transpose()?;
        Ok(Entry { id, spec: serde_json::from_str(&spec)?, observed })
    })
    .collect()
}

/// The owners that hold anything.
pub fn owners(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare("SELECT DISTINCT owner FROM resources ORDER BY owner")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Whether anybody holds a tap.
pub fn has_taps(db: &Connection) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM resources WHERE spec ->> '$.kind' = 'tap')";
    Ok(db.query_row(query, [], |row| row.get(0))?)
}
