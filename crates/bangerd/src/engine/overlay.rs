//! Disks that fill: a VM is paused while what it writes still has a place, or when its VMM has
//! found that it has none.

use std::io;
use std::time::Duration;

use banger_core::dirs::vm_files;
use banger_core::operation::EventKind;
use banger_core::size::Size;
use banger_core::vm::{PauseCause, RootDisk, Transition, Vm, VmState, Vmm};
use banger_host::{allocated, free_space};
use rustix::io::Errno;

use crate::clock::now_ms;
use crate::engine::oplog::OpLog;
use crate::engine::resources::blocking;
use crate::engine::vm::{VmCtx, apply};
use crate::error::{OpError, chain};
use crate::store::operations;
use crate::vmm::firecracker::Firecracker;
use crate::vmm::qmp::Qmp;

/// How often an overlay is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a VMM is asked whether it has stopped its machine.
const ASK: Duration = Duration::from_secs(3);
/// How much of what it may take an overlay takes when that is told, in percent.
const WARN: u64 = 80;
/// What must be free on the host's disk: more than guests write between two looks.
const RESERVE: Size = Size::mib(512);

/// What was seen of an overlay.
struct Seen {
    used: Size,
    /// Why the VM must not go on, if so.
    obstacle: Option<PauseCause>,
}

impl VmCtx {
    /// Returns when it is time to look at the disks; never, if that is of no use.
    pub(crate) async fn look_again(&self) {
        let vm = self.vm();
        let state =
            matches!(vm.state, VmState::Running | VmState::Paused(PauseCause::DiskFull { .. }));
        let pause = match vm.spec.vmm {
            _ if self.fills() => PAUSE,
            Vmm::Qemu => ASK,
            Vmm::Firecracker => return std::future::pending().await,
        };
        if state && self.process().is_some() {
            tokio::time::sleep(pause).await;
        } else {
            std::future::pending().await
        }
    }

    /// Whether QEMU has stopped the machine because the host's disk is full: it does, rather than
    /// fail what the guest writes, and never goes on by itself (QEMU's manual, `-drive`, `werror`).
    /// Asked now and then only; one that does not answer at once has not.
    async fn stopped_itself(&self, vm: &Vm) -> bool {
        if vm.spec.vmm != Vmm::Qemu || !self.is_due(ASK) {
            return false;
        }
        let socket = self.sockets().qmp;
        let status = async { Qmp::connect(&socket).await?.execute("query-status").await };
        let status = tokio::time::timeout(PAUSE, status).await;
        status.is_ok_and(|status| status.is_ok_and(|status| status["status"] == "io-error"))
    }

    /// Waits for something in a guest; fails when it cannot come, since the host's disk is full.
    ///
    /// # Errors
    /// As what is waited for; or that.
    pub(crate) async fn unless_full<T>(
        &self,
        attempt: impl Future<Output = Result<T, OpError>>,
    ) -> Result<T, OpError> {
        let full = async {
            loop {
                tokio::time::sleep(ASK).await;
                if self.stopped_itself(&self.vm()).await {
                    let full = io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
                    return OpError::file("write to the disks of its VM")(full);
                }
            }
        };
        tokio::select! {
            tried = attempt => tried,
            error = full => Err(error),
        }
    }

    /// Pauses the VM if it must not go on, or lets it go on if the host's disk has room again.
    pub(crate) async fn watch_overlay(&self) {
        if let Err(error) = self.try_watch_overlay().await {
            tracing::error!(vm = %self.vm().id, error = chain(&error), "its overlay is not watched");
        }
    }

    async fn try_watch_overlay(&self) -> Result<(), OpError> {
        let vm = self.vm();
        let Seen { used, obstacle } = self.see(&vm).await?;
        match (&vm.state, obstacle) {
            (VmState::Running, Some(cause)) => {
                tracing::warn!(vm = %vm.id, %cause, "paused");
                // The VMM first: a daemon that ends in between finds a VM that runs, and comes here.
                self.hold(true);
                self.stand_still(true).await?;
                self.transition(None, Transition::Pause(cause)).await?;
                self.hold(false);
                Ok(())
            }
            (VmState::Running, None) if self.is_held() => {
                self.stand_still(false).await?;
                self.hold(false);
                Ok(())
            }
            (VmState::Running, None) => self.warn(&vm, used).await,
            (VmState::Paused(_), None) => self.go_on(None).await,
            _ => Ok(()),
        }
    }

    /// Lets a paused VM go on, if there is room.
    ///
    /// # Errors
    /// There is none, or the VMM does not answer.
    pub(crate) async fn resume(&self, log: Option<&OpLog>) -> Result<(), OpError> {
        match self.see(&self.vm()).await?.obstacle {
            Some(cause) => Err(OpError::Paused { name: self.vm().name, cause }),
            None => self.go_on(log).await,
        }
    }

