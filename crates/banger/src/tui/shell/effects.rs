//! What the model wants done.

use banger_core::agent::Port;
use banger_core::api::{ImageInfo, Leftover, Secrets};
use banger_core::dirs::Dirs;
use banger_core::doctor::DoctorReport;
use banger_core::id::VmId;
use banger_core::operation::Operation;
use banger_core::vm::Vm;
use banger_exec::{Command, HostRunner, Interactive, Runner as _, Tool, Tools};
use banger_wire::{Client, StatusCode, WireError};
use std::collections::HashMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::super::dialog::{Problem, Request};
use super::super::model::Ports;
use super::super::update::{Effect, Input, Then};
use crate::cmd::{forward, guest, ssh, web};
use crate::daemon;
use crate::error::{CommandError, chain};

/// How much of a console is shown at first, in lines.
const LINES: u32 = 1000;
/// How long requests may still take when the person leaves.
const LEAVING: Duration = Duration::from_secs(2);

/// What is outside: the daemon, and tasks on their way.
pub struct Outside {
    dirs: Dirs,
    to: mpsc::Sender<Input>,
    log: Option<AbortHandle>,
    forwards: HashMap<(VmId, u16), AbortHandle>,
    requests: JoinSet<()>,
}

impl Outside {
    /// That of the daemon of these folders; what comes of it goes `to` the model.
    pub fn new(dirs: Dirs, to: mpsc::Sender<Input>) -> Self {
        Self { dirs, to, log: None, forwards: HashMap::new(), requests: JoinSet::new() }
    }

    /// Waits until the daemon has what it was asked for, but not for ever.
    pub async fn end(mut self) {
        let sent = async { while self.requests.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LEAVING, sent).await;
    }

    /// Does something, and does not wait for it.
    pub fn act(&mut self, effect: Effect) {
        // Anew each time: the next daemon may have its socket elsewhere.
        let client = daemon::client(&self.dirs);
        match effect {
            Effect::Send(request) => {
                while self.requests.try_join_next().is_some() {}
                let to = self.to.clone();
                self.requests.spawn(async move {
                    // Whoever left does not want to know.
                    let _ = to.send(send(client, request).await).await;
                });
            }
            Effect::Ports(vm) => self.spawn(async move {
                let ports = client.get::<Vec<Port>>(&format!("/v1/vms/{vm}/ports")).await;
                let ports = match ports.map_err(CommandError::from) {
                    Ok(ports) => Ports::Known(ports),
                    Err(error) => Ports::Unknown(error.message().to_owned()),
                };
                Input::Ports(vm, ports)
            }),
            Effect::Examine => self.spawn(async move {
                let report = client.get::<DoctorReport>("/v1/doctor").await;
                Input::Doctor(report.map_err(|error| problem("doctor", error.into())))
            }),
            Effect::Images => self.spawn(async move {
                let list = client.get::<Vec<ImageInfo>>("/v1/images").await;
                Input::Images(list.map_err(|error| problem("list images", error.into())))
            }),
            Effect::OpenLog(vm, stream) => {
                self.close_log();
                let to = self.to.clone();
                self.log = Some(tokio::spawn(read_log(client, vm, stream, to)).abort_handle());
            }
            Effect::CloseLog => self.close_log(),
            Effect::Forward(vm, port, then) => {
                let (to, key) = (self.to.clone(), (vm.clone(), port));
                let forward = tokio::spawn(async move {
                    let kept = keep_forwarding(client, vm.clone(), port, then, &to).await;
                    if let Err(error) = kept {
                        let problem = problem("forward a port", error);
                        // Whoever left does not want to know.
                        let _ = to.send(Input::NotForwarded(vm, port, problem)).await;
                    }
                });
                self.forwards.insert(key, forward.abort_handle());
            }
            Effect::EndForward(vm, port) => {
                if let Some(forward) = self.forwards.remove(&(vm, port)) {
                    forward.abort();
                }
            }
            Effect::Ssh(vm) => self.spawn(async move {
                let command = ssh::command(&client, vm.as_str(), &[], true).await;
                let arguments = command.map(|command| command.arguments().to_vec());
                Input::Entrance(vm, arguments.map_err(|error| problem("ssh", error)))
            }),
            Effect::Open(url) => self.spawn(open(url.clone(), url.into())),
            Effect::Password(vm) => self.spawn(async move {
                match client.get::<Secrets>(&format!("/v1/vms/{vm}/secrets")).await {
                    Ok(Secrets { opencode_password: Some(password), .. }) => {
                        Input::Password(password)
                    }
                    Ok(_) => Input::Done("opencode is off in it: there is no password".to_owned()),
                    Err(error) => Input::Failed(problem("password of opencode", error.into())),
                }
            }),
            Effect::Web => self.spawn(async move {
                match web::page(&client).await {
                    // The page's name says nothing to others who look at command lines.
                    Ok((login, page)) => open(login.url, page.into_os_string()).await,
                    Err(error) => Input::Failed(problem("web console", error)),
                }
            }),
            Effect::StartDaemon => {
                let to = self.to.clone();
                self.spawn(async move {
                    // Not to where the screen is.
                    let tell = |text: &str| drop(to.try_send(Input::Done(text.to_owned())));
                    match daemon::connect_and_tell(&tell).await {
                        Ok(_) => Input::Done("the daemon is started".to_owned()),
                        Err(error) => Input::Failed(problem("start the daemon", error)),
                    }
                });
            }
            // These need the terminal.
            Effect::Quit
            | Effect::Suspend
            | Effect::Enter(..)
            | Effect::Copy(_)
            | Effect::CopySecret(_) => {}
        }
    }

