//! A banger of its own for each test: folders, daemon, image, user.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The user that the tests make.
const USER: &str = "banger-test";
/// Nothing that is tested takes this long.
const LIMIT: Duration = Duration::from_secs(600);

/// Who runs banger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum As {
    /// Who runs the tests.
    Me,
    /// An ordinary user. The tests must run as root to make one.
    User,
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
    _turn: MutexGuard<'static, ()>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

#[expect(clippy::disallowed_methods, reason = "tests of crashes, of Ctrl-C, of a busy host")]
fn signal(pid: i32, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_raw(pid).unwrap(), signal)
}

impl Sandbox {
    pub fn new(who: As) -> Self {
        let sandbox = Self::bare(who);
        // Images are never written to: a link is as good as a copy.
        copy_tree(&base(who).join("state/banger"), &sandbox.dir.join("state/banger"), true);
        give(&sandbox.dir, who);
        sandbox
    }

    /// One without any image.
    pub fn bare(who: As) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self { dir: new_dir(who), who, programs: None, env: Vec::new(), _turn: turn }
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
        let folder = self.dir.join("config/banger");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), toml).unwrap();
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
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "banger {args:?}:\n{}{}", ran.stdout, ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    /// Runs `banger … --json`, which must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
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
        let mut left: Vec<_> = processes_of(&self.dir).into_iter().map(|(_, line)| line).collect();
        for folder in ["state/banger/vms", "state/banger/scratch", "run/banger/vms"] {
            let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        left
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
            self.run(&["vm", "delete", "--yes", vm["id"].as_str().unwrap_or_default()]);
        }
        self.run(&["daemon", "stop"]);
        let left = self.leftovers();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.state("bangerd.log")).unwrap_or_default();
            println!("--- the daemon's log ---\n{log}---");
        } else {
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The ids and command lines of the processes that have a path below `dir` in
/// them, the daemon left out.
fn processes_of(dir: &Path) -> Vec<(i32, String)> {
    let needle = dir.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let daemon = line.trim_end().ends_with("bangerd");
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (line.contains(&needle) && !daemon).then_some((pid, line))
        })
        .collect()
}

fn run((runner, command): (HostRunner, Command)) -> Ran {
    match runner.capture(&command) {
        Ok(output) => Ran {
            code: 0,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: output.stderr,
        },
        Err(ExecError::Failed { status, stdout, stderr, .. }) => {
            let code = status.trim_start_matches("exit status ").parse().unwrap_or(-1);
            Ran { code, stdout, stderr }
        }
        Err(error) => panic!("{error}"),
    }
}

fn command(dir: &Path, who: As, own: Option<&Path>, args: &[&str]) -> (HostRunner, Command) {
    let programs = own.map_or_else(|| programs(who), Path::to_owned);
    let tools = Tools::discover().with(Tool::Banger, programs.join("banger"));
    let command = match who {
        As::Me => Command::new(Tool::Banger),
        As::User => {
            let user = user();
            Command::new(Tool::Setpriv)
                .args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)])
                .arg("--init-groups")
                .arg(programs.join("banger"))
                .env("HOME", &user.home)
        }
    };
    // What this machine trusts, and its mirrors.
    let passed_on = ["SSL_CERT_FILE", "SSL_CERT_DIR", "NPM_CONFIG_USERCONFIG"];
    let command = passed_on.iter().fold(command, |command, name| match std::env::var_os(name) {
        Some(value) => command.env(name, value),
        None => command,
    });
    let command = command
        .args(args)
        .timeout(LIMIT)
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("BANGER_TOOLS", tools_folder(who));
    (HostRunner::new(tools), command)
}

