//! The sockets of a VMM and of a guest: QEMU's monitor, Firecracker's API, hybrid vsock, the
//! agent.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use banger_core::agent::{self, Health, Service};
use banger_core::guest::{INIT_SAYS, PROVISIONING, WRONG_TIMER};
use banger_core::resource::ProcessId;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{UnixListener, UnixStream};

use crate::world::WorldRef;

fn option<'a>(args: &'a [String], prefix: &str, behind: &str) -> io::Result<&'a str> {
    let value = args.windows(2).find(|pair| pair[0] == behind && pair[1].starts_with(prefix));
    let value = value.map(|pair| pair[1].trim_start_matches(prefix));
    let value = value.ok_or_else(|| io::Error::other(format!("no {behind} {prefix}")))?;
    Ok(value.split(',').next().unwrap_or(value))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // QEMU and vhost-device-vsock take the place of a socket that is there.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path)
}

/// The sockets of the vsock process: for the VMM, and hybrid vsock.
pub(crate) fn vsock_sockets(args: &[String]) -> io::Result<(UnixListener, UnixListener)> {
    let vhost = bind(Path::new(option(args, "", "--socket")?))?;
    Ok((vhost, bind(Path::new(option(args, "", "--uds-path")?))?))
}

/// The socket of the VMM's monitor.
pub(crate) fn monitor_socket(args: &[String]) -> io::Result<UnixListener> {
    bind(Path::new(option(args, "unix:", "-qmp")?))
}

/// The vsock process: passes connections on to the guest's agent while one runs.
pub(crate) async fn vsock(world: WorldRef, (_vhost, listener): (UnixListener, UnixListener)) {
    let address = listener.local_addr().ok();
    let path = address.and_then(|a| a.as_pathname().map(Path::to_owned)).unwrap_or_default();
    while let Ok((stream, _)) = listener.accept().await {
        // Fine if it fails: the host sees its connection end.
        let _ = connection(&world, &path, stream).await;
    }
}

async fn connection(world: &WorldRef, path: &Path, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let connect = line(&mut stream).await?;
    let vmm = world.get().and_then(|world| world.vmm_of(path));
    let (Some(vmm), true) = (vmm, connect == format!("CONNECT {}", agent::PORT)) else {
        return Ok(());
    };
    stream.write_all(b"OK 1\n").await?;
    let request = line(&mut stream).await?;
    while !line(&mut stream).await?.is_empty() {}
    let mut words = request.split(' ');
    match (words.next(), words.next()) {
        (Some("GET"), Some("/health")) => {
            let health = Health {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: agent::PROTOCOL,
                boot_id: vmm.pid.to_string(),
                uptime_ms: 1,
                sshd: Service::Listening,
                opencode: Service::Absent,
            };
            let body = serde_json::to_string(&health)?;
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await
        }
        (Some("POST"), Some("/shutdown")) => {
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await?;
            stream.shutdown().await?;
            end(world, &vmm);
            Ok(())
        }
        (Some("GET"), Some(path)) if path.starts_with("/stream/") => echo(&mut stream).await,
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await,
    }
}

