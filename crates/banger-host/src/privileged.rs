//! The daemon's side of `banger-helper`: it is started when something needs
//! root, and ends when nothing has for a while.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use banger_core::helper::{Answer, PROTOCOL, Reply, Verb};
use banger_exec::{Command, Dialogue, ExecError, Tool, Tools, is_program};

use crate::helper::{program_folders, roots_alone};

/// How long a verb may take: the device mapper waits for udev.
const VERB_LIMIT: Duration = Duration::from_secs(60);
/// How long a session lasts without a verb. Longer than any pause in a burst of work.
const IDLE: Duration = Duration::from_secs(5);
/// How long what keeps the helper from being used is believed to be so.
const BELIEVED: Duration = Duration::from_secs(30);

/// What needs root did not get done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The helper cannot be used at all.
    #[error("sudo is not ready: {why}")]
    NotReady {
        /// Why not.
        why: String,
    },
    /// It refused.
    #[error("banger-helper refuses: {0}")]
    Refused(String),
    /// It tried.
    #[error("banger-helper failed: {0}")]
    Failed(String),
}

/// What can be done as root here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Why there can be no root disks by the device mapper, if so.
    pub no_mapper: Option<String>,
    /// Why Firecracker cannot be started by the helper, if so.
    pub no_vmm: Option<String>,
    /// Why there can be no network `nat`, if so.
    pub no_net: Option<String>,
    /// What of the host's packet filter drops guests' packets.
    pub drops: Vec<String>,
}

/// What does things as root. Tests put a fake in its place.
pub trait Helper: Send + Sync {
    /// Does one thing. Paths are absolute here, and below the state folder.
    ///
    /// # Errors
    /// It cannot be used, refuses, or fails.
    fn ask(&self, verb: &Verb) -> Result<Answer, AskError>;

    /// Whether it can be used, and for what.
    ///
    /// # Errors
    /// Why it cannot be.
    fn ready(&self) -> Result<Ready, AskError>;
}

/// The real one, run by `sudo -n`; directly if we are root.
pub struct Sudo(Arc<Inner>);

struct Inner {
    tools: Tools,
    state_dir: PathBuf,
    session: Mutex<Option<Session>>,
    believed: Mutex<Option<(Instant, Result<Ready, AskError>)>>,
}

struct Session {
    dialogue: Dialogue,
    ready: Ready,
    last: Instant,
}

impl Sudo {
    /// That for the state folder `state_dir`.
    #[must_use]
    pub fn new(tools: Tools, state_dir: PathBuf) -> Self {
        let (session, believed) = Default::default();
        Self(Arc::new(Inner { tools, state_dir, session, believed }))
    }

    /// A session, which ends when it is idle.
    fn start(&self) -> Result<Session, AskError> {
        let started = self.0.start()?;
        close_when_idle(Arc::downgrade(&self.0));
        Ok(started)
    }
}

impl Helper for Sudo {
    fn ask(&self, verb: &Verb) -> Result<Answer, AskError> {
        let verb = &self.0.below(verb)?;
        let mut session = lock(&self.0.session);
        // One that was killed while it was idle has done nothing by halves.
        let known = session.take().and_then(|mut s| s.dialogue.is_alive().then_some(s));
        let mut current = match known {
            Some(current) => current,
            None => self.start()?,
        };
        // A session in which something went wrong is not used again.
        let reply = ask(&mut current.dialogue, verb).map_err(|error| {
            *lock(&self.0.believed) = None;
            AskError::Failed(error.to_string())
        })?;
        current.last = Instant::now();
        *session = Some(current);
        done(reply)
    }

    fn ready(&self) -> Result<Ready, AskError> {
        let mut session = lock(&self.0.session);
        if let Some(session) = &*session {
            return Ok(session.ready.clone());
        }
        let mut believed = lock(&self.0.believed);
        if let Some((since, ready)) = &*believed
            && since.elapsed() < BELIEVED
        {
            return ready.clone();
        }
        // Who asks is likely to want something of it.
        let ready = self.start().map(|started| session.insert(started).ready.clone());
        *believed = Some((Instant::now(), ready.clone()));
        ready
    }
}

