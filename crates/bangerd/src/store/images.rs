//! Rows of images.

use banger_core::id::ImageId;
use banger_core::image::Image;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, name_conflict};

/// Adds an image.
pub fn insert(db: &Connection, image: &Image) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO images (id, name, image) VALUES (?1, ?2, ?3)",
        params![image.id.as_str(), image.name.as_str(), serde_json::to_string(image)?],
    )
    .map_err(|error| name_conflict(error, image.name.as_str()))?;
    Ok(())
}

/// Changes what is known of an image.
pub fn update(db: &Connection, image: &Image) -> Result<(), StoreError> {
    db.execute(
        "UPDATE images SET image = ?2 WHERE id = ?1",
        params![image.id.as_str(), serde_json::to_string(image)?],
    )?;
    Ok(())
}

/// The images that `key` may mean: the one of that id, else of that name, else those whose id starts with
/// it, if it is at least 4 digits: a shorter one is more likely a slip.
pub fn find(db: &Connection, key: &str) -> Result<Vec<Image>, StoreError> {
    let whole = "SELECT image FROM images WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1";
    if let Some(row) = db.query_row(whole, [key], |row| row.get::<_, String>(0)).optional()? {
        return Ok(vec![serde_json::from_str(&row)?]);
    }
    let by_id = "SELECT image FROM images WHERE length(?1) >= 4 AND substr(id, 1, length(?1)) = ?1";
    let mut statement = db.prepare(by_id)?;
    let rows = statement.query_map([key], |row| row.get::<_, String>(0))?;
    rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
}

/// All images, by name.
pub fn list(db: &Connection) -> Result<Vec<Image>, StoreError> {
    let mut statement = db.prepare("SELECT image FROM images ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
}

/// The names of the VMs that use an image.
pub fn users(db: &Connection, id: &ImageId) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare("SELECT name FROM vms WHERE image = ?1 ORDER BY name")?;
    Ok(statement.query_map([id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Removes an image that no VM uses; the names of those that do otherwise.
pub fn delete(db: &Connection, id: &ImageId) -> Result<Vec<String>, StoreError> {
    let users = users(db, id)?;
    if users.is_empty() {
        db.execute("DELETE FROM images WHERE id = ?1", [id.as_str()])?;
    }
    Ok(users)
}
