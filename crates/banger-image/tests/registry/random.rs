//! Layers at random, as umoci unpacks them.

use banger_image::oci::{Limits, Root};

use crate::testing::{Item, dir, file, link, symlink};
use crate::tools::Layout;
use crate::tree::{Tree, unpack};

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const FOLDERS: [&str; 12] =
    ["a", "a/b", "b", "l", "m", "n", "l/b", "a/d", "b/d", "n/up", "new/x", "m/../a"];
const NAMES: [&str; 5] = ["f", "g", "d", "b", "up"];
const TARGETS: [&str; 8] = ["a", "b", "../a", "/b", "a/b", "..", "l", "/m/../b"];

/// Files, folders and links, also to folders, that the next layers change.
fn base() -> Vec<Item> {
    vec![
        dir("a"),
        dir("a/b"),
        dir("b"),
        file("a/f", "1"),
        file("b/f", "2"),
        file("a/b/f", "3"),
        link("b/g", "a/f"),
        symlink("l", "a"),
        symlink("m", "../b"),
        symlink("n", "/a/b"),
        symlink("a/b/up", "../../b/."),
    ]
}

/// A layer, its whiteouts first: by the specification their place does not matter, but for umoci
/// it does where the same layer has something below what is taken away.
fn changes(dice: &mut Dice) -> Vec<Item> {
    let (mut gone, mut items) = (Vec::new(), Vec::new());
    for index in 0..dice.roll(9) {
        let (folder, name) = (dice.pick(&FOLDERS), dice.pick(&NAMES));
        let path = format!("{folder}/{name}");
        match dice.roll(12) {
            0..=2 => items.push(file(&path, index.to_string()).owner(index as u64, 7)),
            3..=4 => items.push(dir(&path).mode(0o700 + index as u32)),
            5 => items.push(symlink(&path, dice.pick(&TARGETS))),
            6 => items.push(link(&path, dice.pick(&["a/f", "b/f", "l/f", "n/f", "m/g", "l"]))),
            7 => items.push(symlink(dice.pick(&["l", "m", "n", "q"]), dice.pick(&TARGETS))),
            8..=9 => gone.push(file(&format!("{folder}/.wh.{name}"), "")),
            10 => gone.push(file(&format!("{folder}/.wh..wh..opq"), "")),
            _ => gone.push(file(&format!(".wh.{}", dice.pick(&["a", "b", "l", "new"])), "")),
        }
    }
    gone.append(&mut items);
    gone
}

#[test]
fn layers_at_random_unpack_to_what_umoci_unpacks_them_to() {
    let mut same = 0;
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let layout = Layout::new(&[base(), changes(&mut dice), changes(&mut dice)]);
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let root = Root::read(&layout.import().layers, &Limits::default(), &Default::default());
        match (root, layout.unpack(&theirs)) {
            (Ok(root), Ok(())) => {
                let mut tar = Vec::new();
                root.write(&mut tar, &Default::default()).unwrap();
                unpack(&tar, &ours);
                // What time a folder has that no layer describes is anybody's choice.
                Tree::of(&ours, false).assert_same(&Tree::of(&theirs, false));
                same += 1;
            }
            (Err(_), Err(_)) => {}
            // A file that is used as a folder is one from then on, as with Docker on overlayfs; and
            // the target of a hard link may be in a folder that the link replaces.
            (Ok(_), Err(error)) if error.contains("not a directory") => {}
            (Ok(_), Err(error)) if error.contains("link: ") && error.contains("no such file") => {}
            (root, unpacked) => panic!("seed {seed}: {:?} {unpacked:?}", root.map(drop)),
        }
    }
    assert!(same >= 15, "only {same}");
}