    fn spawn(&self, work: impl Future<Output = Input> + Send + 'static) {
        let to = self.to.clone();
        tokio::spawn(async move {
            // Whoever left does not want to know.
            let _ = to.send(work.await).await;
        });
    }

    fn close_log(&mut self) {
        if let Some(log) = self.log.take() {
            log.abort();
        }
    }
}

/// Runs SSH on the terminal, to its end; what to tell of it. It is ended if this is dropped.
pub async fn ssh(name: &str, arguments: Vec<OsString>) -> Option<Input> {
    let entered = async {
        let mut children = signal(SignalKind::child())?;
        let command = Command::new(Tool::Ssh).args(arguments);
        // The screen is ours again at once: what it says is told there.
        let mut ssh = Interactive::start_kept(&Tools::discover(), &command)?;
        loop {
            if let Some(status) = ssh.ended()? {
                return Ok((status, ssh.said()));
            }
            // The daemon is heard, and ports are forwarded, meanwhile.
            children.recv().await;
        }
    };
    match entered.await {
        // 255 is SSH's own failure (ssh(1)); others are what was last run in there.
        Ok((status, said)) if status.code() == Some(255) => {
            let said = said.trim();
            let message = format!("ssh could not enter the VM, or the connection broke\n{said}");
            let by_hand = format!("banger vm ssh {name}");
            let remedy = Some(format!("see its console (key l), and try: {by_hand}"));
            let problem = Problem::new(format!("ssh {name}"), message, remedy);
            Some(Input::Failed(problem.copied(by_hand)))
        }
        Ok(_) => None,
        Err(error) => Some(Input::Failed(problem("ssh", error))),
    }
}

fn problem(title: &str, error: CommandError) -> Problem {
    Problem::new(title, error.message(), error.hint().map(str::to_owned))
}

async fn send(client: Client, request: Request) -> Input {
    let Request { what, method, path, body, form, limit } = request;
    let client = match limit {
        Some(limit) => client.within(limit),
        None => client,
    };
    let failed = |error: WireError| {
        let problem = problem(&what, error.into());
        match form {
            Some(form) => Input::Refused(problem, form),
            None => Input::Failed(problem),
        }
    };
    match client.send(method, &path, body.as_ref()).await {
        // What takes long has begun; the events tell how it goes.
        Ok(reply) if reply.status == StatusCode::ACCEPTED => match reply.json::<Operation>() {
            Ok(operation) => Input::Begun(operation),
            Err(error) => failed(error),
        },
        // Of what was left behind, each may have failed by itself. Nothing else replies so.
        Ok(reply) => {
            let released: Vec<Leftover> = reply.json().unwrap_or_default();
            match Problem::of_leftovers(&what, &released) {
                Some(problem) => Input::Failed(problem),
                None => Input::Done(format!("{what}: done")),
            }
        }
        Err(error) => failed(error),
    }
}

async fn read_log(client: Client, vm: VmId, stream: u64, to: mpsc::Sender<Input>) {
    let path = format!("/v1/vms/{vm}/log?lines={LINES}&follow=true");
    match client.bytes(&path).await {
        Ok(mut log) => {
            while let Ok(Some(bytes)) = log.next().await {
                if to.send(Input::Log(stream, bytes.to_vec())).await.is_err() {
                    return;
                }
            }
        }
        Err(error) => drop(to.send(Input::Failed(problem("read the log", error.into()))).await),
    }
    // Whoever left does not want to know.
    let _ = to.send(Input::LogEnded(stream)).await;
}

/// Forwards a port of a guest to a free one here, until the TUI ends or the VM is gone.
async fn keep_forwarding(
    client: Client,
    vm: VmId,
    port: u16,
    then: Then,
    to: &mpsc::Sender<Input>,
) -> Result<(), CommandError> {
    let running: Vm = guest::running(&client, vm.as_str()).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    // Whoever left does not want to know. The model knows now where it is, and what is done there.
    let _ = to.send(Input::Forwarded(vm, port, at, then)).await;
    forward::carry_all(&client, &running, listener, port, &|_| {}, async || {
        std::future::pending::<()>().await;
    })
    .await
}

/// Shows an address in the browser that the desktop has, by what leads to it.
async fn open(url: String, leads: OsString) -> Input {
    let remedy = Some(format!("open it yourself (y copies it): {url}"));
    let failed =
        |why: &str| Input::Failed(Problem::new("open a browser", why, remedy.clone()).copied(&url));
    if ["DISPLAY", "WAYLAND_DISPLAY"].iter().all(|name| std::env::var_os(name).is_none()) {
        return failed("there is no desktop here");
    }
    let mut command = Command::new(Tool::XdgOpen).arg(&leads);
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.to_str() {
            command = command.env(name, value);
        }
    }
    // It may be the browser itself, and stay.
    match HostRunner::new(Tools::discover()).detach(&command, Path::new("/dev/null")) {
        Ok(pid) => {
            daemon::reap(pid);
            Input::Done(format!("the desktop was asked to show {url}"))
        }
        Err(error) => failed(&chain(&error)),
    }
}
