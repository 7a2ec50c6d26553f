//! The terminal and the daemon: what comes from them goes into the model, and what the model wants
//! done is done here.

mod effects;
mod feed;
mod screen;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossterm::event::{Event, EventStream, MouseEvent, MouseEventKind as Kind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;

use super::model::{Link, Model};
use super::update::{Effect, Input, update};
use super::view::{Theme, view};
use crate::cmd::{config, image};
use crate::daemon;
use crate::error::CommandError;
use effects::Outside;
use feed::Feed;
use screen::Screen;

/// How often what turns turns, while something is under way.
const TURN: Duration = Duration::from_millis(100);
/// For how long what comes in a burst is taken before it is drawn.
const FRAME: Duration = Duration::from_millis(16);

/// Shows everything until the person leaves.
///
/// # Errors
/// There is no terminal, or no daemon.
pub async fn run() -> Result<ExitCode, CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let error = CommandError::new("the TUI needs a terminal for its input and output");
        return Err(error.remedy("'banger vm list' and the other commands need none").code(2));
    }
    // Before the screen is taken: what goes wrong here is told where one reads it.
    daemon::connect().await?;
    let dirs = daemon::dirs()?;
    let mut model = Model::new(config::current()?, now_ms());
    model.docker_config = image::docker_config()?;
    // https://no-color.org: any value but an empty one.
    let theme =
        Theme { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let (sender, inputs) = mpsc::channel(256);
    let signals = Signals::watched()?;
    // Ctrl-C is a key here. While SSH connects it is a signal, for SSH and not for us.
    let _interrupts = signal(SignalKind::interrupt())?;
    let screen = Screen::take()?;
    tokio::spawn(Feed::new(dirs.clone(), sender.clone()).run());
    let outside = Outside::new(dirs, sender);
    let mut shell = Shell { screen, model, theme, inputs, outside, signals };
    let result = shell.shown().await;
    let Shell { screen, inputs, outside, .. } = shell;
    drop(screen);
    // Nobody takes an answer any more, and none is to wait for that.
    drop(inputs);
    outside.end().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// The signals that tell us to end.
struct Ends {
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// All signals that are something to us.
struct Signals {
    ends: Ends,
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    fn watched() -> std::io::Result<Self> {
        let (terminate, hang_up) =
            (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        Ok(Self {
            ends: Ends { terminate, hang_up },
            stop: signal(SignalKind::from_raw(banger_exec::STOP))?,
            go_on: signal(SignalKind::from_raw(banger_exec::GO_ON))?,
        })
    }
}

/// Whether it goes on.
type GoesOn = ControlFlow<()>;

struct Shell {
    screen: Screen,
    model: Model,
    theme: Theme,
    inputs: mpsc::Receiver<Input>,
    outside: Outside,
    signals: Signals,
}

impl Shell {
    async fn shown(&mut self) -> Result<(), CommandError> {
        let mut keys = EventStream::new();
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.draw()?;
        loop {
            let turns = self.model.link == Link::Up && self.model.active().next().is_some();
            let (mut todo, mut changed) = (VecDeque::new(), false);
            let mut input = tokio::select! {
                event = keys.next() => match event {
                    Some(Ok(event)) => of_terminal(event),
                    // The terminal is gone.
                    Some(Err(_)) | None => return Ok(()),
                },
                input = self.inputs.recv() => input,
                _ = turn.tick(), if turns => Some(Input::Clock(now_ms())),
                () = self.signals.ends.told() => return Ok(()),
                _ = self.signals.stop.recv() => {
                    todo.push_back(Effect::Suspend);
                    None
                }
                // Somebody stopped us without asking; the terminal may be as another left it.
                _ = self.signals.go_on.recv() => {
                    self.screen.take_back()?;
                    Some(Input::Redraw)
                }
            };
            // What has come meanwhile is drawn with it, but no frame waits for ever.
            let next = Instant::now() + FRAME;
            loop {
                if let Some(input) = input {
                    todo.extend(update(&mut self.model, input));
                    changed = true;
                }
                // What is typed after that is not for us.
                if Instant::now() > next || todo.iter().any(leaves) {
                    break;
                }
                input = tokio::select! {
                    biased;
                    Some(Ok(event)) = keys.next() => of_terminal(event),
                    Some(input) = self.inputs.recv() => Some(input),
                    () = std::future::ready(()) => break,
                };
            }
            if !changed && todo.is_empty() {
                continue;
            }
            while let Some(effect) = todo.pop_front() {
                match effect {
                    Effect::Quit => return Ok(()),
                    Effect::Enter(name, arguments) => {
                        // SSH reads the terminal now, and nobody else.
                        drop(keys);
                        if self.lend(&name, arguments, &mut todo).await?.is_break() {
                            return Ok(());
                        }
                        keys = EventStream::new();
                    }
                    Effect::Suspend => {
                        drop(keys);
                        if self.suspend().await?.is_break() {
                            return Ok(());
                        }
                        keys = EventStream::new();
                    }
                    Effect::Copy(text) => {
                        self.screen.copy(&text)?;
                        // Whether it takes them, a terminal does not say.
                        let first = text.lines().next().unwrap_or_default();
                        let told = format!("for the terminal's clipboard: {first}");
                        self.model.notice = Some(told);
                    }
                    Effect::CopySecret(text) => {
                        self.screen.copy(&text)?;
                        let told =
                            "the password is for the terminal's clipboard; the user is opencode";
                        self.model.notice = Some(told.to_owned());
                    }
                    effect => self.outside.act(effect),
                }
            }
            self.draw()?;
        }
    }

    fn draw(&mut self) -> Result<(), CommandError> {
        self.screen.draw(|frame| view(frame, &mut self.model, self.theme))
    }

    /// Lends the terminal to SSH. What comes meanwhile is taken as ever, but not drawn; what needs
    /// the terminal is done afterwards.
    async fn lend(
        &mut self,
        name: &str,
        arguments: Vec<OsString>,
        later: &mut VecDeque<Effect>,
    ) -> Result<GoesOn, CommandError> {
        self.screen.lend()?;
        let mut ssh = pin!(effects::ssh(name, arguments));
        let ended = loop {
            let input = tokio::select! {
                ended = &mut ssh => break ended,
                Some(input) = self.inputs.recv() => input,
                // What is not waited for any more is ended.
                () = self.signals.ends.told() => return Ok(GoesOn::Break(())),
                _ = self.signals.stop.recv() => {
                    if banger_exec::is_job() {
                        banger_exec::stop()?;
                    }
                    continue;
                }
            };
            for effect in update(&mut self.model, input) {
                match effect {
                    Effect::Quit
                    | Effect::Suspend
                    | Effect::Enter(..)
                    | Effect::Copy(_)
                    | Effect::CopySecret(_) => later.push_back(effect),
                    effect => self.outside.act(effect),
                }
            }
        };
        self.screen.take_back()?;
        if let Some(input) = ended {
            later.extend(update(&mut self.model, input));
        }
        Ok(GoesOn::Continue(()))
    }

    /// Gives the terminal back and stops, until the shell lets us go on.
    async fn suspend(&mut self) -> Result<GoesOn, CommandError> {
        if !banger_exec::is_job() {
            // It would stay stopped for ever.
            let why = "there is no shell here that could bring it back";
            self.model.notice = Some(why.to_owned());
            return Ok(GoesOn::Continue(()));
        }
        self.screen.lend()?;
        banger_exec::stop()?;
        // Another thread may be stopped a moment before this one is.
        tokio::select! {
            _ = self.signals.go_on.recv() => {}
            () = self.signals.ends.told() => return Ok(GoesOn::Break(())),
        }
        self.screen.take_back()?;
        Ok(GoesOn::Continue(()))
    }
}

/// Whether the terminal is somebody else's after that.
fn leaves(effect: &Effect) -> bool {
    matches!(effect, Effect::Quit | Effect::Suspend | Effect::Enter(..))
}

fn of_terminal(event: Event) -> Option<Input> {
    match event {
        Event::Key(key) => Some(Input::Key(key)),
        // It moves all the time, and nothing follows it.
        Event::Mouse(MouseEvent { kind: Kind::Moved | Kind::Drag(_) | Kind::Up(_), .. }) => None,
        Event::Mouse(mouse) => Some(Input::Mouse(mouse)),
        Event::Paste(text) => Some(Input::Paste(text)),
        Event::Resize(..) => Some(Input::Redraw),
        Event::FocusGained | Event::FocusLost => None,
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyModifiers, MouseButton};

    use super::*;

    #[test]
    fn a_mouse_that_only_moves_is_no_input() {
        let left = MouseButton::Left;
        let taken = |kind| {
            let mouse = MouseEvent { kind, column: 1, row: 1, modifiers: KeyModifiers::NONE };
            of_terminal(Event::Mouse(mouse)).is_some()
        };
        let kinds =
            [Kind::Moved, Kind::Drag(left), Kind::Up(left), Kind::Down(left), Kind::ScrollUp];
        assert_eq!(kinds.map(taken), [false, false, false, true, true]);
    }
}
