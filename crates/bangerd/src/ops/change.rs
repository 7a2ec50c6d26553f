//! Changing what a VM is made of.

use banger_core::api::{ApiError, ChangeVm, ErrorKind};
use banger_core::resource::ResourceSpec;
use banger_core::size::Size;
use banger_core::vm::{Vm, VmState, check_overlay, check_size};
use banger_exec::Cancel;

use crate::engine::resources::blocking;
use crate::engine::store_error;
use crate::engine::vm::VmCtx;
use crate::error::{OpError, chain};
use crate::store::journal::{self, Entry};
use crate::store::{StoreError, vms};

impl VmCtx {
    /// Changes the VM. Nothing else must be under way.
    pub(crate) async fn change_to(&self, change: &ChangeVm) -> Result<Vm, ApiError> {
        let before = self.vm();
        let after = changed(&before, change)?;
        // Looked at first: what fails must have changed nothing.
        if after.name != before.name {
            let rows = self.engine.store.read(|db| vms::list(db)).await.map_err(store_error)?;
            if rows.iter().any(|row| row.vm.name == after.name) {
                return Err(store_error(StoreError::NameTaken(after.name.to_string())));
            }
        }
        if let Some(limit) = change.overlay {
            let used = self.overlay_use().await.map_err(|error| internal(chain(&error)))?;
            if limit <= used {
                let message = format!("the root overlay of '{}' takes {used} already", before.name);
                return Err(
                    ApiError::new(ErrorKind::Conflict, message).remedy("give it more than that")
                );
            }
        }
        let done = async {
            if after.spec.disk != before.spec.disk {
                self.grow_disk(after.spec.disk).await?;
            }
            self.change(None, |vm| {
                *vm = after;
                Ok(())
            })
            .await?;
            match (&before.state, change.overlay) {
                (VmState::Paused(_), Some(_)) => self.resume_or_tell().await,
                _ => Ok(()),
            }
        };
        match done.await {
            Ok(()) => Ok(self.vm()),
            Err(OpError::Store(error)) => Err(store_error(error)),
            Err(error) => {
                let failure = error.failure(Vec::new(), String::new());
                let message =
                    format!("'{}' could not be changed: {}", before.name, failure.message);
                Err(ApiError { kind: ErrorKind::Internal, message, remedy: failure.remedy })
            }
        }
    }

    /// Ends a growth of the work disk that no daemon saw the end of.
    pub(crate) async fn settle_disk(&self) -> Result<(), OpError> {
        let Some((entry, size)) = self.disk_row().await? else { return Ok(()) };
        if entry.observed.is_none() {
            self.bring_disk_to(entry.id, entry.spec).await?;
        }
        if self.vm().spec.disk == size {
            return Ok(());
        }
        self.change(None, |vm| {
            vm.spec.disk = size;
            Ok(())
        })
        .await
    }

    /// The work disk's row first, as of one that is to be acquired; so that a
    /// daemon that ends in the middle leaves to the next one what to do.
    async fn grow_disk(&self, size: Size) -> Result<(), OpError> {
        let Some((entry, _)) = self.disk_row().await? else {
            return Err(OpError::Internal("the VM has no work disk".to_owned()));
        };
        let mut spec = entry.spec.clone();
        if let ResourceSpec::WorkDisk { size: of_spec, .. } = &mut spec {
            *of_spec = size;
        }
        let (id, row) = (entry.id, spec.clone());
        self.engine.store.run(move |db| journal::respecify(db, id, &row, None)).await?;
        let grown = self.bring_disk_to(id, spec).await;
        if grown.is_err() {
            let back = move |db: &rusqlite::Transaction<'_>| {
                journal::respecify(db, id, &entry.spec, entry.observed.as_ref())
            };
            self.engine.store.run(back).await?;
        }
        grown
    }

    async fn bring_disk_to(&self, row: i64, spec: ResourceSpec) -> Result<(), OpError> {
        self.check_disks()?;
        let host = self.engine.host.clone();
        let observed = blocking(move || Ok(host.ensure(&spec, &Cancel::default())?)).await?;
        Ok(self.engine.store.run(move |db| journal::acquired(db, row, &observed)).await?)
    }

    async fn disk_row(&self) -> Result<Option<(Entry, Size)>, StoreError> {
        let owner = self.vm().id.to_string();
        let held = self.engine.store.read(move |db| journal::held(db, &owner, false)).await?;
        Ok(held.into_iter().find_map(|entry| match entry.spec {
            ResourceSpec::WorkDisk { size, .. } => Some((entry, size)),
            _ => None,
        }))
    }
}

fn invalid(reason: String) -> ApiError {
    ApiError::new(ErrorKind::Invalid, reason)
}

