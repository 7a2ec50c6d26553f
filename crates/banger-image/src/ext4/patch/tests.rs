//! What debugfs and e2fsck make of it, on real file systems.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use banger_exec::{Cancel, Command, ExecError, HostRunner, Tool, Tools};

use super::super::{Change, Disk, Kind, PatchError};
use super::scene::{FLAVOURS, INLINE, Scene, write};

fn remove(path: &str) -> Change {
    Change::Remove { path: path.into() }
}

/// The error without where the disk is.
fn told(scene: &Scene, changes: &[Change]) -> String {
    let error = scene.apply(changes).unwrap_err().to_string();
    scene.check();
    error.replace(scene.disk().to_str().unwrap(), "DISK")
}

/// As Debian lays a root out, since /usr was merged.
fn debian(tree: &Path) {
    for folder in ["usr/lib/systemd", "run", "var", "etc/ssh"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for (link, target) in
        [("lib", "usr/lib"), ("var/run", "/run"), ("etc/os-release", "../usr/lib/os-release")]
    {
        std::os::unix::fs::symlink(target, tree.join(link)).unwrap();
    }
    fs::write(tree.join("usr/lib/os-release"), "ID=debian\n").unwrap();
}

#[test]
fn a_root_gets_its_files_in_few_processes_and_twice_is_once() {
    let scene = Scene::new(32, &[], debian);
    let agent: Vec<u8> = (0..1_500_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let changes = [
        Change::Write {
            path: "/lib/banger/agent".into(),
            content: agent.clone(),
            mode: 0o4755,
            owner: (70_000, 100_001),
        },
        write("/var/run/note", "note"),
        write("/etc/os-release", "ID=other\n"),
        Change::Mkdir { path: "/etc/ssh".into(), mode: 0o700, owner: (1, 2) },
        Change::Symlink { path: "/etc/systemd/on".into(), target: "/lib/x y".into() },
        Change::Symlink { path: "/etc/long".into(), target: "x/".repeat(200).into() },
    ];
    scene.apply(&changes).unwrap();
    let first = std::mem::take(&mut *scene.ran.lock().unwrap()).len();
    scene.apply(&changes).unwrap();
    let second = std::mem::take(&mut *scene.ran.lock().unwrap()).len();
    // What is there is read, also behind links and through long ones; then the folders
    // that are missing, then the files are made, and either is read back.
    assert_eq!((first, second), (6, 5));
    scene.check();
    let agent_now = scene.stat("/usr/lib/banger/agent").unwrap();
    assert_eq!((agent_now.mode, agent_now.owner), (0o4755, (70_000, 100_001)));
    assert_eq!(scene.read("/lib/banger/agent").unwrap(), agent);
    assert_eq!(scene.read("/run/note").unwrap(), b"note");
    // The link was replaced, what it led to was not.
    assert_eq!(scene.read("/usr/lib/os-release").unwrap(), b"ID=debian\n");
    assert_eq!(scene.read("/etc/os-release").unwrap(), b"ID=other\n");
    let folder = scene.stat("/lib/banger/").unwrap();
    assert_eq!((folder.kind, folder.mode, folder.owner), (Kind::Folder, 0o755, (0, 0)));
    let target = "x/".repeat(200).into();
    assert_eq!(scene.stat("/etc/long").unwrap().kind, Kind::Link { target });

    let fs = ext4_view::Ext4::load_from_path(scene.disk()).unwrap();
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().abs_diff(
        Duration::from_secs(
            u64::try_from(fs.metadata("/run/note").unwrap().modified().seconds()).unwrap(),
        ),
    );
    assert!(age < Duration::from_secs(60), "{age:?}");
}

#[test]
fn a_root_is_cleaned_of_its_identity() {
    let scene = Scene::new(16, &[], |tree| {
        debian(tree);
        fs::create_dir_all(tree.join("var/log/journal/id")).unwrap();
        fs::write(tree.join("var/log/journal/id/system.journal"), vec![7; 100_000]).unwrap();
        fs::write(tree.join("var/log/dpkg.log"), "log").unwrap();
    });
    scene.ask("ea_set /var/log/dpkg.log user.key value");
    let changes = [
        remove("/var/log"),
        Change::Mkdir { path: "/var/log".into(), mode: 0o755, owner: (0, 0) },
        remove("/etc/ssh/ssh_host_key"),
        remove("/nowhere/at/all"),
        remove("/usr/lib/os-release/x"),
    ];
    for _ in 0..2 {
        scene.apply(&changes).unwrap();
        scene.check();
    }
    let disk = scene.disk();
    let disk = Disk::open(&scene, &disk, &scene.cancel).unwrap();
    assert_eq!(disk.list(Path::new("/var/log")).unwrap(), Some(Vec::new()));
    assert_eq!(disk.list(Path::new("/var/run/.")).unwrap(), Some(Vec::new()));
    assert_eq!(disk.list(Path::new("/lib/")).unwrap().unwrap(), ["os-release", "systemd"]);
    assert!(matches!(disk.read(Path::new("/etc/os-release"), 3), Err(PatchError::TooLarge { .. })));
    assert_eq!(disk.read(Path::new("/etc/nothing"), 3).unwrap(), None);
}

#[test]
fn names_are_names_and_not_commands() {
    let scene = Scene::empty();
    let names = ["<2>", "-w", "a b", "\"", "\"\"x\" y\"", "é\t\u{7f}", "!ls", ";", "#", "\\n", " "];
    let mut changes: Vec<_> =
        names.iter().map(|name| write(&format!("/{name}/{name}"), *name)).collect();
    changes.extend(
        names.map(|name| Change::Symlink {
            path: format!("/{name}/to").into(),
            target: name.into(),
        }),
    );
    scene.apply(&changes).unwrap();
    scene.check();
    for name in names {
        assert_eq!(scene.read(&format!("/{name}/{name}")).unwrap(), name.as_bytes());
    }
    scene.apply(&names.map(|name| remove(&format!("/{name}")))).unwrap();
    scene.check();

    let long = format!("/{}", "x".repeat(256));
    let deep = "/y".repeat(600);
    for path in ["a", "", "/a/../b", "/a\nrm /b", "/a\r", "/a\0b", &long, &deep] {
        let error = scene.apply(&[write("/fine", ""), write(path, "")]).unwrap_err();
        assert!(matches!(error, PatchError::Name(_)), "{path:?}: {error}");
    }
    let link = Change::Symlink { path: "/a".into(), target: "x\ny".into() };
    assert!(matches!(scene.apply(&[link]), Err(PatchError::Name(_))));
    assert_eq!(scene.stat("/fine"), None);
    scene.check();
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let scene = Scene::new(16, &[], debian);
    let before = fs::read(scene.disk()).unwrap();
    let fine = write("/fine", "");
    let told = |change| told(&scene, &[fine.clone(), change]);
    insta::assert_snapshot!(told(write("/etc", "")), @"/etc is a folder");
    insta::assert_snapshot!(told(write("/lib/os-release/x", "")), @"/usr/lib/os-release is not a folder");
    let mkdir = Change::Mkdir { path: "/lib".into(), mode: 0o755, owner: (0, 0) };
    insta::assert_snapshot!(told(mkdir), @"/lib is not a folder");
    let mode = |path: &str| Change::Mode { path: path.into(), mode: 0 };
    insta::assert_snapshot!(told(mode("/lib")), @"/lib is a link, which has no mode");
    insta::assert_snapshot!(told(mode("/lib/no")), @"there is no /lib/no");
    insta::assert_snapshot!(told(remove("/")), @r#"cannot change or read "/": no such path is possible here"#);
    assert!(fs::read(scene.disk()).unwrap() == before);
}

#[test]
fn a_folder_without_end_is_refused() {
    let scene = Scene::new(16, &[], |tree| fs::create_dir_all(tree.join("a/b")).unwrap());
    scene.ask("ln /a/b /a/b/c");
    scene.ask("ln /a/b /a/b/d");
    let error = scene.apply(&[remove("/a")]).unwrap_err();
    insta::assert_snapshot!(error, @"the folder /a/b/c is in more than one place");
}

#[test]
fn a_full_file_system_is_told_of_and_stays_whole() {
    let scene = Scene::new(2, &["-b", "1024", "-O", "^has_journal"], |_| {});
    let noise: Vec<u8> = (1..3_000_000_u32).map(|n| (n % 251) as u8 + 1).collect();
    insta::assert_snapshot!(
        told(&scene, &[write("/a", "a"), write("/b/big", noise.clone()), write("/c", "c")]),
        @"the file system in DISK has no space left for /b/big"
    );
    assert_eq!(scene.stat("/b/big"), None);
    scene.apply(&[remove("/b"), write("/c", &noise[..100_000])]).unwrap();
    scene.check();

    let scene = Scene::new(2, &["-N", "16"], |_| {});
    let many: Vec<_> = (0..9).map(|n| write(&format!("/{n}"), "x")).collect();
    insta::assert_snapshot!(told(&scene, &many), @"the file system in DISK has no inodes left for /5");
    let folders = [Change::Mkdir { path: "/x".into(), mode: 0o700, owner: (0, 0) }];
    insta::assert_snapshot!(told(&scene, &folders), @"the file system in DISK has no inodes left for /x");
    insta::assert_snapshot!(told(&scene, &[write("/y/z", "")]), @"the file system in DISK has no inodes left for /y");
}

#[test]
fn other_names_of_a_file_keep_their_content() {
    let scene = Scene::new(16, &[], |tree| {
        fs::write(tree.join("a"), "old").unwrap();
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    });
    let mode = |path: &str, mode| Change::Mode { path: path.into(), mode };
    // Both are modes of one file: the last counts.
    scene.apply(&[mode("/b", 0o600), mode("/a", 0o640), mode("/b", 0o604)]).unwrap();
    assert_eq!(scene.stat("/a").unwrap().mode, 0o604);
    scene.ask("ea_set /a user.key value");
    scene.apply(&[write("/a", "new"), Change::Owner { path: "/b".into(), owner: (5, 6) }]).unwrap();
    scene.check();
    assert_eq!(
        (scene.read("/a").unwrap(), scene.read("/b").unwrap()),
        (b"new".into(), b"old".into())
    );
    assert_eq!(
        (scene.stat("/a").unwrap().owner, scene.stat("/b").unwrap().owner),
        ((0, 0), (5, 6))
    );
    scene.apply(&[remove("/b")]).unwrap();
    scene.check();
}

#[test]
fn attributes_in_a_block_go_with_their_file() {
    let scene = Scene::new(16, &[], |tree| {
        fs::write(tree.join("a"), "old").unwrap();
        fs::create_dir(tree.join("folder")).unwrap();
    });
    let value = scene.folder.path().join("value");
    fs::write(&value, [b'x'; 800]).unwrap();
    for path in ["/a", "/folder"] {
        scene.ask(&format!("ea_set -f {} {path} user.key", value.display()));
    }
    scene.check();
    scene.apply(&[write("/a", "new"), remove("/folder"), write("/new/file", "x")]).unwrap();
    scene.check();
    assert_eq!(scene.read("/a").unwrap(), b"new");
}

#[test]
fn a_large_folder_stays_sorted() {
    for flavour in [FLAVOURS[0], FLAVOURS[1], FLAVOURS[3], FLAVOURS[8]] {
        let scene = Scene::new(32, flavour, |tree| {
            fs::create_dir(tree.join("large")).unwrap();
            for n in 0..2000 {
                fs::write(tree.join(format!("large/file-{n}")), "").unwrap();
            }
        });
        // e2fsck makes the index.
        let e2fsck = Command::new(Tool::E2fsck).args(["-fyD"]).arg(scene.disk()).also_ok(1);
        scene.run(&e2fsck);
        let name = |n| format!("/large/{}-{n}", "n".repeat(60));
        let mut changes: Vec<_> = (0..300).map(|n| write(&name(n), n.to_string())).collect();
        changes.extend((0..100).map(|n| remove(&format!("/large/file-{n}"))));
        scene.apply(&changes).unwrap();
        scene.check();
        assert_eq!(scene.read(&name(299)).unwrap(), b"299");
        if flavour != FLAVOURS[INLINE] {
            let fs = ext4_view::Ext4::load_from_path(scene.disk()).unwrap();
            for n in 0..300 {
                assert_eq!(fs.read(&name(n)).unwrap(), n.to_string().as_bytes());
            }
            assert!(fs.exists("/large/file-1999").unwrap() && !fs.exists("/large/file-9").unwrap());
        }
    }
}

#[test]
fn large_files_and_holes_are_kept() {
    for flavour in [FLAVOURS[0], FLAVOURS[5], FLAVOURS[INLINE]] {
        let scene = Scene::new(64, flavour, |_| {});
        let mut content = vec![0; 40 << 20];
        content[12_345_678] = 7;
        content.extend(b"end");
        let solid: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
        scene.apply(&[write("/holes", content.clone()), write("/solid", solid.clone())]).unwrap();
        scene.check();
        assert!(scene.read("/solid").unwrap() == solid && scene.read("/holes").unwrap() == content);
        if flavour != FLAVOURS[INLINE] {
            // It does not read holes without extents.
            let fs = ext4_view::Ext4::load_from_path(scene.disk()).unwrap();
            assert!(fs.read("/solid").unwrap() == solid);
        }
    }
}

#[test]
fn a_journal_is_replayed_before_anything_else() {
    let scene = Scene::new(16, &["-b", "1024"], |tree| fs::write(tree.join("a"), "old").unwrap());
    let block = scene.ask("blocks /a").trim().to_owned();
    let new = scene.folder.path().join("new");
    fs::write(&new, [b"new".as_slice(), &[0; 1021]].concat()).unwrap();
    let script =
        format!("journal_open\njournal_write -b {block} {}\njournal_close\n", new.display());
    let debugfs = Command::new(Tool::Debugfs).args(["-w", "-f", "-"]).stdin(script);
    scene.run(&debugfs.arg(scene.disk()));
    insta::assert_snapshot!(
        scene.apply(&[]).unwrap_err().to_string().replace(scene.disk().to_str().unwrap(), "DISK"),
        @"the file system in DISK is not clean: its journal must be replayed first"
    );
    scene.recover().unwrap();
    assert_eq!(scene.read("/a").unwrap(), b"new");
    scene.apply(&[write("/b", "b")]).unwrap();
    scene.check();
    scene.ran.lock().unwrap().clear();
    scene.recover().unwrap();
    assert!(scene.ran.lock().unwrap().is_empty());
}

#[test]
fn a_change_that_is_killed_is_mended_and_made_again() {
    let noise: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8 + 1).collect();
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(12);
    let (mut interrupted, mut whole) = (0, Duration::from_millis(100));
    for case in 0..cases {
        let flavour = FLAVOURS[usize::try_from(case).unwrap() % 3];
        let mut scene = Scene::new(32, flavour, debian);
        let changes = [
            remove("/var"),
            write("/etc/os-release", "new"),
            write("/new/a", noise.as_slice()),
            write("/new/b", noise.as_slice()),
        ];
        let kill = Cancel::default();
        scene.kill = Some(kill.clone());
        let wait = whole * case / cases;
        let thread = std::thread::spawn(move || {
            std::thread::sleep(wait);
            kill.cancel();
        });
        if let Err(error) = scene.apply(&changes) {
            assert!(matches!(error, PatchError::Exec(ExecError::Cancelled { .. })), "{error}");
        }
        thread.join().unwrap();
        let scene = Scene::copy(&scene);
        interrupted += u32::from(matches!(scene.apply(&[]), Err(PatchError::Unclean(_))));
        scene.recover().unwrap();
        scene.check();
        // What was not to change is there.
        assert_eq!(scene.read("/usr/lib/os-release").unwrap(), b"ID=debian\n");
        let started = Instant::now();
        scene.apply(&changes).unwrap();
        whole = started.elapsed();
        scene.check();
        assert!(scene.read("/new/b").unwrap() == noise);
    }
    println!("{interrupted} of {cases} were interrupted");
}

#[test]
fn who_cancels_finds_a_clean_file_system() {
    let scene = Scene::empty();
    scene.cancel.cancel();
    let error = scene.apply(&[write("/a", "a")]).unwrap_err();
    assert!(matches!(error, PatchError::Exec(ExecError::Cancelled { .. })), "{error}");
    let scene = Scene::copy(&scene);
    scene.apply(&[write("/a", "a")]).unwrap();
    scene.check();
}

#[test]
fn what_cannot_be_changed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, cancel) = (folder.path().join("file"), Cancel::default());
    fs::write(&file, "no file system").unwrap();
    let scene = Scene::empty();
    let open = |path| Disk::open(&scene, path, &cancel).err().unwrap();
    assert!(matches!(open(&file), PatchError::NotExt4(_)));
    assert!(matches!(open(&folder.path().join("none")), PatchError::Io { .. }));

    let quota = Scene::new(16, &["-O", "quota"], |_| {});
    insta::assert_snapshot!(told(&quota, &[write("/a", "")]), @"the file system in DISK has features that debugfs does not keep right");

    let nobody = HostRunner::new(Tools::default());
    let disk = scene.disk();
    let error = Disk::open(&nobody, &disk, &cancel).unwrap().apply(&[write("/a", "")]).unwrap_err();
    assert!(matches!(error, PatchError::Exec(ExecError::NotInstalled(Tool::Debugfs))));

    // A root that is no folder is nothing that can be mended without asking.
    scene.ask("set_inode_field / mode 0100644");
    // As a kernel that met an error.
    scene.ask("set_super_value state 3");
    let error = scene.recover().unwrap_err();
    assert!(
        matches!(&error, PatchError::Damaged { words, .. } if words.contains("Root inode")),
        "{error}"
    );
    assert!(matches!(scene.recover(), Err(PatchError::Damaged { .. })));
}
