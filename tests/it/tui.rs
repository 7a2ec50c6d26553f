//! The TUI at a real terminal, which is tmux's.

use std::fs;
use std::time::Duration;

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use rustix::process::Signal;

use crate::fake::Guest;
use crate::harness::{As, Sandbox};

/// A terminal in which somebody has typed `banger`.
struct Terminal<'a>(&'a Sandbox);

impl<'a> Terminal<'a> {
    /// One of that size.
    fn new(banger: &'a Sandbox, columns: u16, rows: u16) -> Self {
        let (program, _) = banger.banger();
        // What stty says before and after is compared: a terminal that is not given back whole
        // neither echoes nor ends lines.
        let line = format!(
            "cd {dir}; stty -g > before; {banger}; echo \"ended $?\"; stty -g > after; exec sleep 600",
            dir = banger.dir().display(),
            banger = program.display(),
        );
        Self::running(banger, columns, rows, &line)
    }

    /// One in which a shell waits for commands.
    fn of_shell(banger: &'a Sandbox, columns: u16, rows: u16) -> Self {
        let line = format!("cd {}; exec bash --norc --noprofile -i", banger.dir().display());
        Self::running(banger, columns, rows, &line)
    }

    fn running(banger: &'a Sandbox, columns: u16, rows: u16, line: &str) -> Self {
        let terminal = Self(banger);
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, line]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let (_, environment) = self.0.banger();
        let command = Command::new(Tool::Tmux)
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(self.0.dir().join("tmux"))
            .args(args)
            .env("TERM", "xterm-256color")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .timeout(Duration::from_secs(30));
        let command = environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name.to_str().unwrap(), value));
        let ran = HostRunner::new(Tools::discover()).capture(&command).unwrap();
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Presses keys by tmux's names of them.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a text.
    fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as it should be; the screen.
    fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.0.until(what, || {
                screen = self.screen();
                is(&screen)
            });
        }));
        assert!(waited.is_ok(), "waited in vain until {what}:\n{screen}");
        screen
    }

    /// Waits until the screen has a text.
    fn sees(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until a line has all of these.
    fn sees_line(&self, words: &[&str]) -> String {
        let has = |line: &str| words.iter().all(|word| line.contains(word));
        self.until(&words.join(" … "), |screen| screen.lines().any(has))
    }

    /// The process of `banger`: the shell's only child.
    fn pid(&self) -> i32 {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.trim().parse().unwrap()
    }

    /// Whether it has an alternate screen, a mouse, and a cursor.
    fn flags(&self) -> String {
        let flags = "#{alternate_on} #{mouse_any_flag} #{cursor_flag}";
        self.tmux(&["display-message", "-p", flags]).trim().to_owned()
    }

    /// Waits for the end of `banger`; fails unless the terminal is as it was.
    fn is_given_back(&self) {
        self.sees("ended 0");
        assert_eq!(self.flags(), "0 0 1");
        let read = |name| fs::read_to_string(self.0.dir().join(name)).unwrap();
        self.0.until("stty has spoken", || !read("after").is_empty());
        assert_eq!(read("before"), read("after"));
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn a_vm_is_made_entered_and_deleted_on_one_screen() {
    let banger = Sandbox::new(As::Me);
    let terminal = Terminal::new(&banger, 120, 40);
    terminal.sees("no VMs yet");
    terminal.press(&["n"]);
    terminal.sees("empty: one is made up");
    terminal.type_in("dev");
    // Down to opencode, which takes long where VMs are emulated.
    terminal.press(&["Down", "Down", "Down", "Down", "Down", "Down", "Down"]);
    terminal.type_in("n");
    terminal.sees("◂ no ▸");
    terminal.press(&["Enter"]);
    let making = terminal.sees_line(&["✓ boot", " ms"]);
    assert!(making.contains("create dev") && making.contains("✓ disks"), "{making}");
    terminal.sees_line(&["dev", "running", "debian"]);
    terminal.sees("22 sshd");
    terminal.sees_line(&["ready", "agent", "ssh"]);

    terminal.press(&["e"]);
    terminal.sees("dev:~#");
    terminal.type_in("echo in-$((40+2))\n");
    terminal.sees("in-42");
    terminal.type_in("exit\n");
    terminal.sees("VMs 1");
    terminal.sees_line(&["dev", "running"]);

    // The daemon goes and comes back under it; nothing is lost, and it goes on.
    banger.ok(&["daemon", "stop"]);
    terminal.sees("the daemon is away");
    assert!(terminal.screen().contains("running"));
    banger.ok(&["daemon", "start"]);
    terminal.sees("the daemon is back");
    terminal.press(&["l"]);
    terminal.sees("console of dev · following");
    terminal.press(&["Escape"]);

    // Another size, in the middle of it all.
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.until("it is drawn anew", |screen| {
        screen.lines().nth(2).is_some_and(|line| line.starts_with('╭') && line.ends_with('╮'))
    });

    terminal.press(&["D"]);
    terminal.sees("type dev to go on");
    terminal.type_in("dev");
    terminal.press(&["Enter"]);
    terminal.sees("no VMs yet");
    assert_eq!(banger.json(&["vm", "list"]), serde_json::json!([]));
    terminal.press(&["q"]);
    terminal.is_given_back();
}

#[test]
fn the_terminal_is_given_back_when_it_is_told_to_end() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    // Made elsewhere, and seen at once.
    let terminal = Terminal::new(&banger, 80, 24);
    terminal.sees("no VMs yet");
    banger.ok(&["vm", "create", "other", "--wait", "agent"]);
    terminal.sees_line(&["other", "running"]);
    // There is no SSH in a guest that is none; what ssh says of that is told here.
    terminal.press(&["e"]);
    let screen = terminal.sees("failed: ssh");
    assert!(screen.contains("error: there is no guest") && screen.contains("hint"), "{screen}");
    terminal.press(&["Enter"]);
    banger.terminate(terminal.pid());
    terminal.is_given_back();
}

#[test]
fn it_is_stopped_and_brought_back_as_a_job_of_a_shell() {
    let banger = Sandbox::bare(As::Me);
    let terminal = Terminal::of_shell(&banger, 80, 24);
    terminal.type_in(&format!("stty -g > before; {}\n", banger.banger().0.display()));
    terminal.sees("no VMs yet");
    assert_eq!(terminal.flags(), "1 1 0");
    let brought_back = |way: &str| {
        terminal.sees("Stopped");
        terminal.type_in("clear\n");
        terminal.until("the shell is there", |screen| !screen.contains("no VMs yet"));
        terminal.type_in("fg\n");
        terminal.sees("no VMs yet");
        assert_eq!(terminal.flags(), "1 1 0", "{way}");
        // Keys come at once, and none is lost.
        terminal.press(&["?"]);
        terminal.sees("these keys");
        terminal.press(&["?"]);
        terminal.until("the help is gone", |screen| !screen.contains("these keys"));
    };
    terminal.press(&["C-z"]);
    terminal.sees("Stopped");
    assert_eq!(terminal.flags(), "0 0 1");
    brought_back("by Ctrl-Z");
    banger.signal(terminal.pid(), Signal::TSTP);
    terminal.sees("Stopped");
    assert_eq!(terminal.flags(), "0 0 1");
    brought_back("by SIGTSTP");
    // That one cannot be told of: the screen is drawn anew all the same.
    banger.signal(terminal.pid(), Signal::STOP);
    brought_back("by SIGSTOP");
    terminal.press(&["q"]);
    terminal.until("the shell is back", |screen| !screen.contains("no VMs yet"));
    terminal.type_in("echo \"ended $?\"; stty -g > after\n");
    terminal.is_given_back();
}

#[test]
fn where_no_shell_could_bring_it_back_it_is_not_stopped() {
    let banger = Sandbox::bare(As::Me);
    let terminal = Terminal::new(&banger, 80, 24);
    terminal.sees("no VMs yet");
    terminal.press(&["C-z"]);
    terminal.sees("no shell here that could bring it back");
    terminal.press(&["q"]);
    terminal.is_given_back();
}

#[test]
fn what_was_asked_for_before_leaving_is_done() {
    let banger = Sandbox::with_fakes(Guest::Healthy);
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    let terminal = Terminal::new(&banger, 80, 24);
    terminal.sees("never started");
    terminal.type_in("sq");
    terminal.is_given_back();
    banger.until("it starts", || banger.json(&["vm", "list"])[0]["state"]["state"] == "starting");
}

#[test]
fn an_error_stays_with_its_remedy() {
    let mut banger = Sandbox::with_fakes(Guest::Healthy);
    banger.install("qemu-system-x86_64", "#!/bin/sh\necho no memory >&2\nexit 1\n");
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    let terminal = Terminal::new(&banger, 100, 30);
    terminal.sees("never started");
    terminal.press(&["s"]);
    let screen = terminal.sees("failed: start dev");
    assert!(screen.contains("no memory"), "{screen}");
    terminal.press(&["j", "j"]);
    terminal.sees("failed: start dev");
    terminal.press(&["Enter"]);
    terminal.until("it is dismissed", |screen| !screen.contains("failed: start dev"));

    // Whose terminal is closed does not stay.
    let pid = terminal.pid();
    drop(terminal);
    banger.until("it is gone", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

#[test]
fn without_a_terminal_it_says_what_else_there_is() {
    let banger = Sandbox::bare(As::Me);
    insta::assert_snapshot!(banger.fails(&["tui"]), @"
    2 error: the TUI needs a terminal for its input and output
    hint: 'banger vm list' and the other commands need none
    ");
    let help = banger.fails(&[]);
    assert!(help.starts_with('2') && help.contains("Usage: banger"), "{help}");
}