fn internal(reason: String) -> ApiError {
    ApiError::new(ErrorKind::Internal, reason)
}

/// The VM as it would be.
fn changed(vm: &Vm, change: &ChangeVm) -> Result<Vm, ApiError> {
    let ChangeVm { name, vcpus, memory, disk, overlay } = change;
    let conflict = |message: String| ApiError::new(ErrorKind::Conflict, message);
    let of_spec = vcpus.is_some() || memory.is_some() || disk.is_some();
    if !of_spec && name.is_none() && overlay.is_none() {
        let message = "nothing is to be changed: give a name, vcpus, memory, disk or overlay";
        return Err(ApiError::new(ErrorKind::Invalid, message));
    }
    let mut after = vm.clone();
    after.name = name.clone().unwrap_or(after.name);
    if let Some(limit) = overlay {
        check_overlay(*limit, vm.spec.root_disk).map_err(invalid)?;
        after.spec.overlay = Some(*limit);
    }
    if !of_spec {
        return Ok(after);
    }
    match &vm.state {
        VmState::Stopped(_) => {}
        state if state.is_active() => {
            let message = format!("cannot change '{}' while it is {}", vm.name, state.name());
            return Err(conflict(message).remedy(format!("banger vm stop {}", vm.name)));
        }
        state => {
            return Err(conflict(format!("cannot change '{}': it is {}", vm.name, state.name())));
        }
    }
    let spec = &mut after.spec;
    spec.vcpus = vcpus.unwrap_or(spec.vcpus);
    spec.memory = memory.unwrap_or(spec.memory);
    spec.disk = disk.unwrap_or(spec.disk);
    check_size(spec.vcpus, spec.memory, spec.disk).map_err(invalid)?;
    if spec.disk < vm.spec.disk {
        let message = format!(
            "the work disk of '{}' cannot shrink from {} to {}",
            vm.name, vm.spec.disk, spec.disk
        );
        let remedy = format!(
            "make another VM with 'banger vm create --disk {}', and copy what is to be kept",
            spec.disk.to_string().replace(' ', "")
        );
        return Err(conflict(message).remedy(remedy));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::vm::{Network, StopCause};

    fn vm(state: VmState) -> Vm {
        Vm { state, complete: true, ..crate::vmm::qemu::tests::vm(Network::User) }
    }

    fn why(state: VmState, change: ChangeVm) -> String {
        let error = changed(&vm(state), &change).unwrap_err();
        let remedy = error.remedy.unwrap_or_default();
        format!("{}: {}\n{remedy}", serde_json::to_string(&error.kind).unwrap(), error.message)
    }

    #[test]
    fn a_name_can_be_changed_at_any_time() {
        for state in [VmState::Running, VmState::Stopped(StopCause::New)] {
            let name = Some("new".parse().unwrap());
            let after = changed(&vm(state.clone()), &ChangeVm { name, ..ChangeVm::default() });
            let expected = Vm { name: "new".parse().unwrap(), ..vm(state) };
            assert_eq!(after.unwrap(), expected);
        }
    }

    #[test]
    fn the_rest_only_while_it_is_stopped() {
        let change = ChangeVm { vcpus: Some(4), disk: Some(Size::gib(9)), ..ChangeVm::default() };
        let after = changed(&vm(VmState::Stopped(StopCause::New)), &change).unwrap();
        assert_eq!((after.spec.vcpus, after.spec.disk), (4, Size::gib(9)));
        assert_eq!(after.spec.memory, Size::gib(1));
        insta::assert_snapshot!(why(VmState::Running, change), @r#"
        "conflict": cannot change 'dev' while it is running
        banger vm stop dev
        "#);
    }

    #[test]
    fn what_cannot_be_says_why() {
        let stopped = || VmState::Stopped(StopCause::New);
        let disk = |size| ChangeVm { disk: Some(size), ..ChangeVm::default() };
        insta::assert_snapshot!(why(stopped(), disk(Size::gib(4))), @r#"
        "conflict": the work disk of 'dev' cannot shrink from 8 GiB to 4 GiB
        make another VM with 'banger vm create --disk 4GiB', and copy what is to be kept
        "#);
        let vcpus = ChangeVm { vcpus: Some(99), ..ChangeVm::default() };
        insta::assert_snapshot!(why(stopped(), vcpus), @r#""invalid": 99 vcpus is not possible: choose 1 to 32"#);
        insta::assert_snapshot!(why(stopped(), ChangeVm::default()), @r#""invalid": nothing is to be changed: give a name, vcpus, memory, disk or overlay"#);
        let failed = VmState::Failed { cause: String::new(), removing: true };
        insta::assert_snapshot!(why(failed, disk(Size::gib(9))), @r#""conflict": cannot change 'dev': it is failed"#);
    }
}
