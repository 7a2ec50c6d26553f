//! `banger vm`.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use banger_core::api::{CreateVm, Secrets, StartVm};
use banger_core::net::Lease;
use banger_core::operation::Object;
use banger_core::size::Size;
use banger_core::vm::{Limits, Network, RootDisk, StopCause, Vm, VmState, Vmm, WaitFor};
use banger_wire::{Client, Method};

use crate::cli::{self, Create, Delete, Show, Start};
use crate::cmd::{change, forward, inspect, ssh, ssh_config, stats};
use crate::error::CommandError;
use crate::follow::{self, Done, OK};
use crate::{daemon, output};

pub async fn run(command: cli::Vm) -> Result<ExitCode, CommandError> {
    match command {
        cli::Vm::Create(args) => create(args).await,
        cli::Vm::Start(args) => start("start", args).await,
        cli::Vm::Restart(args) => start("restart", args).await,
        cli::Vm::Stop(args) => each(&args.vms, "stop", args.format.json).await,
        cli::Vm::Kill(args) => each(&args.vms, "kill", args.format.json).await,
        cli::Vm::Delete(args) => delete(args).await,
        cli::Vm::List(format) => list(format.json).await,
        cli::Vm::Show(args) => show(args).await,
        cli::Vm::Ssh(args) => ssh::enter(&args.vm, &args.command, true).await,
        cli::Vm::Exec(args) => ssh::enter(&args.vm, &args.command, false).await,
        cli::Vm::Forward(args) => forward::run(args).await,
        cli::Vm::Ports(args) => inspect::ports(args).await,
        cli::Vm::Logs(args) => inspect::logs(args).await,
        cli::Vm::Stats(args) => stats::run(args).await,
        cli::Vm::Rename(args) => change::rename(args).await,
        cli::Vm::Set(args) => change::set(args).await,
        cli::Vm::ResizeOverlay(args) => change::resize_overlay(args).await,
        cli::Vm::KnownHost(args) => ssh_config::known_host(args).await,
        cli::Vm::Proxy(args) => ssh::proxy(&args.vm, args.port).await,
    }
}

async fn create(args: Create) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let request = CreateVm {
        name: args.positional.or(args.name),
        image: args.image,
        vcpus: args.vcpus,
        memory: args.memory,
        disk: args.disk,
        network: args.network.map(Network::from).or(args.nat.then_some(Network::Nat)),
        vmm: args.vmm.map(Vmm::from),
        root_disk: args.root_disk.map(RootDisk::from),
        overlay: args.overlay,
        limits: Limits {
            disk_bandwidth: args.disk_bandwidth,
            disk_ops: args.disk_ops,
            net_bandwidth: args.net_bandwidth,
            net_ops: args.net_ops,
        },
        opencode: args.no_opencode.then_some(false),
        start: (!args.no_start).then(|| args.wait.wait.into()),
    };
    let (wait, json) = (!args.wait.no_wait, args.format.json);
    let done = follow::run(&client, (Method::POST, "/v1/vms"), Some(&request), wait, json).await?;
    tell(done, json);
    Ok(OK)
}

async fn start(verb: &str, args: Start) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let wait: WaitFor = args.wait.wait.into();
    let path = format!("/v1/vms/{}/{verb}", args.vm);
    let (follow_it, json) = (!args.wait.no_wait, args.format.json);
    let done =
        follow::run(&client, (Method::POST, &path), Some(&StartVm { wait }), follow_it, json)
            .await?;
    tell(done, json);
    Ok(OK)
}

async fn each(vms: &[String], verb: &str, json: bool) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    for vm in vms {
        let path = format!("/v1/vms/{vm}/{verb}");
        tell(follow::run::<()>(&client, (Method::POST, &path), None, true, json).await?, json);
    }
    Ok(OK)
}

async fn delete(args: Delete) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let mut vms: Vec<Vm> = Vec::new();
    for key in &args.vms {
        let vm: Vm = client.get(&format!("/v1/vms/{key}")).await?;
        // Named twice, by its name and its id perhaps, it is deleted once.
        if vms.iter().all(|other| other.id != vm.id) {
            vms.push(vm);
        }
    }
    if !args.yes {
        let names: Vec<_> = vms.iter().map(|vm| vm.name.as_str()).collect();
        confirm(&format!("delete {} with all that is on the work disk", names.join(", ")))?;
    }
    for vm in vms {
        let path = format!("/v1/vms/{}", vm.id);
        follow::run::<()>(&client, (Method::DELETE, &path), None, true, args.format.json).await?;
        if !args.format.json {
            output::line(&format!("{} is deleted", vm.name));
        }
    }
    Ok(OK)
}