/// A server on any port of the guest, which answers what it was asked, and tries to set cookies; a
/// WebSocket gets back what it sends, and `/events` is a stream of them, which does not end.
async fn echo(stream: &mut BufReader<UnixStream>) -> io::Result<()> {
    let upgraded = format!("Connection: upgrade\r\nUpgrade: {}\r\n\r\n", agent::STREAM_PROTOCOL);
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await?;
    stream.write_all(upgraded.as_bytes()).await?;
    let mut asked = String::new();
    loop {
        match line(stream).await? {
            end if end.is_empty() => break,
            next => asked.push_str(&format!("{next}\n")),
        }
    }
    if asked.to_ascii_lowercase().contains("\nupgrade: websocket\n") {
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switched).await?;
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await?;
        return to.shutdown().await;
    }
    if asked.starts_with("GET /events ") {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n";
        stream.write_all(head).await?;
        // Whoever reads them goes away.
        return tokio::io::copy(stream, &mut tokio::io::sink()).await.map(drop);
    }
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nSet-Cookie: a=1; Domain=localhost";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{asked}", asked.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The VMM, whose guest is up at once and rings, or boots badly.
pub(crate) async fn vmm(world: WorldRef, id: ProcessId, args: Vec<String>, monitor: UnixListener) {
    if world.get().is_some_and(|world| world.boots_badly()) {
        // The host reads it there or waits in vain, which a test sees.
        let _ = say(&args, &format!("{INIT_SAYS}{WRONG_TIMER}: 0 Hz\n"));
    } else if world.get().is_some_and(|world| world.provisions()) {
        let _ = say(&args, &format!("{INIT_SAYS}1 ms: {PROVISIONING}\nconfigured\n"));
        // Not at once: who started it wants to know that it runs.
        if let Ok((stream, _)) = monitor.accept().await {
            let _ = commands(&world, &id, stream).await;
        }
        end(&world, &id);
    } else if let Ok(vhost) = option(&args, "socket,id=vsock,path=", "-chardev") {
        let vsock: PathBuf = Path::new(vhost).with_file_name("vsock.sock");
        // A host that does not listen does not want to know.
        drop(UnixStream::connect(agent::doorbell(&vsock)).await);
    }
    while let Ok((stream, _)) = monitor.accept().await {
        let _ = commands(&world, &id, stream).await;
    }
}

/// The socket of Firecracker's API.
pub(crate) fn api_socket(args: &[String]) -> io::Result<UnixListener> {
    let path = Path::new(option(args, "", "--api-sock")?);
    // Firecracker ends if there is one.
    UnixListener::bind(path)
}

/// Firecracker, whose guest is up at once and rings when it is told to start.
pub(crate) async fn firecracker(world: WorldRef, id: ProcessId, api: UnixListener) {
    let (mut vsock, mut guest): (PathBuf, Option<UnixListener>) = Default::default();
    loop {
        let at_guest = async {
            match &guest {
                Some(guest) => guest.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok((stream, _)) = api.accept() => {
                let Ok((path, body)) = request(stream).await else { continue };
                let told = |key: &str| body[key].as_str().unwrap_or_default();
                match (path.as_str(), told("action_type")) {
                    ("/vsock", _) => vsock = told("uds_path").into(),
                    (_, "InstanceStart") => {
                        guest = UnixListener::bind(&vsock).ok();
                        drop(UnixStream::connect(agent::doorbell(&vsock)).await);
                    }
                    (_, "SendCtrlAltDel") => end(&world, &id),
                    _ => {}
                }
            }
            Ok((stream, _)) = at_guest => drop(connection(&world, &vsock, stream).await),
        }
    }
}

/// Takes a request and says that it is done. Returns its path and its body.
async fn request(stream: UnixStream) -> io::Result<(String, serde_json::Value)> {
    let mut stream = BufReader::new(stream);
    let path = line(&mut stream).await?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let header = line(&mut stream).await?.to_ascii_lowercase();
        match header.strip_prefix("content-length:") {
            Some(number) => length = number.trim().parse().map_err(io::Error::other)?,
            None if header.is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await?;
    stream.shutdown().await?;
    Ok((path, serde_json::from_slice(&body)?))
}

/// Says something on the guest's console.
fn say(args: &[String], text: &str) -> io::Result<()> {
    let console = option(args, "file,id=console,append=on,path=", "-chardev")?;
    std::fs::File::options().create(true).append(true).open(console)?.write_all(text.as_bytes())
}

async fn commands(world: &WorldRef, id: &ProcessId, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"{\"QMP\": {}}\n").await?;
    loop {
        let command = line(&mut stream).await?;
        if command.is_empty() {
            return Ok(());
        }
        stream.write_all(b"{\"return\": {}}\n").await?;
        if command.contains("quit") || command.contains("system_powerdown") {
            stream.shutdown().await?;
            end(world, id);
        }
    }
}

fn end(world: &WorldRef, vmm: &ProcessId) {
    if let Some(world) = world.get() {
        world.end(vmm, "exit status 0");
    }
}

/// A line without its end; empty at the end of the stream.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut text = String::new();
    stream.read_line(&mut text).await?;
    Ok(text.trim_end().to_owned())
}
