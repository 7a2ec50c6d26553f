//! What there is to see of a VM: its guest's ports, what it uses.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_core::agent::Port;
use banger_core::api::{ApiError, DiskUse, ErrorKind, ImageInfo, Package, Stats};
use banger_core::dirs::vm_files;
use banger_core::id::VmId;
use banger_core::image::{Image, files};
use banger_core::resource::{ProcessId, ResourceSpec};
use banger_core::vm::Vm;
use banger_host::{Usage, allocated, usage};
use banger_image::{manifest, parts};
use banger_wire::agent::AgentClient;

use crate::clock::now;
use crate::engine::resources::blocking;
use crate::engine::{Engine, store_error};
use crate::error::{OpError, chain};
use crate::store::{images, journal};

/// How long the agent may take.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

impl Engine {
    /// What listens in the guest.
    ///
    /// # Errors
    /// The VM does not run, or its agent does not answer.
    pub async fn ports(&self, vm: &Vm) -> Result<Vec<Port>, ApiError> {
        let Some(run) = &vm.run else {
            let message = format!("'{}' is {}", vm.name, vm.state.name());
            return Err(ApiError::new(ErrorKind::Conflict, message)
                .remedy(format!("banger vm start {}", vm.name)));
        };
        let ports = AgentClient::new(Path::new(&run.vsock), AGENT_LIMIT).ports().await;
        ports.map_err(|error| {
            let message = format!("the ports of '{}' cannot be told: {}", vm.name, chain(&error));
            ApiError::new(ErrorKind::Internal, message)
                .remedy(format!("see 'banger vm logs {}'", vm.name))
        })
    }

    /// What the VM uses; its share of CPUs if it is watched for a `sample`.
    ///
    /// # Errors
    /// The database's or the file system's.
    pub async fn stats(&self, vm: &Vm, sample: Option<Duration>) -> Result<Stats, ApiError> {
        let process = self.vmm(&vm.id).await?;
        let look = || process.as_ref().and_then(usage);
        let (mut used, mut cpu_percent) = (look(), None);
        if let (Some(before), Some(sample)) = (used, sample) {
            let started = Instant::now();
            tokio::time::sleep(sample).await;
            used = look();
            cpu_percent = used.map(|after| percent(before, after, started.elapsed()));
        }
        let dir = self.dirs.vm(vm.id.as_str());
        let disk = blocking(move || {
            Ok(DiskUse {
                overlay_bytes: allocated(&vm_files::overlay(&dir))?,
                work_bytes: allocated(&vm_files::work_disk(&dir))?,
            })
        });
        let internal = |error| ApiError::new(ErrorKind::Internal, chain(&error));
        let started_at = vm.run.as_ref().map(|run| run.started_at);
        Ok(Stats {
            cpu_ms: used.map(|used| used.cpu_ms),
            cpu_percent,
            rss_bytes: used.map(|used| used.rss_bytes),
            uptime_s: started_at.filter(|_| used.is_some()).map(|at| now().saturating_sub(at)),
            disk: disk.await.map_err(internal)?,
            traffic: self.traffic(vm).await,
        })
    }

    /// What an image takes, who uses it, and whether it is whole: as far as lengths tell, or
    /// read through if `verify`.
    ///
    /// # Errors
    /// The database's or the file system's.
    pub async fn image_info(&self, image: Image, verify: bool) -> Result<ImageInfo, ApiError> {
        let (dir, looked_at) = (self.dirs.image(image.id.as_str()), image.clone());
        let measured = blocking(move || {
            let look = if verify { parts::verify } else { parts::check };
            // One that was only touched is looked at when it is used.
            let damage = look(&dir, &looked_at).err().filter(|damage| !damage.is_touch());
            let damage = damage.map(|damage| damage.to_string());
            let mut sizes = (0, 0);
            // A folder that is not there is damage, and said to be; so is a file.
            for entry in fs::read_dir(&dir).into_iter().flatten() {
                let path = entry.map_err(OpError::file("read an image's folder"))?.path();
                if let Ok(metadata) = fs::metadata(&path) {
                    sizes = (sizes.0 + metadata.len(), sizes.1 + allocated(&path)?);
                }
            }
            Ok((sizes, damage))
        });
        let internal = |error| ApiError::new(ErrorKind::Internal, chain(&error));
        let ((apparent_bytes, real_bytes), damage) = measured.await.map_err(internal)?;
        let id = image.id.clone();
        let used_by =
            self.store.read(move |db| images::users(db, &id)).await.map_err(store_error)?;
        Ok(ImageInfo { image, apparent_bytes, real_bytes, used_by, damage })
    }

    /// The packages in an image's root.
    ///
    /// # Errors
    /// It has no list of them.
    pub async fn image_packages(&self, image: &Image) -> Result<Vec<Package>, ApiError> {
        let list = self.dirs.image(image.id.as_str()).join(files::MANIFEST);
        let read = blocking(move || match fs::read_to_string(&list) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(OpError::file("read an image's list of packages")),
        });
        let internal = |error| ApiError::new(ErrorKind::Internal, chain(&error));
        read.await.map_err(internal)?.map(|list| manifest::packages(&list)).ok_or_else(|| {
            let message = format!("the image '{}' has no list of packages", image.name);
            ApiError::new(ErrorKind::NotFound, message)
        })
    }

    /// The VM's VMM, as the journal has it.
    async fn vmm(&self, vm: &VmId) -> Result<Option<ProcessId>, ApiError> {
        let owner = vm.to_string();
        let held = self.store.read(move |db| journal::held(db, &owner, true)).await;
        Ok(held.map_err(store_error)?.into_iter().find_map(|entry| match entry.spec {
            ResourceSpec::Process { role, .. } if role.is_vmm() => entry.observed?.process,
            _ => None,
        }))
    }
}

/// The share of CPUs between two looks, 100 for each, to a tenth.
pub(super) fn percent(before: Usage, after: Usage, elapsed: Duration) -> f64 {
    let used = after.cpu_ms.saturating_sub(before.cpu_ms) as f64 / 1000.0;
    let share = used / elapsed.as_secs_f64().max(f64::EPSILON);
    (share * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cpu_is_100_percent() {
        let at = |cpu_ms| Usage { cpu_ms, rss_bytes: 0 };
        let half = Duration::from_millis(500);
        assert_eq!(percent(at(1_000), at(1_500), half), 100.0);
        assert_eq!(percent(at(0), at(617), half), 123.4);
        assert_eq!(percent(at(9), at(0), half), 0.0);
        assert!(percent(at(0), at(10), Duration::ZERO).is_finite());
    }
}