impl Inner {
    /// The verb with its paths as the helper takes them.
    fn below(&self, verb: &Verb) -> Result<Verb, AskError> {
        let mut verb = verb.clone();
        let paths = match &mut verb {
            Verb::DmCreate { base, overlay, .. } => vec![base, overlay],
            Verb::VmmStart { log, .. } => vec![log],
            Verb::Open { .. }
            | Verb::DmRemove { .. }
            | Verb::NetUp { .. }
            | Verb::NetDown
            | Verb::TapCreate { .. }
            | Verb::TapRemove { .. } => vec![],
        };
        for path in paths {
            let below = path.strip_prefix(&self.state_dir);
            let outside = |_| AskError::Refused(format!("{} is not ours", path.display()));
            *path = below.map_err(outside)?.to_owned();
        }
        Ok(verb)
    }

    fn start(&self) -> Result<Session, AskError> {
        let not_ready = |why: String| AskError::NotReady { why };
        let program = program(&self.tools).map_err(not_ready)?;
        let (tools, command) = if rustix::process::geteuid().is_root() {
            let tools = self.tools.clone().with(Tool::BangerHelper, program);
            (tools, Command::new(Tool::BangerHelper))
        } else {
            (self.tools.clone(), Command::new(Tool::Sudo).args(["-n", "--"]).arg(program))
        };
        let mut dialogue =
            Dialogue::start(&tools, command).map_err(|error| not_ready(error.to_string()))?;
        let open = Verb::Open { state_dir: self.state_dir.clone() };
        let reply = ask(&mut dialogue, &open).map_err(|error| not_ready(error.to_string()))?;
        match done(reply)? {
            Answer::Opened { protocol: PROTOCOL, no_mapper, no_vmm, no_net, drops } => {
                let ready = Ready { no_mapper, no_vmm, no_net, drops };
                Ok(Session { dialogue, ready, last: Instant::now() })
            }
            _ => Err(not_ready("banger-helper is of another version of banger".to_owned())),
        }
    }
}

/// The helper that `sudo` may be allowed to run: of an ordinary user's that one only that nobody
/// but root can change.
///
/// # Errors
/// There is none.
pub fn program(tools: &Tools) -> Result<PathBuf, String> {
    if rustix::process::geteuid().is_root() {
        return tools.path(Tool::BangerHelper).map_err(|error| error.to_string());
    }
    let mut installed =
        program_folders().into_iter().map(|folder| folder.join(Tool::BangerHelper.program()));
    let found = installed.find(|path| is_program(path));
    let path = found.ok_or_else(|| {
        "banger-helper is not installed (sudo make install puts it beside bangerd)".to_owned()
    })?;
    // The file itself, not a link to it, which may lead to what others can change.
    let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    roots_alone(&path)?;
    Ok(path)
}

fn ask(dialogue: &mut Dialogue, verb: &Verb) -> Result<Reply, ExecError> {
    // A verb is plain data: it can always be written.
    let line = serde_json::to_string(verb).unwrap_or_default();
    let answer = dialogue.ask(&line, VERB_LIMIT)?;
    Ok(serde_json::from_slice(&answer)
        .unwrap_or_else(|error| Reply::Failed(format!("it answers nonsense: {error}"))))
}

fn done(reply: Reply) -> Result<Answer, AskError> {
    match reply {
        Reply::Done(answer) => Ok(answer),
        Reply::Refused(why) => Err(AskError::Refused(why)),
        Reply::Failed(why) => Err(AskError::Failed(why)),
    }
}

/// Ends the session once nothing has been asked for a while.
fn close_when_idle(inner: Weak<Inner>) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(IDLE / 4);
            let Some(inner) = inner.upgrade() else { return };
            let mut session = lock(&inner.session);
            if session.as_ref().is_none_or(|session| session.last.elapsed() > IDLE) {
                let ended = session.take();
                drop(session);
                drop(ended);
                return;
            }
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line of `/etc/sudoers.d/banger` that lets a user run the helper, and nothing else.
///
/// # Errors
/// There is no helper that only root can change.
pub fn sudoers(tools: &Tools, user: &str) -> Result<String, String> {
    let program = program(tools)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !program.to_string_lossy().chars().all(plain) || !user.chars().all(plain) {
        return Err(format!("{} or {user} cannot be written in sudoers", program.display()));
    }
    Ok(format!("{user} ALL=(root) NOPASSWD: {} \"\"", program.display()))
}
