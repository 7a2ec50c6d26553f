//! The terminal and the daemon: what comes from them goes into the model, and what the model wants
//! done is done here.

mod effects;
mod feed;
mod screen;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossterm::event::{Event, EventStream, MouseEvent, MouseEventKind as Kind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;

use super::model::{Link, Model};
use super::update::{Effect, Input, update};
use super::view::{Theme, view};
use crate::cmd::{config, image};
use crate::daemon;
use crate::error::CommandError;
use effects::Outside;
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
    let client = daemon::connect().await?;
    let mut model = Model::new(config::current()?, now_ms());
    model.docker_config = image::docker_config()?;
    // https://no-color.org: any value but an empty one.
    let theme =
        Theme { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
    let (sender, inputs) = mpsc::channel(256);
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    // Ctrl-C is a key here. While SSH connects it is a signal, for SSH and not for us.
    let _interrupts = signal(SignalKind::interrupt())?;
    let mut screen = Screen::take()?;
    tokio::spawn(feed::feed(sender.clone()));
    let outside = Outside::new(client, sender);
    let result = shown(&mut screen, model, theme, inputs, outside, &mut ends).await;
    drop(screen);
    result.map(|()| ExitCode::SUCCESS)
}

async fn shown(
    screen: &mut Screen,
    mut model: Model,
    theme: Theme,
    mut inputs: mpsc::Receiver<Input>,
    mut outside: Outside,
    ends: &mut [tokio::signal::unix::Signal; 2],
) -> Result<(), CommandError> {
    let [terminate, hang_up] = ends;
    let mut keys = EventStream::new();
    let mut turn = tokio::time::interval(TURN);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    screen.draw(|frame| view(frame, &mut model, theme))?;
    loop {
        let turns = model.link == Link::Up && model.active().next().is_some();
        let mut input = tokio::select! {
            event = keys.next() => match event {
                Some(Ok(event)) => of_terminal(event),
                // The terminal is gone.
                Some(Err(_)) | None => return Ok(()),
            },
            input = inputs.recv() => input,
            _ = turn.tick(), if turns => Some(Input::Clock(now_ms())),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        };
        let (mut todo, mut changed) = (Vec::new(), false);
        // What has come meanwhile is drawn with it, but no frame waits for ever.
        let next = Instant::now() + FRAME;
        loop {
            if let Some(input) = input {
                todo.extend(update(&mut model, input));
                changed = true;
            }
            // What is typed after that is not for us.
            let leaves = |effect: &Effect| matches!(effect, Effect::Quit | Effect::Enter(_));
            if Instant::now() > next || todo.iter().any(leaves) {
                break;
            }
            input = tokio::select! {
                biased;
                Some(Ok(event)) = keys.next() => of_terminal(event),
                Some(input) = inputs.recv() => Some(input),
                () = std::future::ready(()) => break,
            };
        }
        if !changed {
            continue;
        }
        for effect in todo {
            match effect {
                Effect::Quit => return Ok(()),
                Effect::Enter(arguments) => {
                    // SSH reads the terminal now, and nobody else.
                    drop(keys);
                    screen.lend()?;
                    // What is not waited for any more is ended.
                    let ended = tokio::select! {
                        ended = effects::ssh(arguments) => ended,
                        _ = terminate.recv() => return Ok(()),
                        _ = hang_up.recv() => return Ok(()),
                    };
                    screen.take_back()?;
                    keys = EventStream::new();
                    if let Some(input) = ended {
                        update(&mut model, input);
                    }
                }
                Effect::Copy(text) => {
                    screen.copy(&text)?;
                    // Whether it takes them, a terminal does not say.
                    let first = text.lines().next().unwrap_or_default();
                    let told = format!("for the terminal's clipboard: {first}");
                    update(&mut model, Input::Done(told));
                }
                Effect::CopySecret(text) => {
                    screen.copy(&text)?;
                    let told = "the password is for the terminal's clipboard; the user is opencode";
                    update(&mut model, Input::Done(told.to_owned()));
                }
                effect => outside.act(effect),
            }
        }
        screen.draw(|frame| view(frame, &mut model, theme))?;
    }
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