/// A folder for one sandbox, on the disk that holds the target folder's images
/// as links, and with a short path.
fn new_dir(who: As) -> PathBuf {
    let dir = tempfile::Builder::new()
        .prefix("bgr-")
        .rand_bytes(6)
        .tempdir_in("/var/tmp")
        .unwrap()
        .keep();
    for folder in ["state", "config", "cache", "run"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    give(&dir, who);
    dir
}

/// A state with the image `debian`, built once and kept for later runs as
/// long as what it is built by stays the same.
fn base(who: As) -> PathBuf {
    static ME: OnceLock<PathBuf> = OnceLock::new();
    static USERS: OnceLock<PathBuf> = OnceLock::new();
    let cell = if who == As::Me { &ME } else { &USERS };
    cell.get_or_init(|| {
        let dir = PathBuf::from(format!("/var/tmp/banger-test-{:016x}", fingerprint(who)));
        if dir.join("ready").exists() {
            return dir;
        }
        let fresh = new_dir(who);
        let built = run(command(&fresh, who, None, &["image", "build", "debian"]));
        println!("{}", built.stderr);
        assert_eq!(built.code, 0, "the image could not be built");
        assert_eq!(run(command(&fresh, who, None, &["daemon", "stop"])).code, 0);
        let _ = fs::remove_dir_all(&dir);
        fs::rename(&fresh, &dir).unwrap();
        fs::write(dir.join("ready"), "").unwrap();
        dir
    })
    .clone()
}

/// Changes with whatever goes into an image.
fn fingerprint(who: As) -> u64 {
    let mut hasher = DefaultHasher::new();
    who.hash(&mut hasher);
    fs::read(programs(As::Me).join("banger-agent"))
        .expect("run 'cargo xtask agent' first")
        .hash(&mut hasher);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["crates/banger-image/src", "crates/banger-core/src", "crates/bangerd/src/store"]
    {
        hash_tree(&root.join(folder), &mut hasher);
    }
    hasher.finish()
}

fn hash_tree(dir: &Path, hasher: &mut DefaultHasher) {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash_tree(&path, hasher);
        } else {
            path.file_name().hash(hasher);
            fs::read(&path).unwrap().hash(hasher);
        }
    }
}

/// The folder that the programs are in.
fn programs(who: As) -> PathBuf {
    // …/target/debug/deps/it-…
    let exe = std::env::current_exe().unwrap();
    let built = exe.parent().unwrap().parent().unwrap().to_owned();
    if who == As::Me {
        return built;
    }
    // The user may be unable to reach the target folder.
    static COPY: LazyLock<PathBuf> = LazyLock::new(|| {
        // It lives as long as this process, and nothing sees its end: the next run clears up.
        let prefix = "bgr-bin-";
        for entry in fs::read_dir("/var/tmp").unwrap().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let dir = PathBuf::from(format!("/var/tmp/{prefix}{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    });
    for name in ["banger", "bangerd", "banger-agent"] {
        let to = COPY.join(name);
        if !to.exists() {
            fs::copy(built.join(name), &to).unwrap();
        }
    }
    COPY.clone()
}

/// The folder of programs that the distribution does not have.
fn tools_folder(who: As) -> PathBuf {
    let own = std::env::var_os("BANGER_TOOLS").map_or_else(
        || {
            let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/share");
            data.unwrap_or_else(home).join("banger/tools")
        },
        PathBuf::from,
    );
    if who == As::Me {
        return own;
    }
    // root's home is closed to others; the wrappers name the folder that they are in.
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let dir = programs(As::User).join("tools");
        copy_tree(&own, &dir, false);
        for entry in fs::read_dir(dir.join("bin")).unwrap().flatten() {
            if let Ok(text) = fs::read_to_string(entry.path()) {
                let moved = text.replace(own.to_str().unwrap(), dir.to_str().unwrap());
                fs::write(entry.path(), moved).unwrap();
            }
        }
        dir
    })
    .clone()
}

/// The ordinary user.
#[derive(Debug, Clone)]
struct User {
    uid: u32,
    gid: u32,
    home: String,
}

fn user() -> User {
    static FOUND: OnceLock<User> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            find_user().unwrap_or_else(|| {
                // Also gives a range of subordinate ids, which building an image needs.
                let add =
                    Command::new(Tool::Useradd).args(["--create-home", "--shell", "/bin/sh", USER]);
                HostRunner::new(Tools::discover()).capture(&add).unwrap();
                find_user().unwrap()
            })
        })
        .clone()
}

fn find_user() -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<_> =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == USER)?;
    Some(User {
        uid: fields[2].parse().ok()?,
        gid: fields[3].parse().ok()?,
        home: fields[5].to_owned(),
    })
}

/// Makes all below `dir` the user's.
fn give(dir: &Path, who: As) {
    if who == As::Me {
        return;
    }
    let user = user();
    chown(dir, Some(user.uid), Some(user.gid)).unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            give(&entry.path(), who);
        } else if metadata.uid() != user.uid {
            chown(entry.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
    }
}

fn copy_tree(from: &Path, to: &Path, link_images: bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&source, &target, link_images);
            fs::set_permissions(&target, fs::metadata(&source).unwrap().permissions()).unwrap();
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if kind.is_file() {
            let image = link_images && source.components().any(|part| part.as_os_str() == "images");
            if image {
                fs::hard_link(&source, &target).unwrap();
            } else {
                fs::copy(&source, &target).unwrap();
            }
        }
    }
}
