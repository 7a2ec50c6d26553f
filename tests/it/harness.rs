//! A banger of its own for each test: folders, daemon, image, user.

mod alpine;
mod base;
mod browser;
mod lab;
mod plain;
mod process;
mod programs;
mod user;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use rustix::process::Signal;
use serde_json::Value;

pub use alpine::{RELEASE as ALPINE_RELEASE, alpine_mirror, alpine_mirror_with_musl};
pub use base::{Stock, base, copy_tree};
pub use browser::Browser;
pub use lab::Lab;
pub use plain::{Plain, tool};
pub use process::Ran;
pub use programs::programs;

use base::{configure, new_dir};
use process::{LIMIT, command, processes_of, run, signal};
use user::give;

/// Who runs banger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum As {
    /// Who runs the tests.
    Me,
    /// An ordinary user. The tests must run as root to make one.
    User,
}

/// Somebody who types commands of banger's.
pub trait Typist {
    /// Runs a command, however it ends.
    fn run(&self, args: &[&str]) -> Ran;

    /// Runs a command that must succeed, and returns what it printed.
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "banger {args:?}:\n{}{}", ran.stdout, ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    /// The same for one that prints JSON.
    fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

impl Typist for Sandbox {
    fn run(&self, args: &[&str]) -> Ran {
        Self::run(self, args)
    }
}

/// Whether the tests are to do all that they can, as `script/soak` wants.
pub fn soaks() -> bool {
    std::env::var_os("BANGER_SOAK").is_some()
}

/// How often to do a thing: a few times in CI, often in `script/soak`.
pub fn rounds(ci: usize, soak: usize) -> usize {
    if soaks() { soak } else { ci }
}

/// Two cores bear one VM test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// banger with folders and a daemon of its own, and the image `debian`.
pub struct Sandbox {
    /// Short: sockets are below it.
    dir: PathBuf,
    who: As,
    /// Where its programs are, if not where they were built.
    programs: Option<PathBuf>,
    /// What its environment has beyond its folders.
    env: Vec<(&'static str, OsString)>,
    /// The folders of the images that it began with.
    given: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Sandbox {
    pub fn new(who: As) -> Self {
        Self::with(who, Stock::Debian)
    }

    /// One with another image.
    pub fn with(who: As, stock: Stock) -> Self {
        let mut sandbox = Self::bare(who);
        // Images are never written to: a link is as good as a copy.
        copy_tree(&base(who, stock).join("state/banger"), &sandbox.dir.join("state/banger"), true);
        give(&sandbox.dir, who);
        sandbox.given = sandbox.images();
        sandbox
    }

    /// One without any image.
    pub fn bare(who: As) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            dir: new_dir(who),
            who,
            programs: None,
            env: Vec::new(),
            given: Vec::new(),
            _turn: turn,
        }
    }

    /// Sets a variable of the environment, for the commands and daemons to come.
    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.env.retain(|(set, _)| *set != name);
        self.env.push((name, value.into()));
    }

