use super::*;
use banger_exec::{Command, HostRunner, Tool, Tools};
use std::os::unix::net::UnixListener;
use std::time::SystemTime;

/// A home, the folder of its seed, and what makes it.
struct Scene {
    dir: tempfile::TempDir,
    runner: HostRunner,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("seed")).unwrap();
        Self { dir, runner: HostRunner::new(Tools::discover()) }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn seed(&self) -> PathBuf {
        self.dir.path().join("seed")
    }

    fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mode(&path, mode).unwrap();
    }

    fn refresh(&self) -> Result<(), SeedError> {
        refresh(&self.runner, &self.home(), &self.seed(), &Cancel::default())
    }

    fn is_current(&self) -> bool {
        is_current(&self.home(), &self.seed()).unwrap()
    }

    fn debugfs(&self, request: &str) -> String {
        let command = Command::new(Tool::Debugfs).args(["-R", request]);
        let output = self.runner.capture(&command.arg(self.seed().join(WORK_SEED))).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Mode, owner, group and, of a link, its target.
    fn stat(&self, path: &str) -> String {
        let text = self.debugfs(&format!("stat \"{path}\""));
        let after = |label: &str| {
            let rest = text.split_once(label).map_or("", |(_, rest)| rest);
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        };
        let (mode, uid, gid) = (after("Mode:"), after("User:"), after("Group:"));
        format!("{path} {mode} {uid}:{gid} {}", after("link dest:")).trim_end().to_owned()
    }

    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.seed()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_seed_has_the_homes_files_with_their_modes_and_belongs_to_root() {
    let scene = Scene::new();
    scene.write(".bashrc", "alias x=y\n", 0o644);
    scene.write(".ssh/id", "secret\n", 0o600);
    scene.write("bin/a tool \"quoted\"", "#!/bin/sh\n", 0o755);
    scene.write("closed/file", "", 0o400);
    symlink("/nowhere/at all", scene.home().join("link")).unwrap();
    set_mode(&scene.home().join(".ssh"), 0o700).unwrap();
    set_mode(&scene.home().join("closed"), 0o500).unwrap();
    set_mode(&scene.home(), 0o755).unwrap();
    assert!(!scene.is_current());
    scene.refresh().unwrap();
    assert!(scene.is_current());
    assert_eq!(scene.files(), [WORK_SEED, WORK_SEED_FINGERPRINT]);
    let mode = |name| fs::metadata(scene.seed().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(WORK_SEED), 0o600, "it has secrets");
    let paths = ["/", ".bashrc", ".ssh", ".ssh/id", "closed", "closed/file", "link"];
    insta::assert_snapshot!(paths.map(|path| scene.stat(path)).join("\n"), @r#"
    / 0700 0:0
    .bashrc 0644 0:0
    .ssh 0700 0:0
    .ssh/id 0600 0:0
    closed 0500 0:0
    closed/file 0400 0:0
    link 0777 0:0 "/nowhere/at
    "#);
    assert_eq!(scene.debugfs("cat .ssh/id"), "secret\n");
    assert!(scene.debugfs("ls bin").contains("a tool \"quoted\""));
    let check = Command::new(Tool::E2fsck).arg("-fn").arg(scene.seed().join(WORK_SEED));
    scene.runner.capture(&check).unwrap();
}

#[test]
fn without_a_home_a_seed_has_our_own_files_and_with_an_empty_one_none() {
    let scene = Scene::new();
    scene.refresh().unwrap();
    assert!(scene.is_current());
    assert_eq!(scene.stat(".profile"), ".profile 0644 0:0");
    assert!(scene.debugfs("cat .bashrc").contains("PS1="));
    fs::create_dir(scene.home()).unwrap();
    assert!(!scene.is_current());
    scene.refresh().unwrap();
    assert!(!scene.debugfs("ls /").contains(".bashrc"));
}

#[test]
fn the_fingerprint_changes_with_what_counts() {
    let scene = Scene::new();
    let home = scene.home();
    scene.write("a", "1", 0o644);
    scene.write("folder/b", "2", 0o644);
    symlink("a", home.join("link")).unwrap();
    let print = || take(&scan(&home).unwrap(), None).unwrap();
    let mut prints = vec![print()];
    let mut changed = |what: &str| {
        let now = print();
        assert!(!prints.contains(&now), "{what}");
        prints.push(now);
    };
    scene.write("a", "3", 0o644);
    changed("content");
    scene.write("a", "3", 0o755);
    changed("mode of a file");
    set_mode(&home.join("folder"), 0o700).unwrap();
    changed("mode of a folder");
    fs::remove_file(home.join("link")).unwrap();
    symlink("folder", home.join("link")).unwrap();
    changed("target of a link");
    fs::rename(home.join("a"), home.join("c")).unwrap();
    changed("name");
    scene.write(".ssh/authorized_keys", "ssh-ed25519 AAAA me\n", 0o600);
    changed("a key");
    fs::create_dir(home.join("empty")).unwrap();
    changed("a folder");
    fs::remove_file(home.join("folder/b")).unwrap();
    changed("a file less");

    let before = print();
    File::open(home.join("c")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(print(), before, "the time does not count");
    let json = serde_json::to_string(&before.home["c"]).unwrap();
    insta::assert_snapshot!(json, @r#"{"file":{"mode":"0755","content":"sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"}}"#);
}

#[test]
fn what_cannot_go_into_a_vm_is_named() {
    let scene = Scene::new();
    let home = scene.home();
    fs::create_dir(&home).unwrap();
    let why = || {
        let error = is_current(&home, &scene.seed()).unwrap_err().to_string();
        error.replace(home.to_str().unwrap(), "HOME")
    };
    let socket = UnixListener::bind(home.join("agent.sock")).unwrap();
    insta::assert_snapshot!(why(), @"HOME/agent.sock is a socket: only files, folders and symbolic links can go into a VM");
    drop(socket);
    fs::remove_file(home.join("agent.sock")).unwrap();
    File::create(home.join("large")).unwrap().set_len(MAX_SIZE.as_bytes() + 1).unwrap();
    insta::assert_snapshot!(why(), @"HOME holds more than 128 MiB");
    fs::remove_file(home.join("large")).unwrap();
    for n in 0..=MAX_ENTRIES {
        symlink("x", home.join(n.to_string())).unwrap();
    }
    insta::assert_snapshot!(why(), @"HOME holds more than 10000 files and folders");
    fs::remove_dir_all(&home).unwrap();
    fs::write(&home, "").unwrap();
    insta::assert_snapshot!(why(), @"cannot read HOME");
}

#[test]
fn as_much_as_a_home_may_hold_fits() {
    let scene = Scene::new();
    fs::create_dir(scene.home()).unwrap();
    scene.refresh().unwrap();
    let stats = scene.debugfs("show_super_stats -h");
    let count = |name: &str| {
        let line = stats.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let entries = u64::try_from(MAX_ENTRIES).unwrap();
    assert!(count("Free inodes:") > entries, "{stats}");
    // A folder and a long link take a block, and long names a few more.
    let blocks = MAX_SIZE.as_bytes() / BLOCK + entries + entries / 10;
    assert!(count("Free blocks:") > blocks, "{stats}");
}

#[test]
fn a_seed_that_was_interrupted_is_made_again_and_leaves_nothing() {
    let scene = Scene::new();
    scene.write("a", "1", 0o644);
    let left = scene.seed().join("work-seed.part/x");
    fs::create_dir_all(&left).unwrap();
    set_mode(&left, 0o500).unwrap();
    fs::write(scene.seed().join("work-seed.ext4.part"), "half").unwrap();
    fs::write(scene.seed().join("work-seed.json.part"), "half").unwrap();
    scene.refresh().unwrap();
    assert_eq!(scene.files(), [WORK_SEED, WORK_SEED_FINGERPRINT]);
    assert!(scene.is_current());

    // At each of the two steps of taking its place.
    let fingerprint = fs::read(scene.seed().join(WORK_SEED_FINGERPRINT)).unwrap();
    fs::remove_file(scene.seed().join(WORK_SEED_FINGERPRINT)).unwrap();
    assert!(!scene.is_current());
    fs::write(scene.seed().join(WORK_SEED_FINGERPRINT), &fingerprint[..9]).unwrap();
    assert!(!scene.is_current());
    fs::write(scene.seed().join(WORK_SEED_FINGERPRINT), &fingerprint).unwrap();
    assert!(scene.is_current());
    fs::remove_file(scene.seed().join(WORK_SEED)).unwrap();
    assert!(!scene.is_current());
}

#[test]
fn a_failure_leaves_the_old_seed() {
    let scene = Scene::new();
    scene.write("a", "1", 0o644);
    scene.refresh().unwrap();
    scene.write("a", "2", 0o644);
    let nothing = HostRunner::new(Tools::default());
    let failed = refresh(&nothing, &scene.home(), &scene.seed(), &Cancel::default());
    assert!(failed.is_err());
    assert_eq!(scene.files(), [WORK_SEED, WORK_SEED_FINGERPRINT]);
    assert!(!scene.is_current());
    assert_eq!(scene.debugfs("cat a"), "1");
    scene.write("a", "1", 0o644);
    assert!(scene.is_current());
}
