//! The tree that layers make when they are laid over each other, without their content.
//!
//! It is a small file system: names in folders lead to inodes, and a hard link is a second name. So
//! a name that is replaced leaves what others lead to as it was.

use std::collections::BTreeMap;

use super::clean::{PATH, parts};
use super::entries::{Entry, Meta, What};

/// Links that are followed on the way to a file; `filepath-securejoin` of umoci has the same limit.
const LINKS: u32 = 255;

/// Which inode.
pub(super) type Id = usize;
pub(super) const ROOT: Id = 0;

type Part = Box<[u8]>;

pub(super) struct Inode {
    pub meta: Meta,
    pub kind: Kind,
}

pub(super) enum Kind {
    Dir(Dir),
    /// Its content is that of an entry of a layer.
    File {
        size: u64,
        source: Source,
    },
    Symlink(Box<[u8]>),
    Fifo,
    Device,
}

pub(super) struct Dir {
    parent: Id,
    name: Part,
    pub children: BTreeMap<Part, Id>,
}

/// Where content is: the layer, and the entry in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub layer: usize,
    pub entry: usize,
}

pub(super) struct Tree {
    inodes: Vec<Inode>,
    limit: u64,
}

/// What does not fit into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It makes no sense.
    Entry(&'static str),
    /// There are too many.
    TooMany,
}

impl From<&'static str> for Misfit {
    fn from(reason: &'static str) -> Self {
        Self::Entry(reason)
    }
}

/// Where a path led.
enum Walk {
    Folder(Id),
    /// There is no folder of that name here; the last part comes first.
    Missing(Id, Part, Vec<Part>),
}

/// What a folder has that no layer describes, as with containerd.
fn implied() -> Meta {
    Meta { mode: 0o755, ..Meta::default() }
}

impl Tree {
    /// An empty root, for at most so many files and folders.
    pub(super) fn new(limit: u64) -> Self {
        let root = Dir { parent: ROOT, name: Part::default(), children: BTreeMap::new() };
        Self { inodes: vec![Inode { meta: implied(), kind: Kind::Dir(root) }], limit }
    }

    pub(super) fn inode(&self, id: Id) -> &Inode {
        &self.inodes[id]
    }

    fn child(&self, folder: Id, name: &[u8]) -> Option<Id> {
        match &self.inodes[folder].kind {
            Kind::Dir(dir) => dir.children.get(name).copied(),
            _ => None,
        }
    }

