use std::collections::BTreeMap;

use super::super::testing::{Item, device, dir, file, layer, link, symlink};
use super::*;

mod model;

/// Layers in files.
struct Stack {
    dir: tempfile::TempDir,
    layers: Vec<Layer>,
}

fn stack(layers: &[Vec<u8>]) -> Stack {
    let dir = tempfile::tempdir().unwrap();
    let layers = layers.iter().enumerate().map(|(number, bytes)| {
        let path = dir.path().join(number.to_string());
        std::fs::write(&path, bytes).unwrap();
        let digest = Digest::of(bytes);
        Layer { path, media_type: String::new(), digest, size: bytes.len() as u64, diff_id: digest }
    });
    Stack { layers: layers.collect(), dir }
}

fn read(stack: &Stack) -> Result<Root, FlattenError> {
    Root::read(&stack.layers, &Limits::default(), &Cancel::default())
}

fn write(root: &Root) -> Vec<u8> {
    let mut out = Vec::new();
    root.write(&mut out, &Cancel::default()).unwrap();
    out
}

/// What an independent reader sees in the tar file: `KIND MODE UID:GID PATH …`.
fn list(bytes: &[u8]) -> String {
    let mut archive = tar::Archive::new(bytes);
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        let mut line = format!(
            "{} {:o} {}:{} {}",
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            String::from_utf8_lossy(&entry.path_bytes()),
        );
        if let Some(target) = entry.link_name_bytes().filter(|target| !target.is_empty()) {
            line += &format!(" -> {}", String::from_utf8_lossy(&target));
        }
        if let Ok(Some(records)) = entry.pax_extensions() {
            for record in records {
                let record = record.unwrap();
                line += &format!(" {}={}", record.key().unwrap(), record.value().unwrap());
            }
        }
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        lines.push(if content.is_empty() { line } else { format!("{line} '{content}'") });
    }
    lines.join("\n")
}

fn merged(layers: &[&[Item]]) -> String {
    let layers: Vec<_> = layers.iter().map(|items| layer(items)).collect();
    list(&write(&read(&stack(&layers)).unwrap()))
}

/// The paths alone, without the root, sorted.
fn paths(layers: &[&[Item]]) -> String {
    let text = merged(layers);
    let path = |line: &str| line.split(' ').nth(3).unwrap().trim_start_matches("./").to_owned();
    let mut paths: Vec<_> = text.lines().skip(1).map(path).collect();
    paths.sort();
    paths.join(" ")
}

fn refused(items: &[Item]) -> String {
    let error = read(&stack(&[layer(items)])).map(drop).unwrap_err().to_string();
    error.replace(&Digest::of(&layer(items)).to_string(), "DIGEST")
}

