//! A shell of a VM in the page: by ssh, as `banger vm ssh` has it, in a terminal of its own, over a
//! WebSocket. Bytes are what is typed and shown; text is the terminal's new size.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use banger_core::api::{ApiError, ErrorKind};
use banger_core::ssh::{arguments, proxy_line};
use banger_core::vm::{SSH_PORT, Vm};
use banger_exec::{Command, Terminal, TerminalSize, Tool, Tools};
use maud::html;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use crate::daemon::companion;
use crate::engine::resources::blocking;
use crate::error::chain;
use crate::serve::vms::ssh_access;
use crate::serve::web::Console;
use crate::serve::web::guard::policy_with_styles;
use crate::serve::web::layout::{Page, Problem};
use crate::serve::web::session::Session;

/// The largest message of a browser: what is pasted comes in one.
const MESSAGE_SIZE: usize = 1 << 20;
const BLOCK: usize = 16 << 10;
/// How often it is looked whether the session goes on.
const LOOK: Duration = Duration::from_secs(2);
/// The size of a terminal before the page tells it.
const FIRST_SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/vms/{key}/terminal", get(show))
        .route("/vms/{key}/terminal/socket", get(connect))
}

async fn show(
    State(console): State<Console>,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    running(&vm)?;
    let name = vm.name.as_str();
    let nonce = format!("{:032x}", rand::random::<u128>());
    let body = html! {
        h1 { "Terminal of " (name) }
        p.note {
            "Shift and Escape leave the terminal. The shell ends with the page."
            noscript { " This page needs scripts; in a terminal: banger vm ssh " (name) }
        }
        div #terminal .terminal data-nonce=(nonce)
            data-socket=(format!("/vms/{}/terminal/socket", vm.id)) {}
        p #over role="status" {}
        p { a #leave href=(format!("/vms/{name}")) { "Back to " (name) } }
    };
    let scripts = &["xterm.js", "xterm-fit.js", "terminal.js"];
    let page = Page::new(format!("Terminal of {name}"), body).scripts(scripts);
    // xterm.js makes its own style elements.
    Ok(([(header::CONTENT_SECURITY_POLICY, policy_with_styles(&nonce))], page).into_response())
}

fn running(vm: &Vm) -> Result<(), ApiError> {
    if vm.run.is_some() {
        return Ok(());
    }
    let message = format!("'{}' is {}: there is no shell to enter", vm.name, vm.state.name());
    Err(ApiError::new(ErrorKind::Conflict, message).remedy("start it first"))
}

async fn connect(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    running(&vm)?;
    let terminal = start(&console, &vm).await?;
    let upgrade = upgrade.max_message_size(MESSAGE_SIZE);
    Ok(upgrade.on_upgrade(async move |socket| talk(console, session, terminal, socket).await))
}

async fn start(console: &Console, vm: &Vm) -> Result<Terminal, ApiError> {
    let access = ssh_access(&console.engine, vm).await?;
    let own = companion("banger");
    let words = ["vm", "proxy", vm.id.as_str(), &SSH_PORT.to_string()];
    let proxy = proxy_line(&own.to_string_lossy(), &words);
    let args = arguments(vm.name.as_str(), &access, &proxy, &[], true);
    let ssh = Command::new(Tool::Ssh).args(args).env("TERM", "xterm-256color");
    let started = blocking(move || Ok(Terminal::start(&Tools::discover(), &ssh, FIRST_SIZE)));
    let internal = |message| ApiError::new(ErrorKind::Internal, message);
    let started = started.await.map_err(|error| internal(chain(&error)))?;
    started.map_err(|error| internal(chain(&error)))
}

/// The size that a page tells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSize {
    rows: u16,
    columns: u16,
}

/// Carries bytes both ways until either side ends, or the session does.
async fn talk(console: Console, session: Session, terminal: Terminal, socket: WebSocket) {
    if let Err(error) = carry(&console, &session, &terminal, socket).await {
        tracing::debug!(%error, "a terminal ended");
    }
    if let Ok(Err(error)) = blocking(move || Ok(terminal.end())).await {
        tracing::warn!(%error, "the end of a terminal's program is not known");
    }
}

async fn carry(
    console: &Console,
    session: &Session,
    terminal: &Terminal,
    mut socket: WebSocket,
) -> io::Result<()> {
    // A terminal is waited for as a pipe is.
    let mut shown = pipe::Receiver::from_owned_fd_unchecked(terminal.descriptor()?)?;
    let mut taken = pipe::Sender::from_owned_fd_unchecked(terminal.descriptor()?)?;
    let mut block = vec![0; BLOCK];
    // What is typed waits here while the program takes none: it may itself wait for us to read.
    let mut typed = Bytes::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            // Its end is an error: EIO.
            came = shown.read(&mut block) => {
                let Some(bytes) = came.ok().filter(|n| *n > 0).map(|n| block[..n].to_vec()) else {
                    // The page may be gone.
                    let _ = socket.send(Message::Close(None)).await;
                    return Ok(());
                };
                socket.send(Message::Binary(bytes.into())).await.map_err(io::Error::other)?;
            }
            written = taken.write(&typed), if !typed.is_empty() => drop(typed.split_to(written?)),
            message = socket.recv(), if typed.is_empty() => match message {
                Some(Ok(Message::Binary(bytes))) => typed = bytes,
                Some(Ok(Message::Text(text))) => {
                    let NewSize { rows, columns } = serde_json::from_str(&text)?;
                    terminal.resize(TerminalSize { rows, columns })?;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            },
            _ = look.tick() => if !console.sessions.lasts(session) { return Ok(()) },
        }
    }
}
