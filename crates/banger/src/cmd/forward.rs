//! `banger vm forward`: a port of the guest on this machine.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use banger_core::vm::Vm;
use banger_wire::agent::AgentClient;
use banger_wire::{Client, WireError};
use serde::Serialize;
use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::cli::Forward;
use crate::cmd::guest::{agent, running};
use crate::error::{CommandError, chain};
use crate::follow::OK;
use crate::ports::Ports;
use crate::signals::End;
use crate::{daemon, output, peer};
use banger_wire::relay::{Linger, relay};

/// How many connections are carried at a time. The agent takes 256, and some
/// must be left: by them the VM is stopped, too.
const MOST: usize = 200;
/// How many are opened at a time: the guest's queue of new ones is short.
const OPENING: usize = 32;
/// How long the guest may be silent after a client elsewhere has said that it
/// is done, or has closed: from here the two look the same.
const LINGER: Duration = Duration::from_secs(30);
/// How long a client may go on sending after the guest has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// What `--json` prints.
#[derive(Serialize)]
struct Forwarded<'a> {
    address: String,
    port: u16,
    vm: &'a str,
    guest_port: u16,
}

pub async fn run(args: Forward) -> Result<ExitCode, CommandError> {
    let mut end = End::catch()?;
    let client = daemon::connect().await?;
    let vm = running(&client, &args.vm).await?;
    let listener = listen(&args.ports, &vm).await?;
    let (local, guest) = (listener.local_addr()?, args.ports.guest);
    let name = vm.name.as_str();
    if args.format.json {
        let address = local.ip().to_string();
        output::json(&Forwarded { address, port: local.port(), vm: name, guest_port: guest });
    } else {
        output::line(&format!("{local} -> {name}:{guest}"));
    }
    let note = |text: &str| output::note(text);
    let result = carry_all(&client, &vm, listener, guest, &note, async || end.told().await).await;
    if result.is_ok() && !args.format.json {
        output::note(&format!("{local} is forwarded no longer"));
    }
    result.map(|()| OK)
}

/// Carries what connects to `listener` to a port of the guest, until `end`; told again, it does not
/// wait for what is still open. What goes wrong with one connection is noted.
///
/// # Errors
/// The VM is gone.
pub async fn carry_all(
    client: &Client,
    vm: &Vm,
    listener: TcpListener,
    guest: u16,
    note: &(impl Fn(&str) + Sync),
    mut end: impl AsyncFnMut(),
) -> Result<(), CommandError> {
    let (stop, stopped) = watch::channel(false);
    let turns = Arc::new(Semaphore::new(OPENING));
    let (mut connections, mut full) = (JoinSet::new(), false);
    let result = loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok((stream, peer)) => {
                    let carried = carry(stream, agent(vm), guest, turns.clone(), stopped.clone());
                    connections.spawn(async move { (peer, carried.await) });
                    if connections.len() == MOST && !std::mem::replace(&mut full, true) {
                        note(&format!("{MOST} connections are open; more have to wait"));
                    }
                }
                Err(error) => {
                    // Out of descriptors, say: not a reason to end, nor to spin.
                    note(&format!("a connection cannot be taken: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(Ok((peer, carried))) = connections.join_next() => {
                if let Err(error) = carried {
                    match reason(client, vm, &error).await {
                        Ok(reason) => note(&format!("connection from {peer}: {reason}")),
                        Err(gone) => break Err(gone),
                    }
                }
            }
            () = end() => break Ok(()),
        }
    };
    // Each connection is ended in the guest too; told again, we leave that to the guest.
    stop.send_replace(true);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = end() => {}
    }
    result
}

async fn listen(ports: &Ports, vm: &Vm) -> Result<TcpListener, CommandError> {
    let error = match TcpListener::bind(ports.local).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let (address, port) = (ports.local.ip(), ports.local.port());
    let other = format!("banger vm forward {} PORT:{}", vm.name, ports.guest);
    let (message, remedy) = match error.kind() {
        ErrorKind::AddrInUse => (
            format!("port {port} is in use on {address}"),
            format!("choose another port: {other}; with 0 for PORT a free one is taken"),
        ),
        ErrorKind::PermissionDenied => (
            format!("port {port} is for root only"),
            format!("choose one above 1023: {other}; with 0 for PORT a free one is taken"),
        ),
        ErrorKind::AddrNotAvailable => (
            format!("this machine has no address {address}"),
            format!("without an address it is 127.0.0.1: {other}"),
        ),
        _ => (format!("cannot listen on {address}, port {port}: {error}"), other),
    };
    Err(CommandError::new(message).remedy(remedy))
}

/// One connection from its start to its end.
async fn carry(
    mut local: TcpStream,
    agent: AgentClient,
    guest: u16,
    turns: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), WireError> {
    local.set_nodelay(true)?;
    let (near, far) = (local.local_addr()?, local.peer_addr()?);
    let linger = if far.ip().to_canonical().is_loopback() {
        Linger::Until(Box::pin(peer::closed(far, near)))
    } else {
        Linger::Silence(LINGER)
    };
    let turn = turns.acquire().await;
    let stream = agent.stream(guest).await?;
    drop(turn);
    let (mut from, mut to) = local.split();
    // The sender outlives the connections.
    let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    relay(stream, &mut from, &mut to, linger, stop).await?;
    // Closed with bytes unread, it would reset the client before that has read the end.
    let end = async {
        to.shutdown().await?;
        copy(&mut from, &mut sink()).await
    };
    let _ = tokio::time::timeout(DRAIN, end).await;
    Ok(())
}

/// Why a connection could not be carried, which the VM's state tells best.
///
/// # Errors
/// The VM is gone: nothing will ever be forwarded again.
async fn reason(client: &Client, vm: &Vm, error: &WireError) -> Result<String, CommandError> {
    match client.get::<Vm>(&format!("/v1/vms/{}", vm.id)).await {
        Ok(now) if now.run.is_none() => {
            let (name, state) = (&now.name, now.state.name());
            Ok(format!("'{name}' is {state} (banger vm start {name})"))
        }
        Err(WireError::Refused { status, .. }) if status == banger_wire::StatusCode::NOT_FOUND => {
            Err(CommandError::new(format!("'{}' was deleted", vm.name)).code(3))
        }
        // A daemon that is away says nothing of the VM.
        _ => Ok(chain(error)),
    }
}
