//! The terminal: taken, lent, and given back as it was, whatever happens.

use std::io::{Stdout, Write as _, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};

use banger_exec::Modes;

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use crate::error::CommandError;

/// How the terminal was when it was first taken. Who had it since may have left it otherwise.
static BEFORE: OnceLock<Modes> = OnceLock::new();
/// Whether the terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal. It is given back when this goes, and before a panic is told.
    ///
    /// # Errors
    /// The terminal's.
    pub fn take() -> Result<Self, CommandError> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            // Where a panic aborts, nothing is dropped.
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        enter().inspect_err(|_| give_back())?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()));
        Ok(Self { terminal: terminal.inspect_err(|_| give_back())? })
    }

    /// Draws a frame.
    ///
    /// # Errors
    /// The terminal's.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> Result<(), CommandError> {
        self.terminal.draw(view)?;
        Ok(())
    }

    /// Lends the terminal to another program.
    ///
    /// # Errors
    /// The terminal's.
    pub fn lend(&mut self) -> Result<(), CommandError> {
        give_back();
        self.terminal.show_cursor()?;
        Ok(())
    }

    /// Takes it back, and has all of it drawn anew.
    ///
    /// # Errors
    /// The terminal's.
    pub fn take_back(&mut self) -> Result<(), CommandError> {
        // It may be ours as far as we know: whoever stopped us had it since.
        give_back();
        enter()?;
        // Not by its own `clear`, which asks the terminal for the cursor: the answer comes among the
        // keys, and may be taken for one.
        execute!(stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }

    /// Puts a text into the terminal's clipboard, if it has one (OSC 52).
    ///
    /// # Errors
    /// The terminal's.
    pub fn copy(&mut self, text: &str) -> Result<(), CommandError> {
        execute!(stdout(), CopyToClipboard::to_clipboard_from(text))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> std::io::Result<()> {
    let before = match BEFORE.get() {
        Some(before) => before,
        None => {
            let now = Modes::current()?;
            BEFORE.get_or_init(|| now)
        }
    };
    OURS.store(true, Ordering::Relaxed);
    before.set_raw()?;
    execute!(stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste)
}

/// Nobody is left to tell if the terminal is gone.
fn give_back() {
    if !OURS.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(
        stdout(),
        DisableBracketedPaste,
        DisableMouseCapture,
        LeaveAlternateScreen,
        crossterm::cursor::Show
    );
    let _ = stdout().flush();
    if let Some(before) = BEFORE.get() {
        let _ = before.restore();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};

    use super::*;

    /// As in a release: nothing is dropped after a panic.
    #[test]
    #[ignore = "no test, but what the one below runs in a terminal"]
    fn panics() {
        std::panic::set_hook(Box::new(|panic| {
            let _ = writeln!(stdout(), "told: {panic}");
            std::process::abort();
        }));
        let mut screen = Screen::take().unwrap();
        // Who had it meanwhile was killed, and left it as it was.
        screen.lend().unwrap();
        Modes::current().unwrap().set_raw().unwrap();
        screen.take_back().unwrap();
        panic!("of a bug");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let dir = tempfile::tempdir().unwrap();
        let tmux = |args: &[&str]| {
            let socket = dir.path().join("tmux");
            let command = Command::new(Tool::Tmux)
                .args(["-u", "-f", "/dev/null", "-S"])
                .arg(socket)
                .args(args)
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("TERM", "xterm-256color")
                .timeout(Duration::from_secs(30));
            let output = HostRunner::new(Tools::discover()).capture(&command).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let us = std::env::current_exe().unwrap();
        let test = "tui::shell::screen::tests::panics";
        let line = format!(
            "stty -g > {dir}/before; {us} --ignored --exact --nocapture {test}; stty -g > {dir}/after; echo ended; exec sleep 60",
            dir = dir.path().display(),
            us = us.display(),
        );
        tmux(&["new-session", "-d", "-x", "80", "-y", "24", &line]);
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut screen = String::new();
        while !screen.contains("ended") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            screen = tmux(&["capture-pane", "-p"]);
        }
        let flags =
            tmux(&["display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}"]);
        tmux(&["kill-server"]);
        // What the panic says is on the screen that was there before.
        assert!(screen.contains("of a bug") && screen.contains("ended"), "{screen}");
        assert_eq!(flags.trim(), "0 0 1");
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("before"), read("after"));
    }
}
