//! Changes at random, against a model that is as simple as can be.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::read::tree;
use super::super::walk::{Halt, join};
use super::scene::{FLAVOURS, INLINE, Scene, write};
use super::*;

/// What is at a path, with its name's own content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Folder,
    File(Vec<u8>),
    Link(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    what: What,
    mode: u32,
    owner: (u32, u32),
}

type Tree = BTreeMap<Vec<u8>, Thing>;

/// A tree whose names may share things.
#[derive(Debug, Clone)]
struct Model {
    names: BTreeMap<Vec<u8>, usize>,
    things: Vec<Thing>,
}

struct Refused;

/// What one tree has and the other has not.
fn difference(one: &Tree, other: &Tree) -> Option<String> {
    let lacks = |one: &Tree, other: &Tree| {
        let thing = one.iter().find(|(place, thing)| other.get(*place) != Some(thing))?;
        Some((String::from_utf8_lossy(thing.0).into_owned(), thing.1.clone()))
    };
    let (one, other) = (lacks(one, other), lacks(other, one));
    (one != other).then(|| format!("{one:?} is not {other:?}"))
}

impl Model {
    fn tree(&self) -> Tree {
        self.names.iter().map(|(name, id)| (name.clone(), self.things[*id].clone())).collect()
    }

    fn set(&mut self, name: Vec<u8>, what: What, mode: u32, owner: (u32, u32)) {
        self.names.insert(name, self.things.len());
        self.things.push(Thing { what, mode, owner });
    }

    fn get(&self, name: &[u8]) -> Option<&Thing> {
        self.names.get(name).map(|id| &self.things[*id])
    }

    /// The folder to which `path` leads from `base`.
    fn folder(
        &mut self,
        base: &[u8],
        path: &[u8],
        make: bool,
        links: &mut u32,
    ) -> Result<Vec<u8>, Refused> {
        let mut at = if path.starts_with(b"/") { Vec::new() } else { base.to_vec() };
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            if part == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, part);
            match self.get(&next).map(|thing| thing.what.clone()) {
                None if make => self.set(next.clone(), What::Folder, 0o755, (0, 0)),
                None | Some(What::File(_)) => return Err(Refused),
                Some(What::Folder) => {}
                Some(What::Link(target)) => {
                    *links = links.checked_sub(1).ok_or(Refused)?;
                    at = self.folder(&at, &target, false, links)?;
                    continue;
                }
            }
            at = next;
        }
        Ok(at)
    }

    fn place(&mut self, path: &Path, make: bool) -> Result<Vec<u8>, Refused> {
        let path = path.as_os_str().as_bytes();
        let at = path.iter().rposition(|byte| *byte == b'/').unwrap();
        let folder = self.folder(b"", &path[..at], make, &mut 40)?;
        Ok(join(&folder, &path[at + 1..]))
    }

    fn is_folder(&self, place: &[u8]) -> bool {
        self.get(place).is_some_and(|thing| thing.what == What::Folder)
    }

    fn apply(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Write { path, content, mode, owner } => {
                let place = self.place(path, true)?;
                if self.is_folder(&place) {
                    return Err(Refused);
                }
                self.set(place, What::File(content.clone()), *mode, *owner);
            }
            Change::Symlink { path, target } => {
                let place = self.place(path, true)?;
                if self.is_folder(&place) {
                    return Err(Refused);
                }
                let target = target.as_os_str().as_bytes().to_vec();
                self.set(place, What::Link(target), 0o777, (0, 0));
            }
            Change::Mkdir { path, mode, owner } => {
                let place = self.place(path, true)?;
                match self.names.get(&place) {
                    None => self.set(place, What::Folder, *mode, *owner),
                    Some(id) if self.things[*id].what == What::Folder => {
                        self.things[*id] = Thing { what: What::Folder, mode: *mode, owner: *owner };
                    }
                    Some(_) => return Err(Refused),
                }
            }
            Change::Remove { path } => {
                if let Ok(place) = self.place(path, false) {
                    let inside = join(&place, b"");
                    self.names.retain(|name, _| *name != place && !name.starts_with(&inside));
                }
            }
            Change::Mode { path, mode } => {
                let place = self.place(path, false)?;
                let id = *self.names.get(&place).ok_or(Refused)?;
                if matches!(self.things[id].what, What::Link(_)) {
                    return Err(Refused);
                }
                self.things[id].mode = *mode;
            }
            Change::Owner { path, owner } => {
                let place = self.place(path, false)?;
                let id = *self.names.get(&place).ok_or(Refused)?;
                self.things[id].owner = *owner;
            }
        }
        Ok(())
    }
}