    fn dir(&mut self, id: Id) -> Option<&mut Dir> {
        match &mut self.inodes[id].kind {
            Kind::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// Adds what a layer has.
    pub(super) fn add(
        &mut self,
        path: &[&[u8]],
        entry: Entry,
        source: Source,
    ) -> Result<(), Misfit> {
        let Entry { what, meta, size, .. } = entry;
        let Some((name, folders)) = path.split_last() else {
            if what != What::Dir {
                return Err("the root is not a folder".into());
            }
            self.inodes[ROOT].meta = meta;
            return Ok(());
        };
        let kind = match what {
            What::Link(target) => {
                let id = self.find(&target)?.ok_or("it is a link to a file that is not there")?;
                if self.dir(id).is_some() {
                    return Err("it is a hard link to a folder".into());
                }
                let folder = self.make_folders(folders)?;
                return self.name(folder, name, id);
            }
            What::File => Kind::File { size, source },
            What::Symlink(target) if target.len() > PATH => {
                return Err("it leads to a path of more than 4095 bytes".into());
            }
            What::Symlink(target) if target.is_empty() => {
                return Err("it is a link to nothing".into());
            }
            What::Symlink(target) => Kind::Symlink(target.into()),
            What::Char(..) | What::Block(..) => Kind::Device,
            What::Fifo => Kind::Fifo,
            What::Dir => {
                let folder = self.make_folders(folders)?;
                let id = match self.child(folder, name) {
                    Some(id) if self.dir(id).is_some() => id,
                    _ => self.make_folder(folder, name)?,
                };
                self.inodes[id].meta = meta;
                return Ok(());
            }
        };
        let folder = self.make_folders(folders)?;
        let id = self.push(Inode { meta, kind })?;
        self.name(folder, name, id)
    }

    /// Takes away what lower layers have: the file or folder itself, or only what is in the folder.
    pub(super) fn remove(&mut self, path: &[&[u8]], only_content: bool) -> Result<(), Misfit> {
        let (name, folders) = match path.split_last() {
            Some((name, folders)) if !only_content => (Some(name), folders),
            _ => (None, path),
        };
        if let Walk::Folder(id) = self.walk(ROOT, reversed(folders))?
            && let Some(dir) = self.dir(id)
        {
            match name {
                Some(name) => drop(dir.children.remove(*name)),
                None => dir.children.clear(),
            }
        }
        Ok(())
    }

    /// Whether a path is there and no folder: a link at its end is not followed.
    pub(super) fn is_other(&self, path: &[&[u8]]) -> bool {
        let id = self.find(&path.join(&b'/'));
        id.is_ok_and(|id| id.is_some_and(|id| !matches!(self.inode(id).kind, Kind::Dir(_))))
    }

    /// Takes away all in a folder whose name begins as the last part of `path` does.
    pub(super) fn remove_all(&mut self, path: &[&[u8]]) -> Result<(), Misfit> {
        let Some((beginning, folders)) = path.split_last() else { return Ok(()) };
        if let Walk::Folder(id) = self.walk(ROOT, reversed(folders))?
            && let Some(dir) = self.dir(id)
        {
            dir.children.retain(|name, _| !name.starts_with(beginning));
        }
        Ok(())
    }

    /// What a path leads to: a link at its end is not followed.
    fn find(&self, path: &[u8]) -> Result<Option<Id>, &'static str> {
        let parts = parts(path)?;
        let Some((name, folders)) = parts.split_last() else { return Ok(Some(ROOT)) };
        match self.walk(ROOT, reversed(folders))? {
            Walk::Folder(id) => Ok(self.child(id, name)),
            Walk::Missing(..) => Ok(None),
        }
    }

    /// What a path leads to for a program: all links are followed.
    pub(super) fn follow(&self, path: &str) -> Option<Id> {
        let mut path = path.as_bytes().to_vec();
        for _ in 0..LINKS {
            let id = self.find(&path).ok()??;
            let Kind::Symlink(target) = &self.inodes[id].kind else { return Some(id) };
            let folder = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            path.truncate(if target.starts_with(b"/") { 0 } else { folder });
            path.extend_from_slice(target);
        }
        None
    }

    /// Follows a path, whose last part comes first, through folders and links to folders. As in a
    /// container, nothing leads out of the root.
    fn walk(&self, mut at: Id, mut rest: Vec<Part>) -> Result<Walk, &'static str> {
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let Kind::Dir(dir) = &self.inodes[at].kind else {
                return Ok(Walk::Missing(at, part, rest));
            };
            if *part == *b".." {
                at = dir.parent;
                continue;
            }
            match dir.children.get(&part).map(|id| (*id, &self.inodes[*id].kind)) {
                Some((id, Kind::Dir(_))) => at = id,
                Some((_, Kind::Symlink(target))) => {
                    links += 1;
                    if links > LINKS {
                        return Err("its path has links in a circle");
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    let parts = target.split(|byte| *byte == b'/');
                    let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
                    rest.extend(reversed(&parts.collect::<Vec<_>>()));
                }
                _ => return Ok(Walk::Missing(at, part, rest)),
            }
        }
        Ok(Walk::Folder(at))
    }

    /// The folder of a path. What is missing on the way is made, a file on the way is replaced, and
    /// a link is followed, so that `bin/x` of a layer does not replace a `bin` that is a link to
    /// `usr/bin`.
    fn make_folders(&mut self, path: &[&[u8]]) -> Result<Id, Misfit> {
        let (mut at, mut rest) = (ROOT, reversed(path));
        loop {
            match self.walk(at, rest)? {
                Walk::Folder(id) => return Ok(id),
                Walk::Missing(folder, name, left) => {
                    at = self.make_folder(folder, &name)?;
                    rest = left;
                }
            }
        }
    }

    fn make_folder(&mut self, parent: Id, name: &[u8]) -> Result<Id, Misfit> {
        let dir = Dir { parent, name: name.into(), children: BTreeMap::new() };
        let id = self.push(Inode { meta: implied(), kind: Kind::Dir(dir) })?;
        self.name(parent, name, id)?;
        Ok(id)
    }

    /// Gives an inode a name, and takes it from what had it.
    fn name(&mut self, folder: Id, name: &[u8], id: Id) -> Result<(), Misfit> {
        if self.path(folder, name).len() > PATH {
            return Err("its path has more than 4095 bytes".into());
        }
        if let Some(dir) = self.dir(folder) {
            dir.children.insert(name.into(), id);
        }
        Ok(())
    }

    fn push(&mut self, inode: Inode) -> Result<Id, Misfit> {
        if self.inodes.len() as u64 >= self.limit {
            return Err(Misfit::TooMany);
        }
        self.inodes.push(inode);
        Ok(self.inodes.len() - 1)
    }

    /// The path of a name in a folder, which begins with `./`; of the folder itself, with a slash
    /// at its end, if the name is empty.
    pub(super) fn path(&self, mut folder: Id, name: &[u8]) -> Vec<u8> {
        let mut parts = vec![name];
        while folder != ROOT
            && let Kind::Dir(dir) = &self.inodes[folder].kind
        {
            parts.push(&dir.name);
            folder = dir.parent;
        }
        parts.push(b".");
        parts.reverse();
        parts.join(&b'/')
    }
}

fn reversed(parts: &[&[u8]]) -> Vec<Part> {
    parts.iter().rev().map(|part| Part::from(*part)).collect()
}
