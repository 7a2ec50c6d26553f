//! Promoting an image: files that lay elsewhere become banger's own.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_core::api::ApiError;
use banger_core::id::OperationId;
use banger_core::image::{Image, files};
use banger_core::operation::{Object, OperationKind, Outcome};
use banger_core::resource::ResourceSpec;
use banger_host::clone_file;
use banger_image::parts;

use crate::clock::now_ms;
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::{Engine, store_error};
use crate::error::{OpError, chain};
use crate::store::journal::Scope;
use crate::store::{images, operations};

impl Engine {
    /// Begins to copy the files of a registered image into the store. Fine if they are there.
    ///
    /// # Errors
    /// The database's.
    pub async fn promote_image(&self, image: Image) -> Result<OperationId, ApiError> {
        let begun = self.begin(OperationKind::ImagePromote, image.name.as_str(), None).await;
        let log = begun.map_err(store_error)?;
        let (id, engine) = (log.id().clone(), self.clone());
        tokio::spawn(async move {
            let promoted = engine.promote(&log, image).await;
            let released = engine.release(log.id().as_str(), false).await;
            let rollback = released.unwrap_or_else(|error| vec![chain(&error)]);
            log.finish(match promoted {
                Ok(image) => Outcome::Succeeded { object: Some(Box::new(Object::Image(image))) },
                Err(error) if error.is_cancelled() && rollback.is_empty() => Outcome::Cancelled,
                Err(error) => Outcome::Failed { failure: error.failure(rollback, String::new()) },
            })
            .await;
            engine.ended(log.id());
        });
        Ok(id)
    }

    async fn promote(&self, log: &OpLog, image: Image) -> Result<Image, OpError> {
        if image.in_place.is_none() {
            return Ok(image);
        }
        // On the file system of the store, and gone after an end in the middle.
        let scratch = self.dirs.scratch(log.id().short());
        let spec = ResourceSpec::Dir { path: scratch.clone() };
        self.acquire(log.id().as_str(), Scope::Life, spec, log.cancel()).await?;
        let (dir, cancel) = (self.dirs.image(image.id.as_str()), log.clone());
        let copy = blocking(move || {
            let damaged = |damage| OpError::Damaged { image: image.name.to_string(), damage };
            let links = [files::KERNEL, files::INITRAMFS, files::ROOTFS].map(|name| dir.join(name));
            let links: Vec<_> = links.iter().filter(|path| path.is_symlink()).collect();
            let name = |link: &Path| link.file_name().unwrap_or_default().to_owned();
            for link in &links {
                cancel.check()?;
                clone_file(link, &scratch.join(name(link)))?;
            }
            // Held against what was registered before anything is replaced. From then on each
            // file is the one or the other, and both are the same: it may end anywhere.
            parts::verify_copies(&scratch, &image).map_err(damaged)?;
            for link in links {
                settle(&scratch.join(name(link)), link)
                    .map_err(OpError::file(format!("create {}", link.display())))?;
            }
            let parts = parts::renew(&dir, &image).map_err(damaged)?;
            let image = Image { parts, in_place: None, ..image };
            describe(&dir, &scratch, &image)?;
            Ok(image)
        });
        let image = log.stage("copy", copy).await?;
        let (row, operation) = (image.clone(), log.id().clone());
        let known = self.store.run(move |db| {
            images::update(db, &row)?;
            operations::image_changed(db, Some(&operation), now_ms(), row)
        });
        known.await?;
        Ok(image)
    }
}

/// Writes an image's description anew.
fn describe(dir: &Path, scratch: &Path, image: &Image) -> Result<(), OpError> {
    let (part, place) = (scratch.join(files::DESCRIPTION), dir.join(files::DESCRIPTION));
    let write = || {
        fs::write(&part, serde_json::to_vec_pretty(image)?)?;
        settle(&part, &place)
    };
    write().map_err(OpError::file(format!("write {}", place.display())))
}

/// Moves a finished file to its place, for good.
fn settle(part: &Path, place: &Path) -> io::Result<()> {
    fs::set_permissions(part, Permissions::from_mode(0o444))?;
    File::open(part)?.sync_all()?;
    fs::rename(part, place)?;
    place.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