#[test]
fn everything_that_a_layer_can_say_is_kept() {
    let long = format!("long/{}", "n".repeat(150));
    let text = merged(&[
        &[dir("./").mode(0o700), dir("tmp").mode(0o1777), dir("long")],
        &[
            file("bin/su", "su").mode(0o4755).owner(0, 42).xattr("security.capability", "cap"),
            file(&long, "x").owner(3_000_000, 4_000_000_000).record("mtime", "5.25"),
            link("bin/su2", "/bin/su"),
            link("a-su", "bin/../bin/su"),
            symlink("link", &"t/".repeat(80)),
            link("link2", "link"),
            device("null", b'3', 1, 3),
            device("pipe", b'6', 0, 0).mode(0o622),
        ],
    ]);
    let text = text.replace(&"n".repeat(150), "NAME").replace(&"t/".repeat(80), "TARGET");
    insta::assert_snapshot!(text, @"
    5 700 0:0 ./
    5 755 0:0 ./bin/
    5 755 0:0 ./long/
    5 1777 0:0 ./tmp/
    0 4755 0:42 ./a-su SCHILY.xattr.security.capability=cap 'su'
    1 4755 0:42 ./bin/su -> ./a-su
    1 4755 0:42 ./bin/su2 -> ./a-su
    0 644 3000000:4000000000 ./long/NAME path=./long/NAME mtime=5.25 'x'
    2 777 0:0 ./link -> TARGET linkpath=TARGET
    1 777 0:0 ./link2 -> ./link
    6 622 0:0 ./pipe
    ");
}

#[test]
fn a_folder_in_the_place_of_a_link_leaves_what_that_led_to() {
    let base = [dir("opt"), dir("opt/v1"), file("opt/v1/x", "1"), symlink("opt/current", "v1")];
    let opaque = || file("opt/current/.wh..wh..opq", "");
    let folder = || dir("opt/current");
    for upper in [vec![folder(), opaque()], vec![opaque(), folder()]] {
        assert_eq!(paths(&[&base, &upper]), "opt/ opt/current/ opt/v1/ opt/v1/x");
    }
    let gone = [folder(), file("opt/current/.wh.x", "")];
    assert_eq!(paths(&[&base, &gone]), "opt/ opt/current/ opt/v1/ opt/v1/x");
    // Without the folder, the link stays and is followed.
    assert_eq!(paths(&[&base, &[opaque()]]), "opt/ opt/current opt/v1/");
}

#[test]
fn what_is_left_out_goes_by_its_name_alone() {
    let items = [
        file("tmp/a", "A"),
        link("usr/a", "tmp/a"),
        symlink("run", "usr"),
        file("etc/ssh/ssh_host_rsa_key", ""),
        file("etc/ssh/sshd_config", ""),
    ];
    let stack = stack(&[layer(&items)]);
    let mut root = read(&stack).unwrap();
    root.leave_out(&["tmp", "run", "none"], &["etc/ssh/ssh_host_", "none/x"]).unwrap();
    insta::assert_snapshot!(list(&write(&root)), @"
    5 755 0:0 ./
    5 755 0:0 ./etc/
    5 755 0:0 ./etc/ssh/
    5 755 0:0 ./tmp/
    5 755 0:0 ./usr/
    0 644 0:0 ./usr/a 'A'
    0 644 0:0 ./etc/ssh/sshd_config
    2 777 0:0 ./run -> usr
    ");
}

#[test]
fn whiteouts_take_away_what_is_below_them_and_nothing_else() {
    let base = [
        dir("d").mode(0o711),
        file("d/a", "1"),
        file("d/b", "1"),
        dir("d/e"),
        file("d/e/f", "1"),
        file("x", "1"),
    ];
    let on_base = |items: &[Item]| paths(&[&base, items]);
    let opaque = || file("d/.wh..wh..opq", "");
    assert_eq!(on_base(&[]), "d/ d/a d/b d/e/ d/e/f x");
    for (items, expected) in [
        (vec![file("d/.wh.a", "")], "d/ d/b d/e/ d/e/f x"),
        (vec![file(".wh.d", "")], "x"),
        (vec![file("d/e/.wh.f", "")], "d/ d/a d/b d/e/ x"),
        (vec![opaque()], "d/ x"),
        (vec![file(".wh..wh..opq", "")], ""),
        // Wherever in the layer they are.
        (vec![file("d/n", "2"), opaque()], "d/ d/n x"),
        (vec![opaque(), file("d/n", "2")], "d/ d/n x"),
        (vec![file("d/a", "2"), file("d/.wh.a", "")], "d/ d/a d/b d/e/ d/e/f x"),
        (vec![file(".wh.d", ""), dir("d")], "d/ x"),
        (vec![dir("d"), file(".wh.d", "")], "d/ x"),
        (vec![file(".wh.x", ""), dir("x")], "d/ d/a d/b d/e/ d/e/f x/"),
        // What is not there.
        (
            vec![file(".wh.none", ""), file("none/.wh.x", ""), file("x/.wh.y", "")],
            "d/ d/a d/b d/e/ d/e/f x",
        ),
        (vec![file(".wh..wh.plnk/1.2", ""), file(".wh..wh.aufs", "")], "d/ d/a d/b d/e/ d/e/f x"),
    ] {
        assert_eq!(on_base(&items), expected, "{items:?}");
    }
    // A whiteout is of no use to the layer above.
    assert_eq!(paths(&[&base, &[file(".wh.x", "")], &[file("x", "3")]]), "d/ d/a d/b d/e/ d/e/f x");
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let base = [dir("d").mode(0o711), file("d/a", "1"), file("f", "1"), symlink("s", "d")];
    for (items, expected) in [
        (vec![dir("d").mode(0o700)], "d/ d/a f s"),
        (vec![file("d", "2")], "d f s"),
        (vec![symlink("d", "f")], "d f s"),
        (vec![dir("f")], "d/ d/a f/ s"),
        (vec![file("f/x", "2")], "d/ d/a f/ f/x s"),
        (vec![dir("s"), file("s/x", "2")], "d/ d/a f s/ s/x"),
        (vec![file("d", "2"), dir("d")], "d/ f s"),
    ] {
        assert_eq!(paths(&[&base, &items]), expected, "{items:?}");
    }
    let text =
        merged(&[&base, &[dir("d").mode(0o700).owner(7, 8), file("f", "22"), file("f", "33")]]);
    insta::assert_snapshot!(text, @"
    5 755 0:0 ./
    5 700 7:8 ./d/
    0 644 0:0 ./d/a '1'
    0 644 0:0 ./f '33'
    2 777 0:0 ./s -> d
    ");
}

#[test]
fn the_other_name_keeps_what_the_first_one_lost() {
    let base = [file("a", "old").mode(0o4755), link("b", "a")];
    insta::assert_snapshot!(merged(&[&base, &[file("a", "new")], &[link("c", "b")], &[file(".wh.b", "")]]), @"
    5 755 0:0 ./
    0 4755 0:0 ./c 'old'
    0 644 0:0 ./a 'new'
    ");
}

#[test]
fn a_link_in_a_path_is_followed_inside_the_root() {
    let base = [
        dir("usr"),
        dir("usr/bin"),
        symlink("bin", "usr/bin"),
        symlink("out", "../../etc"),
        symlink("abs", "/usr"),
        symlink("usr/up", "../../../usr/./bin/"),
    ];
    for (path, expected) in [
        ("bin/x", "usr/bin/x"),
        ("out/x", "etc/x"),
        ("abs/bin/x", "usr/bin/x"),
        ("usr/up/x", "usr/bin/x"),
    ] {
        let text = paths(&[&base, &[file(path, "x")]]);
        assert!(text.split(' ').any(|found| found == expected), "{path}: {text}");
        assert!(text.contains("bin out") || text.contains("bin etc/"), "{text}");
        // So it is for whiteouts and the targets of hard links.
        let (folder, _) = path.rsplit_once('/').unwrap();
        let gone = paths(&[&base, &[file(expected, "x")], &[file(&format!("{folder}/.wh.x"), "")]]);
        assert!(!gone.contains('x'), "{gone}");
        let linked = merged(&[&base, &[file(expected, "x")], &[link("new", path)]]);
        assert!(linked.contains(&format!("./{expected} -> ./new")), "{linked}");
    }
}

#[test]
fn nothing_leads_out_of_the_root() {
    let items = [
        file("/etc/a", "1"),
        file("../../b", "1"),
        file("c/../../../d", "1"),
        symlink("e", "../../x"),
    ];
    assert_eq!(paths(&[&items]), "b d e etc/ etc/a");
}

#[test]
fn what_cannot_be_is_refused_with_its_name() {
    insta::assert_snapshot!(refused(&[link("a", "none")]), @"the layer DIGEST has an entry 'a' that cannot be: it is a link to a file that is not there");
    insta::assert_snapshot!(refused(&[dir("d"), link("a", "d")]), @"the layer DIGEST has an entry 'a' that cannot be: it is a hard link to a folder");
    insta::assert_snapshot!(refused(&[symlink("a", "b"), symlink("b", "a"), file("a/x", "")]), @"the layer DIGEST has an entry 'a/x' that cannot be: its path has links in a circle");
    insta::assert_snapshot!(refused(&[file("./", "")]), @"the layer DIGEST has an entry './' that cannot be: the root is not a folder");
    insta::assert_snapshot!(refused(&[file(".wh.", "")]), @"the layer DIGEST has an entry '.wh.' that cannot be: it is a whiteout of nothing");
    let deep = "d/".repeat(1500);
    insta::assert_snapshot!(refused(&[dir(&deep), symlink("s", &deep), file(&format!("s/{deep}x"), "")]).replace("d/", ""), @"the layer DIGEST has an entry 's/' that cannot be: its path has more than 4095 bytes");
}

#[test]
fn a_small_layer_that_unpacks_to_much_is_refused() {
    let zeros = layer(&[file("zeros", vec![0; 8 << 20])]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&zeros).unwrap();
    let mut bomb = stack(&[encoder.finish().unwrap()]);
    assert!(bomb.layers[0].size < 20_000);
    bomb.layers[0].diff_id = Digest::of(&zeros);
    let error = |limits: &Limits| {
        Root::read(&bomb.layers, limits, &Cancel::default()).map(drop).unwrap_err().to_string()
    };
    let limits = Limits { bytes: 1 << 20, entries: 10, names: 100 };
    insta::assert_snapshot!(error(&limits), @"the image has more than 1048576 bytes: it is damaged or malicious, or the limit is too low");
    insta::assert_snapshot!(error(&Limits { bytes: 9 << 20, entries: 0, ..limits }), @"the image has more than 0 entries: it is damaged or malicious, or the limit is too low");
    insta::assert_snapshot!(error(&Limits { bytes: 9 << 20, names: 4, ..limits }), @"the image has more than 4 bytes of names: it is damaged or malicious, or the limit is too low");
    let root = Root::read(&bomb.layers, &Limits { bytes: 9 << 20, ..limits }, &Cancel::default());
    assert_eq!(root.unwrap().bytes(), zeros.len() as u64);
    // Folders that nobody described count, too: a path can have two thousand.
    let deep = stack(&[layer(&[file(&"d/".repeat(1500), "")])]);
    let error =
        Root::read(&deep.layers, &Limits { entries: 100, ..Limits::default() }, &Cancel::default());
    assert!(matches!(error, Err(FlattenError::TooLarge { limit: 100, what: "entries" })));
}

#[test]
fn a_layer_is_what_the_configuration_says() {
    let mut stack = stack(&[layer(&[file("a", "1")])]);
    stack.layers[0].diff_id = Digest::of(b"other");
    assert!(matches!(read(&stack), Err(FlattenError::DiffId { .. })));
    std::fs::write(stack.dir.path().join("0"), "no tar file").unwrap();
    assert!(matches!(read(&stack), Err(FlattenError::Read { .. })));
}

#[test]
fn a_layer_that_changes_in_between_and_a_cancel_are_noticed() {
    let stack = stack(&[layer(&[file("a", "1"), file("b", "2")])]);
    let root = read(&stack).unwrap();
    let cancel = Cancel::default();
    std::fs::write(&stack.layers[0].path, layer(&[file("a", "1"), file("b", "22")])).unwrap();
    let error = root.write(&mut Vec::new(), &cancel).unwrap_err();
    assert!(matches!(error, FlattenError::Read { .. }), "{error}");
    cancel.cancel();
    assert!(matches!(root.write(&mut Vec::new(), &cancel), Err(FlattenError::Cancelled)));
    let read = Root::read(&stack.layers, &Limits::default(), &cancel);
    assert!(matches!(read, Err(FlattenError::Cancelled)));
}
