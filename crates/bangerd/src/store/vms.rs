//! Rows of VMs.

use banger_core::id::VmId;
use banger_core::vm::Vm;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, name_conflict};

/// A VM and what is not shown with it.
#[derive(Debug, Clone)]
pub struct VmRow {
    /// The VM.
    pub vm: Vm,
    /// The password of its opencode server.
    pub opencode_password: Option<String>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<(String, Option<String>)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn parse((vm, opencode_password): (String, Option<String>)) -> Result<VmRow, StoreError> {
    Ok(VmRow { vm: serde_json::from_str(&vm)?, opencode_password })
}

/// Adds a VM.
pub fn insert(db: &Connection, row: &VmRow) -> Result<(), StoreError> {
    let VmRow { vm, opencode_password } = row;
    let (name, image) = (vm.name.as_str(), vm.spec.image.as_str());
    db.execute(
        "INSERT INTO vms (id, name, image, vm, opencode_password) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![vm.id.as_str(), name, image, serde_json::to_string(vm)?, opencode_password],
    )
    .map_err(|error| name_conflict(error, name))?;
    Ok(())
}

/// Writes a VM's new content.
pub fn update(db: &Connection, vm: &Vm) -> Result<(), StoreError> {
    db.execute(
        "UPDATE vms SET name = ?2, vm = ?3 WHERE id = ?1",
        params![vm.id.as_str(), vm.name.as_str(), serde_json::to_string(vm)?],
    )
    .map_err(|error| name_conflict(error, vm.name.as_str()))?;
    Ok(())
}

/// Removes a VM.
pub fn delete(db: &Connection, id: &VmId) -> Result<(), StoreError> {
    db.execute("DELETE FROM vms WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

/// A VM by its id.
pub fn get(db: &Connection, id: &VmId) -> Result<Option<VmRow>, StoreError> {
    let query = "SELECT vm, opencode_password FROM vms WHERE id = ?1";
    db.query_row(query, [id.as_str()], read).optional()?.map(parse).transpose()
}

/// The VMs that `key` may mean: the one of that id, else of that name, else those whose id starts with
/// it, if it is at least 4 digits: a shorter one is more likely a slip.
pub fn find(db: &Connection, key: &str) -> Result<Vec<VmRow>, StoreError> {
    let whole = "SELECT vm, opencode_password FROM vms WHERE id = ?1 OR name = ?1
                 ORDER BY id = ?1 DESC LIMIT 1";
    if let Some(row) = db.query_row(whole, [key], read).optional()? {
        return Ok(vec![parse(row)?]);
    }
    let by_id = "SELECT vm, opencode_password FROM vms WHERE length(?1) >= 4 AND substr(id, 1, length(?1)) = ?1";
    let mut statement = db.prepare(by_id)?;
    let rows = statement.query_map([key], read)?;
    rows.map(|row| parse(row?)).collect()
}

/// All VMs, by name.
pub fn list(db: &Connection) -> Result<Vec<VmRow>, StoreError> {
    let mut statement = db.prepare("SELECT vm, opencode_password FROM vms ORDER BY name")?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| parse(row?)).collect()
}