    /// Takes a variable of [`Self::set`] away.
    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(set, _)| *set != name);
    }

    /// Puts a script before all programs of the host.
    pub fn install(&mut self, name: &str, script: &str) {
        let folder = self.dir.join("fake");
        fs::create_dir_all(&folder).unwrap();
        // Under another name first: the old one may be running.
        let (place, part) = (folder.join(name), folder.join(format!("{name}.new")));
        fs::write(&part, script).unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(part, place).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(folder).chain(std::env::split_paths(&path));
        self.set("PATH", std::env::join_paths(path).unwrap());
    }

    /// Takes a script of [`Self::install`] away.
    pub fn uninstall(&self, name: &str) {
        fs::remove_file(self.dir.join("fake").join(name)).unwrap();
    }

    /// The folder of its only image.
    pub fn image(&self) -> PathBuf {
        let mut images = fs::read_dir(self.state("images")).unwrap();
        images.next().unwrap().unwrap().path()
    }

    /// Writes its configuration.
    pub fn configure(&self, toml: &str) {
        configure(&self.dir, toml);
        give(&self.dir.join("config"), self.who);
    }

    /// Its folder, which has `state`, `config`, `cache` and `run`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One whose programs are its own, its daemon of an older build.
    pub fn with_older_daemon() -> Self {
        let mut sandbox = Self::new(As::Me);
        let dir = sandbox.dir.join("bin");
        fs::create_dir(&dir).unwrap();
        for name in ["banger", "banger-agent"] {
            fs::copy(programs(As::Me).join(name), dir.join(name)).unwrap();
        }
        let mut daemon = fs::read(programs(As::Me).join("bangerd")).unwrap();
        let stamp = b"build-";
        let digits = |bytes: &[u8]| bytes.len() == 12 && bytes.iter().all(u8::is_ascii_digit);
        let stamped = |i: &usize| daemon[*i..].starts_with(stamp) && digits(&daemon[i + 6..i + 18]);
        let at: Vec<usize> = (0..daemon.len() - 18).filter(stamped).collect();
        assert!(!at.is_empty(), "bangerd has no stamp");
        for i in at {
            daemon[i + 6..i + 18].copy_from_slice(b"000000000001");
        }
        fs::write(dir.join("bangerd"), daemon).unwrap();
        fs::set_permissions(dir.join("bangerd"), fs::Permissions::from_mode(0o755)).unwrap();
        sandbox.programs = Some(dir);
        sandbox
    }

    /// Puts the daemon of the current build in the place of the older one.
    pub fn install_current_daemon(&self) {
        let place = self.programs.as_ref().unwrap().join("bangerd");
        let part = place.with_extension("new");
        fs::copy(programs(As::Me).join("bangerd"), &part).unwrap();
        fs::rename(part, place).unwrap();
    }

    /// Runs `banger`.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args))
    }

    fn command(&self, args: &[&str]) -> (HostRunner, Command) {
        let (runner, command) = command(&self.dir, self.who, self.programs.as_deref(), args);
        (runner, self.env.iter().fold(command, |command, (name, value)| command.env(name, value)))
    }

    /// The program `banger` and the environment that it gets.
    pub fn banger(&self) -> (PathBuf, Vec<(OsString, OsString)>) {
        let (_, command) = self.command(&[]);
        (programs(self.who).join("banger"), command.environment().to_vec())
    }

    /// Runs the daemon's program in the foreground, to its end.
    pub fn bangerd(&self) -> Ran {
        let (_, command) = self.command(&[]);
        let mut bangerd = Command::new(Tool::Bangerd).timeout(LIMIT);
        for (name, value) in command.environment() {
            bangerd = bangerd.env(name.to_str().unwrap(), value);
        }
        let tools = Tools::discover().with(Tool::Bangerd, programs(self.who).join("bangerd"));
        run((HostRunner::new(tools), bangerd))
    }

    /// Runs `banger`, which must fail: its exit code and what it says, without the
    /// sandbox's folder.
    pub fn fails(&self, args: &[&str]) -> String {
        let Ran { code, stderr, stdout } = self.run(args);
        assert_ne!(code, 0, "banger {args:?}:\n{stdout}");
        format!("{code} {stderr}").replace(self.dir.to_str().unwrap(), "")
    }

    /// Runs `banger`, which must succeed; what it printed, without the last line's end.
    pub fn ok(&self, args: &[&str]) -> String {
        Typist::ok(self, args)
    }

    /// Runs `banger … --json`, which must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        Typist::json(self, args)
    }

    /// Starts `banger` and does not wait for it. Returns its process id.
    pub fn start(&self, args: &[&str]) -> i32 {
        let (runner, command) = self.command(args);
        runner.detach(&command, &self.dir.join("started.log")).unwrap().cast_signed()
    }

    /// The process id of the daemon.
    pub fn daemon_pid(&self) -> i32 {
        i32::try_from(self.json(&["daemon", "status"])["pid"].as_i64().unwrap()).unwrap()
    }

    /// The process of a VM that runs `program`, of which there must be one.
    pub fn pid_of(&self, program: &str) -> i32 {
        let found = processes_of(&self.dir);
        let [(pid, _)] =
            &found.iter().filter(|(_, line)| line.contains(program)).collect::<Vec<_>>()[..]
        else {
            panic!("not one {program}: {found:#?}")
        };
        *pid
    }

    /// Ends a process as a crash does.
    pub fn kill_9(&self, pid: i32) {
        signal(pid, Signal::KILL).unwrap();
    }

    /// Ends a process as Ctrl-C does.
    pub fn interrupt(&self, pid: i32) {
        signal(pid, Signal::INT).unwrap();
    }

    /// Ends a process in an orderly way.
    pub fn terminate(&self, pid: i32) {
        signal(pid, Signal::TERM).unwrap();
    }

    /// Sends a process a signal.
    pub fn signal(&self, pid: i32, which: Signal) {
        signal(pid, which).unwrap();
    }

    /// Lets a process run only now and then, as a very busy host would, until it ends or `over`.
    pub fn starve(&self, pid: i32, over: impl Fn() -> bool) {
        while signal(pid, Signal::STOP).is_ok() {
            std::thread::sleep(Duration::from_millis(120));
            let _ = signal(pid, Signal::CONT);
            if over() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `condition` holds.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that is left of VMs: processes, files and sockets.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = self.left_of_vms();
        left.extend(self.unknown_images());
        left
    }

    fn left_of_vms(&self) -> Vec<String> {
        let mut left: Vec<_> = processes_of(&self.dir).into_iter().map(|(_, line)| line).collect();
        for folder in ["state/banger/vms", "state/banger/scratch", "run/banger/vms"] {
            let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left
    }

    /// The folders of images that no list has, but for those of the sandbox's making: they are
    /// another's in its journal, and stay when they are deleted.
    fn unknown_images(&self) -> Vec<String> {
        let mut images = self.images();
        images.retain(|path| !self.given.contains(path));
        if images.is_empty() {
            return images;
        }
        let listed = self.run(&["image", "list", "--json"]).stdout;
        let id = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        images.retain(|path| !listed.contains(&format!("\"{}\"", id(path))));
        images
    }

    fn images(&self) -> Vec<String> {
        let images = fs::read_dir(self.state("images")).into_iter().flatten().flatten();
        images.map(|entry| entry.path().display().to_string()).collect()
    }

    /// The socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/banger/bangerd.sock")
    }

    /// The home folder that new VMs start with.
    pub fn home(&self) -> PathBuf {
        self.dir.join("config/banger/home")
    }

    /// Writes a file of the home folder that new VMs start with.
    pub fn write_home(&self, path: &str, content: &str, mode: u32) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        give(&self.dir.join("config"), self.who);
    }

    /// The file of the daemon's state.
    pub fn state(&self, path: &str) -> PathBuf {
        self.dir.join("state/banger").join(path)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let vms = self.run(&["vm", "list", "--json"]).stdout;
        let vms: Vec<Value> = serde_json::from_str(&vms).unwrap_or_default();
        for vm in vms {
            if std::thread::panicking() {
                let console = self.run(&["vm", "logs", "-n", "60", vm["name"].as_str().unwrap()]);
                println!(
                    "--- {} is {}; its console ---\n{}",
                    vm["name"], vm["state"], console.stdout
                );
            }
            self.run(&["vm", "delete", "--yes", vm["id"].as_str().unwrap_or_default()]);
        }
        // While there is a daemon to ask.
        let mut left = self.unknown_images();
        self.run(&["daemon", "stop"]);
        left.extend(self.left_of_vms());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.state("bangerd.log")).unwrap_or_default();
            println!("--- the daemon's log ---\n{log}---");
        } else {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
