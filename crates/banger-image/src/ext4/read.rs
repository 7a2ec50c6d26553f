//! Reading what is in a file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_exec::{Cancel, Runner};

use super::debugfs::{Answer, Entry, Inode, Question};
use super::error::path as shown;
use super::recover::Super;
use super::walk::{Halt, Look, Need, Seen, Walk, join, walk};
use super::{Disk, PatchError};

pub(super) const FORMAT: u32 = 0o170_000;
pub(super) const FOLDER: u32 = 0o040_000;
pub(super) const FILE: u32 = 0o100_000;
pub(super) const LINK: u32 = 0o120_000;
/// The longest that a link's target can be (`PATH_MAX`).
const MAX_TARGET: u64 = 4096;

/// What something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// What it leads to.
        target: OsString,
    },
    /// A device, pipe or socket.
    Special,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// The ids of its user and group.
    pub owner: (u32, u32),
}

/// What is at a place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub stat: Stat,
    /// With the type.
    pub mode: u32,
    pub links: u32,
    size: u64,
    pub attribute_block: bool,
}

/// What was found at a place.
pub(super) struct Found {
    pub node: Option<Node>,
    /// Empty if it was not asked for.
    pub content: Vec<u8>,
}

/// What was read of a disk.
#[derive(Default)]
pub(super) struct Known {
    nodes: BTreeMap<Vec<u8>, Option<Node>>,
    lists: BTreeMap<Vec<u8>, Vec<Entry>>,
}

impl Known {
    pub fn node(&self, place: &[u8]) -> Result<Option<&Node>, Need> {
        let node = self.nodes.get(place).ok_or_else(|| Need::Node(place.to_owned()))?;
        Ok(node.as_ref())
    }

    fn list(&self, place: &[u8]) -> Result<&[Entry], Need> {
        let list = self.lists.get(place).ok_or_else(|| Need::List(place.to_owned()))?;
        Ok(list)
    }

    pub fn look(&self, place: &[u8]) -> Look<'_> {
        Ok(self.node(place)?.map(Node::seen))
    }
}

impl Node {
    pub fn seen(&self) -> Seen<'_> {
        match &self.stat.kind {
            Kind::Folder => Seen::Folder,
            Kind::Link { target } => Seen::Link(target.as_bytes()),
            Kind::File { .. } | Kind::Special => Seen::Other,
        }
    }

    /// The target of a link, if it is not in the inode, is the content.
    fn new(inode: &Inode, content: Option<&[u8]>) -> Self {
        let mode = inode.mode();
        let kind = match mode & FORMAT {
            FOLDER => Kind::Folder,
            FILE => Kind::File { size: inode.size() },
            LINK => {
                let target = inode.target().or(content).unwrap_or_default();
                Kind::Link { target: OsStr::from_bytes(target).to_owned() }
            }
            _ => Kind::Special,
        };
        let stat = Stat { kind, mode: mode & 0o7777, owner: inode.owner() };
        let attribute_block = inode.attribute_block();
        Self { stat, mode, links: inode.links(), size: inode.size(), attribute_block }
    }

    /// Whether it is a link without its target.
    fn is_cut(&self) -> bool {
        let empty = matches!(&self.stat.kind, Kind::Link { target } if target.is_empty());
        empty && self.size <= MAX_TARGET
    }
}

