//! What the places that changes are about shall be in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::super::error::path as shown;
use super::super::read::{Kind, Known, Node, tree};
use super::super::walk::{Halt, Look, Need, Seen, Walk, join, parent, walk};
use super::{Change, PatchError};

/// Mode and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub mode: u32,
    pub owner: (u32, u32),
}

/// Those of folders that are made on the way.
const ON_THE_WAY: Attributes = Attributes { mode: 0o755, owner: (0, 0) };
/// Those of links, by whose mode nobody is bound.
const OF_LINKS: Attributes = Attributes { mode: 0o777, owner: (0, 0) };

/// What a place shall be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    Gone,
    /// What it is on the disk, but for its attributes.
    Kept(Attributes),
    /// A new folder; so are those that follow.
    Folder(Attributes),
    File(&'a [u8], Attributes),
    Link(&'a [u8], Attributes),
}

/// The end of a run of changes.
pub(super) struct Plan<'a> {
    known: &'a Known,
    /// What is on the disk and has to go.
    pub doomed: BTreeSet<Vec<u8>>,
    pub wants: BTreeMap<Vec<u8>, Want<'a>>,
}

impl<'a> Plan<'a> {
    /// The plan of as many of `changes` as fit into one, and how many those are.
    pub fn new(known: &'a Known, changes: &'a [Change]) -> Result<(Self, usize), Halt> {
        let mut plan = Self { known, doomed: BTreeSet::new(), wants: BTreeMap::new() };
        let (mut needs, mut count) = (Vec::new(), 0);
        for change in changes {
            match plan.add(change) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Halt::Need(more)) => needs.extend(more),
                // It may be right after a change that is not in the plan yet.
                Err(Halt::Failed(_)) if !needs.is_empty() => {}
                Err(halt) => return Err(halt),
            }
            count += 1;
        }
        if needs.is_empty() { Ok((plan, count)) } else { Err(Halt::Need(needs)) }
    }

    /// Whether the change fitted.
    fn add(&mut self, change: &'a Change) -> Result<bool, Halt> {
        match change {
            Change::Write { path, content, mode, owner } => {
                let place = self.vacate(path)?;
                let want = Want::File(content, Attributes { mode: *mode, owner: *owner });
                self.wants.insert(place, want);
            }
            Change::Symlink { path, target } => {
                let place = self.vacate(path)?;
                self.wants.insert(place, Want::Link(target.as_os_str().as_bytes(), OF_LINKS));
            }
            Change::Mkdir { path, mode, owner } => {
                let place = self.reach(path)?;
                let attributes = Attributes { mode: *mode, owner: *owner };
                match self.look(&place).map_err(need)? {
                    None => {
                        self.wants.insert(place, Want::Folder(attributes));
                    }
                    Some(Seen::Folder) => return self.set(place, |now| *now = attributes),
                    Some(_) => return Err(PatchError::NotAFolder(shown(&place)).into()),
                }
            }
            Change::Remove { path } => self.remove(path)?,
            Change::Mode { path, mode } => {
                let place = self.find(path)?;
                if let Some(Seen::Link(_)) = self.look(&place).map_err(need)? {
                    return Err(PatchError::Link(shown(&place)).into());
                }
                return self.set(place, |now| now.mode = *mode);
            }
            Change::Owner { path, owner } => {
                let place = self.find(path)?;
                return self.set(place, |now| now.owner = *owner);
            }
        }
        Ok(true)
    }

    /// What is at a place after the changes so far.
    fn look(&self, place: &[u8]) -> Look<'a> {
        match self.wants.get(place) {
            Some(Want::Gone) => return Ok(None),
            Some(Want::Folder(_)) => return Ok(Some(Seen::Folder)),
            Some(Want::File(..)) => return Ok(Some(Seen::Other)),
            Some(Want::Link(target, _)) => return Ok(Some(Seen::Link(target))),
            Some(Want::Kept(_)) => {}
            None => {
                let mut folder = place;
                while !folder.is_empty() {
                    folder = parent(folder).0;
                    if self.wants.get(folder).is_some_and(|want| !matches!(want, Want::Kept(_))) {
                        return Ok(None);
                    }
                }
            }
        }
        self.known.look(place)
    }

    fn walk(&self, path: &Path) -> Result<Walk, Halt> {
        walk(&|place| self.look(place), path, false)
    }

    /// The place of something that is there.
    fn find(&self, path: &Path) -> Result<Vec<u8>, Halt> {
        match self.walk(path)? {
            Walk::Found(place) => Ok(place),
            Walk::Missing { .. } => Err(PatchError::Missing(path.to_owned()).into()),
        }
    }

    /// The place of a path. The folders that it needs are there then.
    fn reach(&mut self, path: &Path) -> Result<Vec<u8>, Halt> {
        match self.walk(path)? {
            Walk::Found(place) => Ok(place),
            Walk::Missing { mut at, rest } => {
                for part in rest {
                    let next = join(&at, &part);
                    self.wants.insert(at, Want::Folder(ON_THE_WAY));
                    at = next;
                }
                Ok(at)
            }
        }
    }

    /// The place of a path, at which nothing is then.
    fn vacate(&mut self, path: &Path) -> Result<Vec<u8>, Halt> {
        let place = self.reach(path)?;
        match self.look(&place).map_err(need)? {
            Some(Seen::Folder) => return Err(PatchError::Folder(shown(&place)).into()),
            Some(_) if self.is_old(&place) => {
                self.doomed.insert(place.clone());
            }
            _ => {}
        }
        Ok(place)
    }

    /// Whether what is at a place, if anything, is on the disk and stays so far.
    fn is_old(&self, place: &[u8]) -> bool {
        matches!(self.wants.get(place), None | Some(Want::Kept(_)))
    }

    fn remove(&mut self, path: &Path) -> Result<(), Halt> {
        let place = match self.walk(path) {
            Ok(Walk::Found(place)) if place.is_empty() => {
                return Err(PatchError::Name(path.to_owned()).into());
            }
            Ok(Walk::Found(place)) => place,
            Ok(Walk::Missing { .. })
            | Err(Halt::Failed(PatchError::NotAFolder(_) | PatchError::Nowhere(_))) => {
                return Ok(());
            }
            Err(halt) => return Err(halt),
        };
        if self.is_old(&place) {
            match self.known.look(&place).map_err(need)? {
                Some(Seen::Folder) => tree(self.known, &place, &mut self.doomed)?,
                _ => {
                    self.doomed.insert(place.clone());
                }
            }
        }
        let inside = join(&place, b"");
        self.wants.retain(|other, _| !other.starts_with(&inside));
        self.wants.insert(place, Want::Gone);
        Ok(())
    }

    /// Sets attributes of what is at a place. Of the names of one file only one
    /// is in a plan: else the order would count.
    fn set(&mut self, place: Vec<u8>, set: impl FnOnce(&mut Attributes)) -> Result<bool, Halt> {
        if let Some(Want::Kept(now) | Want::Folder(now) | Want::File(_, now) | Want::Link(_, now)) =
            self.wants.get_mut(&place)
        {
            set(now);
            return Ok(true);
        }
        let Some(node) = self.known.node(&place).map_err(need)? else {
            return Err(PatchError::Missing(shown(&place)).into());
        };
        let has_names = |node: &Node| node.links > 1 && node.stat.kind != Kind::Folder;
        let mut kept = self.wants.iter().filter(|(_, want)| matches!(want, Want::Kept(_)));
        if has_names(node)
            && kept.any(|(place, _)| matches!(self.known.node(place), Ok(Some(n)) if has_names(n)))
        {
            return Ok(false);
        }
        let mut attributes = Attributes { mode: node.stat.mode, owner: node.stat.owner };
        set(&mut attributes);
        self.wants.insert(place, Want::Kept(attributes));
        Ok(true)
    }
}

fn need(need: Need) -> Halt {
    Halt::Need(vec![need])
}
