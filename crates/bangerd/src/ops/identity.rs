//! How a guest learns who it is: by a segment behind banger's own initramfs, or, where the initramfs
//! is another's, by files in its root.

use std::path::{Path, PathBuf};

use banger_core::dirs::vm_files;
use banger_core::guest::{BootConfig, GuestFile, Identity, files as guest_files, services};
use banger_core::image::{Image, files};
use banger_core::vm::Vm;
use banger_image::ext4::{Change, Disk, recover};

use crate::engine::Engine;
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::VmCtx;
use crate::error::OpError;
use crate::ops::keys;
use crate::store::vms;
use crate::vmm::Boot;
use crate::vmm::qemu::APIC_TIMER_HZ;

/// The work disk, as the guest sees it.
const WORK: &str = "/dev/vdb";

impl VmCtx {
    /// Puts the VM's segment behind the image's initramfs, if that is banger's.
    pub(super) async fn write_segment(&self, boot: Boot) -> Result<(), OpError> {
        if !boot.ours {
            return Ok(());
        }
        let guest = self.guest(None).await?;
        blocking(move || {
            let config = BootConfig {
                // What is put into `/root` of an image to be is to be in the image.
                work: (!guest.vm.temporary).then(|| WORK.to_owned()),
                provision: guest.image.temporary,
                timer_hz: (!boot.kvm).then_some(APIC_TIMER_HZ),
                ..BootConfig::default()
            };
            let segment = banger_image::initramfs::segment(&config, &guest.files(&boot)?)?;
            write_initramfs(&guest.image_dir.join(files::INITRAMFS), &segment, &boot.initramfs)
        })
        .await
    }

    /// Writes what a segment would have into the root, if the initramfs is not banger's. The root
    /// may be one that was not unmounted.
    pub(super) async fn patch_root(&self, log: &OpLog, boot: Boot) -> Result<(), OpError> {
        if boot.ours {
            return Ok(());
        }
        let work = (!self.vm().temporary).then_some(WORK);
        let (guest, cancel) = (self.guest(work).await?, log.cancel().clone());
        blocking(move || {
            let changes = guest.files(&boot)?.into_iter().map(|file| Change::Write {
                path: Path::new("/").join(file.path),
                content: file.content,
                mode: file.mode,
                owner: (0, 0),
            });
            let runner = guest.engine.runner.as_ref();
            let patch = || {
                recover(runner, &boot.root, &cancel)?;
                Disk::open(runner, &boot.root, &cancel)?.apply(&changes.collect::<Vec<_>>())
            };
            Ok(patch()?)
        })
        .await
    }

    async fn guest(&self, work: Option<&'static str>) -> Result<Guest, OpError> {
        let (vm, engine) = (self.vm(), self.engine.clone());
        let image = self.image(&vm).await?;
        let id = vm.id.clone();
        let row = engine.store.read(move |db| vms::get(db, &id)).await?;
        let password = row.and_then(|row| row.opencode_password).filter(|_| vm.spec.opencode);
        let image_dir = engine.dirs.image(image.id.as_str());
        Ok(Guest { engine, image, image_dir, vm, dir: self.dir(), password, work })
    }
}

/// What a guest's files are made of.
struct Guest {
    engine: Engine,
    image: Image,
    image_dir: PathBuf,
    vm: Vm,
    dir: PathBuf,
    password: Option<String>,
    /// The work disk, where the guest's own bootstrap must mount it.
    work: Option<&'static str>,
}

impl Guest {
    fn files(&self, boot: &Boot) -> Result<Vec<GuestFile>, OpError> {
        let engine = &self.engine;
        let (_, public) = keys::client_key(engine.runner.as_ref(), &engine.dirs, &engine.config)?;
        let key = vm_files::host_key(&self.dir);
        let host_key = read(&key)?;
        let host_key_pub = read(&key.with_added_extension("pub"))?;
        let mut files = guest_files(&Identity {
            id: &self.vm.id,
            name: &self.vm.name,
            network: boot.network.as_ref(),
            work: self.work,
            host_key: &host_key,
            host_key_pub: &host_key_pub,
            authorized_keys: &public,
            opencode_password: self.password.as_deref(),
        });
        if !self.image.companion {
            let agent = std::fs::read(&engine.agent)
                .map_err(OpError::file(format!("read {}", engine.agent.display())))?;
            files.extend(services::companion(self.image.init, agent));
        }
        Ok(files)
    }
}

fn read(path: &Path) -> Result<String, OpError> {
    std::fs::read_to_string(path).map_err(OpError::file(format!("read {}", path.display())))
}

/// Writes the image's initramfs and the segment, which holds secrets.
fn write_initramfs(base: &Path, segment: &[u8], to: &Path) -> Result<(), OpError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || {
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
        std::io::copy(&mut std::fs::File::open(base)?, &mut file)?;
        file.write_all(segment)
    };
    write().map_err(OpError::file(format!("write {}", to.display())))
}