/// The whole tree as debugfs tells it.
fn by_debugfs(scene: &Scene) -> Tree {
    let path = scene.disk();
    let disk = Disk::open(scene, &path, &scene.cancel).unwrap();
    let mut known = Known::default();
    let places = loop {
        let mut places = Default::default();
        match tree(&known, b"", &mut places) {
            Ok(()) => break places,
            Err(Halt::Need(needs)) => disk.learn(&mut known, needs).unwrap(),
            Err(Halt::Failed(error)) => panic!("{error}"),
        }
    };
    let nodes = places.iter().map(|place| known.node(place).ok().flatten().unwrap());
    let is_file = |node: &Node| matches!(node.stat.kind, Kind::File { .. });
    let wanted = places.iter().cloned().zip(nodes.clone().map(is_file));
    let found = disk.probe(wanted).unwrap();
    let things = places.iter().zip(nodes).zip(found).map(|((place, node), found)| {
        let Stat { kind, mode, owner } = node.stat.clone();
        let what = match kind {
            Kind::Folder => What::Folder,
            Kind::File { .. } => What::File(found.content),
            Kind::Link { target } => What::Link(target.as_bytes().to_vec()),
            Kind::Special => panic!("a special file"),
        };
        (place.clone(), Thing { what, mode, owner })
    });
    things.collect()
}

/// The whole tree as somebody else reads it.
fn by_ext4_view(scene: &Scene) -> Tree {
    let fs = ext4_view::Ext4::load_from_path(scene.disk()).unwrap();
    let (mut found, mut places) = (Tree::new(), vec![Vec::new()]);
    while let Some(place) = places.pop() {
        let path = if place.is_empty() { b"/".as_slice() } else { &place };
        let metadata = fs.symlink_metadata(path).unwrap();
        let what = if metadata.is_dir() {
            for entry in fs.read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name();
                let name: &[u8] = name.as_ref();
                if name != b"." && name != b".." {
                    places.push(join(&place, name));
                }
            }
            What::Folder
        } else if metadata.is_symlink() {
            What::Link(fs.read_link(path).unwrap().as_ref().to_vec())
        } else {
            What::File(fs.read(path).unwrap())
        };
        let (mode, owner) = (metadata.mode().into(), (metadata.uid(), metadata.gid()));
        found.insert(place, Thing { what, mode, owner });
    }
    found
}

/// What every case starts from, in each flavour.
static STARTS: LazyLock<Vec<(Scene, Model)>> = LazyLock::new(|| {
    let start = |(index, flavour): (usize, &&[&str])| {
        let scene = Scene::new(16, flavour, |tree| {
            std::fs::create_dir_all(tree.join("a/b")).unwrap();
            std::fs::write(tree.join("a/c d"), "file").unwrap();
            std::fs::hard_link(tree.join("a/c d"), tree.join("<2>")).unwrap();
            for (link, target) in
                [("-w", "a/b"), ("é\"", "/-w/../c d"), ("a/loop", "/a/loop"), ("a/-w", "none")]
            {
                std::os::unix::fs::symlink(target, tree.join(link)).unwrap();
            }
            std::fs::create_dir(tree.join("large")).unwrap();
            for n in 0..40 {
                std::fs::write(tree.join(format!("large/{n}-{}", "x".repeat(200))), "").unwrap();
            }
        });
        scene.check();
        let tree = by_debugfs(&scene);
        if index != INLINE {
            assert_eq!(difference(&tree, &by_ext4_view(&scene)), None, "{flavour:?}");
        }
        let (names, things): (Vec<_>, Vec<_>) = tree.into_iter().unzip();
        let mut names: BTreeMap<_, _> =
            names.into_iter().enumerate().map(|(id, name)| (name, id)).collect();
        // These two are one file.
        let id = names[b"/<2>".as_slice()];
        names.insert(b"/a/c d".to_vec(), id);
        (scene, Model { names, things })
    };
    FLAVOURS.iter().enumerate().map(start).collect()
});

fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["a", "b", "c d", "<2>", "-w", "é\"", "loop", "large"]);
    prop::collection::vec(name, 1..4).prop_map(|parts| format!("/{}", parts.join("/")).into())
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..200),
        2 => (any::<u8>(), 0..40_000_usize).prop_map(|(byte, size)| vec![byte; size]),
        1 => (0..300_000_usize).prop_map(|size| (0..size).map(|n| (n / 1000 % 3) as u8).collect()),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let mode = || 0..0o10_000_u32;
    let owner = || prop_oneof![Just((0, 0)), any::<(u32, u32)>()];
    let target = prop_oneof![
        3 => path(),
        1 => prop::sample::select(vec!["b", "../b", "..", "a/../../-w", ".", "<2>"]).prop_map(PathBuf::from),
        1 => (20..200_usize).prop_map(|size| "t/".repeat(size).into()),
    ];
    prop_oneof![
        4 => (path(), content(), mode(), owner())
            .prop_map(|(path, content, mode, owner)| Change::Write { path, content, mode, owner }),
        2 => (path(), mode(), owner())
            .prop_map(|(path, mode, owner)| Change::Mkdir { path, mode, owner }),
        2 => (path(), target).prop_map(|(path, target)| Change::Symlink { path, target }),
        2 => path().prop_map(|path| Change::Remove { path }),
        1 => (path(), mode()).prop_map(|(path, mode)| Change::Mode { path, mode }),
        1 => (path(), owner()).prop_map(|(path, owner)| Change::Owner { path, owner }),
        1 => (0..40_u32).prop_map(|n| write(&format!("/large/{n}-{}", "y".repeat(200)), "y")),
    ]
}

/// As many as `PROPTEST_CASES` says, else few.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn any_changes_do_what_they_say(
        flavour in 0..FLAVOURS.len(),
        batches in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..5),
    ) {
        let (start, model) = &STARTS[flavour];
        let (scene, mut model) = (Scene::copy(start), model.clone());
        for batch in batches {
            let mut after = vec![model.clone()];
            let refused = batch.iter().any(|change| {
                let mut next = after[after.len() - 1].clone();
                let refused = next.apply(change).is_err();
                if !refused {
                    after.push(next);
                }
                refused
            });
            let result = scene.apply(&batch);
            prop_assert_eq!(result.is_err(), refused, "{:?}", result);
            prop_assert!(!matches!(result, Err(PatchError::Wrong { .. })), "{:?}", result);
            scene.check();
            let now = by_debugfs(&scene);
            if flavour != INLINE {
                prop_assert_eq!(difference(&now, &by_ext4_view(&scene)), None);
            }
            // Of what is refused, all that comes before may be done, or nothing.
            let last = after[after.len() - 1].tree();
            let found = after.into_iter().rev().find(|model| model.tree() == now);
            prop_assert!(found.is_some(), "{:?}", difference(&last, &now));
            model = found.unwrap();
            if refused {
                continue;
            }
            prop_assert!(scene.apply(&batch).is_ok() || batch.len() > 1);
            scene.check();
            model = match by_debugfs(&scene) {
                twice if twice == now => model,
                // A change may undo one before it; then twice is another thing.
                _ if batch.len() > 1 => break,
                _ => return Err(TestCaseError::fail("twice is not once")),
            };
        }
    }

    #[test]
    fn a_full_disk_is_told_of_and_stays_whole(
        flavour in prop::sample::select(vec![3, 4, 1, INLINE]),
        inodes in 30..60_u32,
        batches in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..5),
        size in 60_000..900_000_usize,
    ) {
        let inodes = inodes.to_string();
        let flavour = [FLAVOURS[flavour], &["-N", &inodes]].concat();
        let scene = Scene::new(3, &flavour, |_| {});
        let noise: Vec<u8> = (0..size).map(|n| (n % 251) as u8 + 1).collect();
        for (n, batch) in batches.iter().enumerate() {
            let filling = write(&format!("/filling{n}/x"), noise.clone());
            for changes in [std::slice::from_ref(&filling), batch] {
                match scene.apply(changes) {
                    Err(error @ PatchError::Wrong { .. }) => prop_assert!(false, "{}", error),
                    Ok(()) | Err(_) => scene.check(),
                }
            }
        }
    }
}
