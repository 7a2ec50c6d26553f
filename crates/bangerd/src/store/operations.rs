//! Operations and their log of events.

use banger_core::id::{OperationId, VmId};
use banger_core::image::Image;
use banger_core::operation::{Event, EventKind, Operation, Outcome};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;

/// Finished operations are kept for this long, in milliseconds.
const KEEP_MS: u64 = 7 * 24 * 3600 * 1000;

/// The last event's sequence number; 0 where there was none.
pub(super) fn last_seq(db: &Connection) -> rusqlite::Result<u64> {
    let query = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
    let seq: Option<i64> = db.query_row(query, [], |row| row.get(0)).optional()?;
    Ok(seq.unwrap_or(0).cast_unsigned())
}

/// Begins an operation, and forgets those that ended long before it.
pub fn begin(db: &Connection, operation: &Operation) -> Result<(), StoreError> {
    let started = operation.started_at_ms.cast_signed();
    let old = started.saturating_sub(KEEP_MS.cast_signed());
    db.execute("DELETE FROM operations WHERE finished = 1 AND started_at_ms < ?1", [old])?;
    db.execute("DELETE FROM events WHERE operation IS NULL AND at_ms < ?1", [old])?;
    db.execute(
        "INSERT INTO operations (id, started_at_ms, finished, operation) VALUES (?1, ?2, 0, ?3)",
        params![operation.id.as_str(), started, serde_json::to_string(operation)?],
    )?;
    let begun = EventKind::Begun { what: Box::new(operation.clone()) };
    append(db, Some(&operation.id), operation.started_at_ms, &begun)
}

/// Appends an event, of an operation or of none.
pub fn append(
    db: &Connection,
    id: Option<&OperationId>,
    at_ms: u64,
    kind: &EventKind,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO events (operation, at_ms, kind) VALUES (?1, ?2, ?3)",
        params![id.map(OperationId::as_str), at_ms.cast_signed(), serde_json::to_string(kind)?],
    )?;
    Ok(())
}

/// Appends that an image is there, or is known better; not of one that is shown to nobody.
pub fn image_changed(
    db: &Connection,
    id: Option<&OperationId>,
    at_ms: u64,
    image: Image,
) -> Result<(), StoreError> {
    if image.temporary {
        return Ok(());
    }
    append(db, id, at_ms, &EventKind::ImageChanged { image: Box::new(image) })
}

/// Ends an operation: its outcome and its last event.
pub fn finish(
    db: &Connection,
    id: &OperationId,
    at_ms: u64,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let Some(operation) = get(db, id)? else { return Ok(()) };
    if operation.outcome.is_some() {
        return Ok(());
    }
    let operation = Operation { outcome: Some(outcome.clone()), ..operation };
    db.execute(
        "UPDATE operations SET finished = 1, operation = ?2 WHERE id = ?1",
        params![id.as_str(), serde_json::to_string(&operation)?],
    )?;
    append(db, Some(id), at_ms, &EventKind::Finished { outcome: outcome.clone() })
}

/// An operation by its id.
pub fn get(db: &Connection, id: &OperationId) -> Result<Option<Operation>, StoreError> {
    let query = "SELECT operation FROM operations WHERE id = ?1";
    let row: Option<String> = db.query_row(query, [id.as_str()], |row| row.get(0)).optional()?;
    Ok(row.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// The operations, newest first; only those under way if `unfinished`.
pub fn list(db: &Connection, unfinished: bool) -> Result<Vec<Operation>, StoreError> {
    let mut statement = db.prepare(
        // Not by time: the clock may have been set back.
        "SELECT operation FROM operations WHERE finished = 0 OR NOT ?1 ORDER BY rowid DESC",
    )?;
    let rows = statement.query_map([unfinished], |row| row.get::<_, String>(0))?;
    rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
}

/// The last operations on a VM, newest first.
pub fn of_vm(db: &Connection, vm: &VmId) -> Result<Vec<Operation>, StoreError> {
    let mut statement = db.prepare(
        "SELECT operation FROM operations WHERE json_extract(operation, '$.vm') = ?1
         ORDER BY rowid DESC LIMIT 20",
    )?;
    let rows = statement.query_map([vm.as_str()], |row| row.get::<_, String>(0))?;
    rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Option<String>, i64, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

/// The event after which to begin, to see the last `count` events and all of the operations that
/// are under way.
pub fn recent(db: &Connection, count: u64) -> Result<u64, StoreError> {
    let query = "SELECT min(
        coalesce((SELECT seq FROM events ORDER BY seq DESC LIMIT 1 OFFSET ?1), 0),
        coalesce((SELECT min(e.seq) - 1 FROM events e JOIN operations o ON o.id = e.operation
                  WHERE o.finished = 0), 9223372036854775807))";
    let seq: i64 = db.query_row(query, [count.cast_signed()], |row| row.get(0))?;
    Ok(seq.cast_unsigned())
}

/// At most `limit` events after `seq` and up to `last`, of one operation or of all.
pub fn events_after(
    db: &Connection,
    operation: Option<&OperationId>,
    seq: u64,
    last: u64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let mut statement = db.prepare(
        "SELECT seq, operation, at_ms, kind FROM events
         WHERE seq > ?1 AND seq <= ?2 AND (?3 IS NULL OR operation = ?3) ORDER BY seq LIMIT ?4",
    )?;
    let of = operation.map(OperationId::as_str);
    let rows =
        statement.query_map(params![seq.cast_signed(), last.cast_signed(), of, limit], read)?;
    rows.map(|row| {
        let (seq, operation, at_ms, kind) = row?;
        let operation = operation.map(|id| serde_json::from_value(id.into())).transpose()?;
        let kind = serde_json::from_str(&kind)?;
        Ok(Event { seq: seq.cast_unsigned(), operation, at_ms: at_ms.cast_unsigned(), kind })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use banger_core::operation::OperationKind;

    #[tokio::test]
    async fn a_clock_that_is_set_back_turns_no_order_round_and_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).unwrap();
        let begun = |bits, started_at_ms| Operation {
            id: OperationId::from_bits(bits),
            kind: OperationKind::VmStart,
            target: "dev".to_owned(),
            vm: None,
            started_at_ms,
            outcome: None,
        };
        // Then it is 1970, and ten days later.
        let days = 24 * 3600 * 1000;
        let all = [begun(1, 20_000 * days), begun(2, 0), begun(3, 10 * days)];
        for operation in all.clone() {
            let work = move |db: &rusqlite::Transaction<'_>| {
                begin(db, &operation)?;
                append(
                    db,
                    Some(&operation.id),
                    operation.started_at_ms,
                    &EventKind::Log { line: String::new() },
                )?;
                finish(db, &operation.id, 0, &Outcome::Cancelled)
            };
            store.run(work).await.unwrap();
        }
        let list = store.run(|db| list(db, false)).await.unwrap();
        // The second began long before the third, by the clock.
        let ids: Vec<_> = list.iter().map(|operation| &operation.id).collect();
        assert_eq!(ids, [&all[2].id, &all[0].id]);
        let events = store.run(|db| events_after(db, None, 0, 99, 9)).await.unwrap();
        assert!(events.iter().map(|event| event.seq).is_sorted());
        let of: Vec<_> = events.iter().filter_map(|event| event.operation.as_ref()).collect();
        assert_eq!(of, [[&all[0].id; 3], [&all[2].id; 3]].concat());
    }
}