/// A folder for copies of files, which may be secrets.
pub(super) fn private() -> Result<tempfile::TempDir, PatchError> {
    let made = tempfile::Builder::new()
        .prefix("banger-ext4-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir();
    made.map_err(PatchError::io("make a folder in", &std::env::temp_dir()))
}

impl<'a> Disk<'a> {
    /// The ext4 file system in the file, or on the device, `path`. Nobody else
    /// may use it meanwhile, and what is asked of it by `cancel` ends early.
    ///
    /// # Errors
    /// It cannot be read, is no ext4, or is not clean: [`recover`](super::recover)
    /// it first.
    pub fn open(
        runner: &'a dyn Runner,
        path: &'a Path,
        cancel: &'a Cancel,
    ) -> Result<Self, PatchError> {
        Super::clean(path)?;
        Ok(Self { runner, path, cancel })
    }

    /// What is at `path`, whose last part is not followed if it is a link.
    ///
    /// # Errors
    /// The path is impossible, a link of it leads nowhere, or debugfs fails.
    pub fn stat(&self, path: &Path) -> Result<Option<Stat>, PatchError> {
        Ok(self.find(path, false)?.map(|(_, node)| node.stat))
    }

    /// The names in a folder, in order; none if there is nothing at `path`.
    ///
    /// # Errors
    /// As [`Disk::stat`]; or it is no folder.
    pub fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, PatchError> {
        let Some((place, node)) = self.find(path, true)? else { return Ok(None) };
        if node.stat.kind != Kind::Folder {
            return Err(PatchError::NotAFolder(shown(&place)));
        }
        let answers = self.ask(&[Question::List(place)])?;
        let entries = answers.into_iter().filter_map(|answer| match answer {
            Answer::List(entries) => Some(entries),
            _ => None,
        });
        let mut names: Vec<_> =
            entries.flatten().map(|entry| OsStr::from_bytes(&entry.name).to_owned()).collect();
        names.sort();
        Ok(Some(names))
    }

    /// The content of a file of at most `limit` bytes; none if there is nothing
    /// at `path`.
    ///
    /// # Errors
    /// As [`Disk::stat`]; or it is no file, or larger.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PatchError> {
        let Some((place, node)) = self.find(path, true)? else { return Ok(None) };
        match node.stat.kind {
            Kind::File { size } if size > limit => {
                Err(PatchError::TooLarge { path: shown(&place), limit })
            }
            Kind::File { size } => {
                let content = self.probe([(place, true)])?.pop().map(|found| found.content);
                match content.filter(|content| content.len() as u64 == size) {
                    Some(content) => Ok(Some(content)),
                    None => Err(self.unreadable("a file was not read to its end")),
                }
            }
            _ => Err(PatchError::NotAFile(shown(&place))),
        }
    }

    pub(super) fn find(
        &self,
        path: &Path,
        follow: bool,
    ) -> Result<Option<(Vec<u8>, Node)>, PatchError> {
        let mut known = Known::default();
        loop {
            let found = walk(&|place| known.look(place), path, follow).and_then(|end| match end {
                Walk::Missing { .. } => Ok(None),
                Walk::Found(place) => match known.node(&place) {
                    Ok(node) => Ok(node.map(|node| (place, node.clone()))),
                    Err(need) => Err(Halt::Need(vec![need])),
                },
            });
            match found {
                Ok(found) => return Ok(found),
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Need(needs)) => self.learn(&mut known, needs)?,
            }
        }
    }

    /// Reads what is needed, and the root: if that is not there, nothing is.
    pub(super) fn learn(&self, known: &mut Known, needs: Vec<Need>) -> Result<(), PatchError> {
        let needs: BTreeSet<_> = needs.into_iter().chain([Need::Node(Vec::new())]).collect();
        let question = |need| match need {
            Need::Node(place) => Question::Inode(place),
            Need::List(place) => Question::List(place),
        };
        let questions: Vec<_> = needs.into_iter().map(question).collect();
        let mut long = Vec::new();
        for (question, answer) in questions.iter().zip(self.ask(&questions)?) {
            match (question, answer) {
                (Question::Inode(place), Answer::Inode(inode)) => {
                    let node = inode.map(|inode| Node::new(&inode, None));
                    if node.as_ref().is_some_and(Node::is_cut) {
                        long.push((place.clone(), true));
                    }
                    known.nodes.insert(place.clone(), node);
                }
                (Question::List(place), Answer::List(entries)) => {
                    known.lists.insert(place.clone(), entries);
                }
                _ => {}
            }
        }
        for ((place, _), found) in long.clone().into_iter().zip(self.probe(long)?) {
            known.nodes.insert(place, found.node);
        }
        match known.nodes.get(b"".as_slice()) {
            Some(Some(_)) => Ok(()),
            _ => Err(self.unreadable("it has no root")),
        }
    }

    fn unreadable(&self, words: &str) -> PatchError {
        PatchError::Unreadable { disk: self.path.to_owned(), words: words.to_owned() }
    }

    /// Reads what is at places; where it is asked for, the content of the file
    /// or the target of the link, too.
    pub(super) fn probe(
        &self,
        places: impl IntoIterator<Item = (Vec<u8>, bool)>,
    ) -> Result<Vec<Found>, PatchError> {
        let folder = private()?;
        let mut questions = Vec::new();
        for (index, (place, whole)) in places.into_iter().enumerate() {
            questions.push(Question::Inode(place.clone()));
            if whole {
                questions.push(Question::Dump(place, folder.path().join(index.to_string())));
            }
        }
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.ask(&questions)?;
        let mut found = Vec::new();
        let mut questions = questions.into_iter().zip(answers).peekable();
        while let Some((_, answer)) = questions.next() {
            let Answer::Inode(inode) = answer else { continue };
            let dump = questions.next_if(|(question, _)| matches!(question, Question::Dump(..)));
            let content = match (dump, &inode) {
                (Some((Question::Dump(_, copy), _)), Some(inode)) => {
                    let read = fs::read(&copy).map_err(PatchError::io("read", &copy));
                    let mut content = read?;
                    // Of inline data, debugfs gives all that has room.
                    content.truncate(usize::try_from(inode.size()).unwrap_or(usize::MAX));
                    Some(content)
                }
                _ => None,
            };
            let node = inode.map(|inode| Node::new(&inode, content.as_deref()));
            found.push(Found { node, content: content.unwrap_or_default() });
        }
        Ok(found)
    }
}

/// All that is in a folder, however deep, and the folder itself.
pub(super) fn tree(known: &Known, place: &[u8], all: &mut BTreeSet<Vec<u8>>) -> Result<(), Halt> {
    let (mut needs, mut seen) = (Vec::new(), BTreeSet::new());
    let mut folders = vec![place.to_owned()];
    all.insert(place.to_owned());
    while let Some(folder) = folders.pop() {
        match known.list(&folder) {
            Err(need) => needs.push(need),
            Ok(list) => {
                for entry in list {
                    let inner = join(&folder, &entry.name);
                    needs.extend(known.node(&inner).err());
                    if entry.mode & FORMAT == FOLDER {
                        // The file system is a guest's, and may have no end.
                        if !seen.insert(entry.inode) {
                            return Err(PatchError::Twice(shown(&inner)).into());
                        }
                        folders.push(inner.clone());
                    }
                    all.insert(inner);
                }
            }
        }
    }
    if needs.is_empty() { Ok(()) } else { Err(Halt::Need(needs)) }
}