    /// A VM that a daemon finds: its VMM may not be as its state says.
    pub(crate) async fn settle_pause(&self) -> Result<(), OpError> {
        if matches!(self.vm().state, VmState::Running) {
            // Looked at soon: paused then, or let go on.
            self.hold(self.fills());
            return Ok(());
        }
        match self.resume(None).await {
            Err(OpError::Paused { .. }) => self.stand_still(true).await,
            done => done,
        }
    }

    /// Lets a VM that is paused for its limit go on, which has been raised; or tells why not.
    pub(crate) async fn resume_or_tell(&self) -> Result<(), OpError> {
        match self.resume(None).await {
            Err(OpError::Paused { cause, .. }) => {
                self.transition(None, Transition::Pause(cause)).await
            }
            done => done,
        }
    }

    /// Fails if there is no room to run in.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn check_room(&self) -> Result<(), OpError> {
        if !self.fills() {
            return Ok(());
        }
        let vm = self.vm();
        match self.see(&vm).await?.obstacle {
            Some(cause) => Err(OpError::NoRoom { name: vm.name, cause }),
            None => Ok(()),
        }
    }

    /// Whether there is anything to look at.
    pub(crate) fn fills(&self) -> bool {
        let spec = self.vm().spec;
        spec.overlay.is_some() || spec.root_disk == RootDisk::DmSnapshot
    }

    async fn go_on(&self, log: Option<&OpLog>) -> Result<(), OpError> {
        self.stand_still(false).await?;
        self.change(log, |vm| apply(vm, Transition::Resume)).await
    }

    /// What it takes, in bytes.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) async fn overlay_use(&self) -> Result<Size, OpError> {
        let overlay = vm_files::overlay(&self.dir());
        blocking(move || Ok(Size::bytes(allocated(&overlay)?))).await
    }

    async fn see(&self, vm: &Vm) -> Result<Seen, OpError> {
        let (dir, limit) = (self.dir(), vm.spec.overlay);
        // A snapshot that cannot be written to is lost; of other disks, QEMU waits to write.
        let snapshot = vm.spec.root_disk == RootDisk::DmSnapshot;
        // What is free may be about to be written: who waits for room waits for more of it.
        let waits = matches!(vm.state, VmState::Paused(PauseCause::DiskFull { .. }));
        let least = Size::bytes(RESERVE.as_bytes() * if waits { 2 } else { 1 });
        let look = move || Ok((allocated(&vm_files::overlay(&dir))?, free_space(&dir)?));
        let (used, free) = blocking(look).await?;
        let used = Size::bytes(used);
        let full = match (waits || snapshot, free < least) {
            (true, less) => less,
            (false, _) => self.stopped_itself(vm).await,
        };
        let obstacle = match limit.filter(|limit| used >= *limit) {
            Some(limit) => Some(PauseCause::OverlayFull { used, limit }),
            None => full.then_some(PauseCause::DiskFull { free }),
        };
        Ok(Seen { used, obstacle })
    }

    /// Tells, once a run, of an overlay that will be full.
    async fn warn(&self, vm: &Vm, used: Size) -> Result<(), OpError> {
        let Some(limit) = vm.spec.overlay else { return Ok(()) };
        if used.as_bytes() * 100 < limit.as_bytes() * WARN || self.was_warned() {
            return Ok(());
        }
        tracing::warn!(vm = %vm.id, %used, %limit, "its root overlay fills");
        let told = EventKind::OverlayFilling { vm: vm.id.clone(), used, limit };
        let at = now_ms();
        Ok(self.engine.store.run(move |db| operations::append(db, None, at, &told)).await?)
    }

    /// Whether the guest could write what it writes to shut down: with a snapshot that is not tried,
    /// for it may be what the snapshot is lost by.
    pub(crate) async fn can_write(&self) -> bool {
        let dir = self.dir();
        let free = blocking(move || Ok(free_space(&dir)?)).await;
        self.vm().spec.root_disk != RootDisk::DmSnapshot && free.is_ok_and(|free| free >= RESERVE)
    }

    /// Makes the VMM stand still, or go on. Fine if it does.
    pub(crate) async fn stand_still(&self, still: bool) -> Result<(), OpError> {
        let sockets = self.sockets();
        match self.vm().spec.vmm {
            Vmm::Qemu => {
                let order = if still { "stop" } else { "cont" };
                Qmp::connect(&sockets.qmp).await?.execute(order).await?;
            }
            Vmm::Firecracker => Firecracker::at(&sockets.api).stand_still(still).await?,
        }
        Ok(())
    }
}
