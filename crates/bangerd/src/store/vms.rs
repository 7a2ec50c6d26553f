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

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::net::Lease;

    #[test]
    fn an_address_is_one_vms() {
        let db = Connection::open_in_memory().unwrap();
        for migration in crate::store::schema::MIGRATIONS {
            db.execute_batch(migration).unwrap();
        }
        db.pragma_update(None, "foreign_keys", false).unwrap();
        let vm = |bits, name: &str, last: u8| {
            let mut vm = crate::vmm::qemu::tests::vm(banger_core::vm::Network::Nat);
            (vm.id, vm.name) = (VmId::from_bits(bits), name.parse().unwrap());
            vm.lease = Some(Lease::of([172, 28, 0, last].into()));
            VmRow { vm, opencode_password: None }
        };
        insert(&db, &vm(1, "a", 2)).unwrap();
        insert(&db, &vm(2, "b", 3)).unwrap();
        let refused = [vm(3, "a", 4), vm(3, "c", 2)].map(|row| insert(&db, &row).unwrap_err());
        let told = refused.map(|error| crate::error::chain(&error)).join("\n");
        insta::assert_snapshot!(told, @"
        the name 'a' is taken
        the database failed: UNIQUE constraint failed: index 'tap_of_vm': Error code 2067: constraint failed
        ");
    }
}