/// What is deleted is gone for good: a person is asked, a script must say `--yes`.
pub fn confirm(what: &str) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::new(format!("will not {what} unasked"))
            .remedy("add --yes")
            .code(2));
    }
    output::note(&format!("{what}? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(CommandError::new("nothing was deleted").code(130))
}

fn tell(done: Done, json: bool) {
    let Some(Object::Vm(vm)) = done else { return };
    if json {
        return;
    }
    let name = &vm.name;
    output::line(&match &vm.state {
        VmState::Running => format!("{name} is running; enter it with: banger vm ssh {name}"),
        state => format!("{name} is {}", state.name()),
    });
}

async fn list(json: bool) -> Result<ExitCode, CommandError> {
    let list: Vec<Vm> = daemon::connect().await?.get("/v1/vms").await?;
    if json {
        output::json(&list);
    } else if list.is_empty() {
        output::note("no VMs; make one with 'banger vm create'");
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        output::line(&table(&list, now.as_secs()));
    }
    Ok(OK)
}

/// `now` is in seconds since 1970-01-01 00:00 UTC.
fn table(list: &[Vm], now: u64) -> String {
    let uptime = |vm: &Vm| match &vm.run {
        Some(run) => output::duration(now.saturating_sub(run.started_at).saturating_mul(1000)),
        None => "-".to_owned(),
    };
    let row = |vm: &Vm| {
        vec![
            vm.name.to_string(),
            vm.id.short().to_owned(),
            vm.state.name().to_owned(),
            uptime(vm),
            vm.lease.as_ref().map_or_else(|| "-".to_owned(), |lease| lease.address.to_string()),
            vm.spec.image_name.to_string(),
            vm.spec.vcpus.to_string(),
            vm.spec.memory.to_string(),
            vm.spec.disk.to_string(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output::table(
        &["NAME", "ID", "STATE", "UPTIME", "IP", "IMAGE", "VCPUS", "MEMORY", "DISK"],
        &rows,
    )
}

async fn show(args: Show) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let vm: Vm = client.get(&format!("/v1/vms/{}", args.vm)).await?;
    let secrets = if args.secrets { Some(secrets(&client, &vm).await?) } else { None };
    if args.format.json {
        let mut value = serde_json::to_value(&vm).unwrap_or_default();
        if let (Some(secrets), Some(object)) = (secrets, value.as_object_mut()) {
            object.insert("secrets".to_owned(), serde_json::to_value(secrets).unwrap_or_default());
        }
        output::json(&value);
        return Ok(OK);
    }
    output::line(&describe(&vm));
    if let Some(secrets) = secrets {
        let password = secrets.opencode_password.as_deref().unwrap_or("none: it is off");
        output::line(&format!("opencode    user opencode, password {password}"));
    }
    Ok(OK)
}

async fn secrets(client: &Client, vm: &Vm) -> Result<Secrets, CommandError> {
    Ok(client.get(&format!("/v1/vms/{}/secrets", vm.id)).await?)
}

fn describe(vm: &Vm) -> String {
    let spec = &vm.spec;
    let mut text = format!(
        "name        {}\nid          {}\nstate       {}\nimage       {}\nvcpus       {}\nmemory      {}\nwork disk   {}\nnetwork     {}\nvmm         {}\nroot disk   {} ({})",
        vm.name,
        vm.id,
        state(&vm.state),
        spec.image_name,
        spec.vcpus,
        spec.memory,
        spec.disk,
        name(&spec.network),
        name(&spec.vmm),
        name(&spec.root_disk),
        spec.root_disk_reason,
    );
    if let Some(limit) = spec.overlay {
        text.push_str(&format!("\noverlay     at most {limit}"));
    }
    if !spec.limits.is_empty() {
        text.push_str(&format!("\nlimits      {}", limits(&spec.limits)));
    }
    if let Some(Lease { address, mac, tap }) = &vm.lease {
        text.push_str(&format!("\nip          {address} ({mac}, {tap})"));
    }
    if let Some(run) = &vm.run {
        let stages = run.ready.iter().map(|r| format!("{} {}", r.stage, output::duration(r.ms)));
        let ready = stages.collect::<Vec<_>>().join(", ");
        text.push_str(&format!("\npid         {}\nready       {ready}", run.pid));
    }
    text
}

/// How fast it may be, for a person.
pub fn limits(limits: &Limits) -> String {
    let Limits { disk_bandwidth, disk_ops, net_bandwidth, net_ops } = limits;
    let size = |what, rate: &Option<Size>| rate.map(|rate| format!("{what} {rate}/s"));
    let number = |what, rate: &Option<u64>| rate.map(|rate| format!("{what} {rate} ops/s"));
    let all = [
        size("disk", disk_bandwidth),
        number("disk", disk_ops),
        size("network", net_bandwidth),
        number("network", net_ops),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The name that an enum has in JSON is the name that people see.
pub fn name<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// A VM's state, and why.
pub fn state(state: &VmState) -> String {
    let why = match state {
        VmState::Stopped(StopCause::New) => "never started".to_owned(),
        VmState::Stopped(StopCause::Requested) => "on request".to_owned(),
        VmState::Stopped(StopCause::Killed) => "killed".to_owned(),
        VmState::Stopped(StopCause::GuestShutdown) => "the guest shut down".to_owned(),
        VmState::Stopped(StopCause::HostRebooted) => "the host was restarted".to_owned(),
        VmState::Stopped(StopCause::Crashed { detail }) => format!("crashed: {detail}"),
        VmState::Stopped(StopCause::StartFailed { detail }) => {
            format!("its start failed: {detail}")
        }
        VmState::Failed { cause, .. } => cause.clone(),
        VmState::Paused(cause) => cause.to_string(),
        _ => return state.name().to_owned(),
    };
    format!("{} ({why})", state.name())
}
