//! `banger vm rename`, `vm set` and `vm resize-overlay`.

use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::ChangeVm;
use banger_core::vm::Vm;
use banger_wire::Method;

use crate::cli::{Rename, ResizeOverlay, Set};
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// How long a work disk may take to be checked and to grow.
pub const LIMIT: Duration = Duration::from_secs(15 * 60);

pub async fn rename(args: Rename) -> Result<ExitCode, CommandError> {
    let change = ChangeVm { name: Some(args.new), ..ChangeVm::default() };
    let vm = change_vm(&args.vm, &change).await?;
    if args.format.json {
        output::json(&vm);
        return Ok(OK);
    }
    output::line(&format!("the VM is '{}' now", vm.name));
    if vm.run.is_some() {
        output::note("its guest takes the name at its next start");
    }
    Ok(OK)
}

pub async fn set(args: Set) -> Result<ExitCode, CommandError> {
    let (vcpus, memory, disk) = (args.vcpus, args.memory, args.disk);
    let change = ChangeVm { vcpus, memory, disk, ..ChangeVm::default() };
    let vm = change_vm(&args.vm, &change).await?;
    if args.format.json {
        output::json(&vm);
        return Ok(OK);
    }
    let spec = &vm.spec;
    output::line(&format!(
        "{} has {} vcpus, {} of memory and a work disk of {}",
        vm.name, spec.vcpus, spec.memory, spec.disk
    ));
    Ok(OK)
}

pub async fn resize_overlay(args: ResizeOverlay) -> Result<ExitCode, CommandError> {
    let change = ChangeVm { overlay: Some(args.size), ..ChangeVm::default() };
    let vm = change_vm(&args.vm, &change).await?;
    if args.format.json {
        output::json(&vm);
        return Ok(OK);
    }
    let state = vm.state.name();
    output::line(&format!("the root overlay of {} may take {}; it is {state}", vm.name, args.size));
    Ok(OK)
}

async fn change_vm(key: &str, change: &ChangeVm) -> Result<Vm, CommandError> {
    let client = daemon::connect().await?.within(LIMIT);
    Ok(client.send(Method::PATCH, &format!("/v1/vms/{key}"), Some(change)).await?.json()?)
}
