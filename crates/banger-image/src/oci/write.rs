//! Writing a tree as a tar file (pax(1), "ustar Interchange Format" and "pax Interchange Format").

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use banger_exec::Cancel;
use tar::{EntryType, Header};

use super::compress;
use super::entries::{Meta, Reader, What};
use super::flatten::FlattenError;
use super::tree::{Id, Kind, ROOT, Source, Tree};

/// What the field for a name in a header takes.
const NAME: usize = 100;

/// Writes a tree, with the content that its files have in `layers`.
pub(super) fn write(
    tree: &Tree,
    layers: &[PathBuf],
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), FlattenError> {
    let mut writer = Writer { tree, out, buffer: vec![0; 64 << 10] };
    let plan = writer.folders().map_err(FlattenError::Write)?;
    for (number, path) in layers.iter().enumerate() {
        let wanted = |entry| Source { layer: number, entry };
        let Some((last, _)) = plan.files.range(wanted(0)..=wanted(usize::MAX)).next_back() else {
            continue;
        };
        let failed = FlattenError::read(path);
        let mut reader = Reader::new(compress::open(path, cancel).map_err(&failed)?);
        for index in 0..=last.entry {
            let entry = reader.next().map_err(&failed)?;
            let Some(id) = plan.files.get(&wanted(index)) else { continue };
            let expected = match tree.inode(*id).kind {
                Kind::File { size, .. } => Some((What::File, size)),
                _ => None,
            };
            if entry.map(|entry| (entry.what, entry.size)) != expected {
                return Err(failed(io::Error::other("it changed while it was read")));
            }
            writer.file(*id, &plan.names[id], &mut reader, &failed)?;
        }
    }
    writer.others(&plan).map_err(FlattenError::Write)
}

struct Writer<'a> {
    tree: &'a Tree,
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

/// What is written after the folders.
#[derive(Default)]
struct Plan<'a> {
    /// The names of everything but folders, each a folder and a name in it.
    names: BTreeMap<Id, Vec<(Id, &'a [u8])>>,
    files: BTreeMap<Source, Id>,
    /// Everything else, in the order of the paths.
    others: Vec<Id>,
}

impl<'a> Writer<'a> {
    /// Writes the folders, and sees what else there is.
    fn folders(&mut self) -> io::Result<Plan<'a>> {
        let mut plan = Plan::default();
        let mut rest = vec![ROOT];
        while let Some(id) = rest.pop() {
            let inode = self.tree.inode(id);
            let Kind::Dir(dir) = &inode.kind else { continue };
            self.header(&self.tree.path(id, b""), EntryType::Directory, b"", &inode.meta, 0)?;
            // The last that is put there is the next that is taken.
            rest.extend(dir.children.values().rev());
            for (name, child) in &dir.children {
                match self.tree.inode(*child).kind {
                    Kind::Dir(_) | Kind::Device => continue,
                    Kind::File { source, .. } => drop(plan.files.insert(source, *child)),
                    _ if plan.names.contains_key(child) => {}
                    _ => plan.others.push(*child),
                }
                plan.names.entry(*child).or_default().push((id, name));
            }
        }
        Ok(plan)
    }

    /// Writes a file, and its other names.
    fn file(
        &mut self,
        id: Id,
        names: &[(Id, &[u8])],
        content: &mut impl Read,
        failed: &impl Fn(io::Error) -> FlattenError,
    ) -> Result<(), FlattenError> {
        let inode = self.tree.inode(id);
        let Kind::File { size, .. } = inode.kind else { return Ok(()) };
        let Some(((folder, name), more)) = names.split_first() else { return Ok(()) };
        let first = self.tree.path(*folder, name);
        self.header(&first, EntryType::Regular, b"", &inode.meta, size)
            .map_err(FlattenError::Write)?;
        loop {
            match content.read(&mut self.buffer).map_err(failed)? {
                0 => break,
                n => self.out.write_all(&self.buffer[..n]).map_err(FlattenError::Write)?,
            }
        }
        self.pad(size)
            .and_then(|()| self.links(&inode.meta, &first, more))
            .map_err(FlattenError::Write)
    }

    fn links(&mut self, meta: &Meta, first: &[u8], more: &[(Id, &[u8])]) -> io::Result<()> {
        // What a link's inode has was said with its first name.
        let meta = Meta { xattrs: BTreeMap::new(), ..meta.clone() };
        more.iter().try_for_each(|(folder, name)| {
            let path = self.tree.path(*folder, name);
            self.header(&path, EntryType::Link, first, &meta, 0)
        })
    }

    /// Writes what is neither folder nor file, and the end.
    fn others(&mut self, plan: &Plan<'_>) -> io::Result<()> {
        for id in &plan.others {
            let inode = self.tree.inode(*id);
            let Some(((folder, name), more)) = plan.names[id].split_first() else { continue };
            let first = self.tree.path(*folder, name);
            let (kind, target): (_, &[u8]) = match &inode.kind {
                Kind::Symlink(target) => (EntryType::Symlink, target),
                Kind::Fifo => (EntryType::Fifo, b""),
                Kind::Dir(_) | Kind::File { .. } | Kind::Device => continue,
            };
            self.header(&first, kind, target, &inode.meta, 0)?;
            self.links(&inode.meta, &first, more)?;
        }
        self.out.write_all(&[0; 1024])
    }

    fn header(
        &mut self,
        path: &[u8],
        kind: EntryType,
        target: &[u8],
        meta: &Meta,
        size: u64,
    ) -> io::Result<()> {
        header(self.out, path, kind, target, meta, size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        pad(self.out, size)
    }
}

/// Writes a header, with records before it of what does not go into it.
pub(crate) fn header(
    out: &mut dyn Write,
    path: &[u8],
    kind: EntryType,
    target: &[u8],
    meta: &Meta,
    size: u64,
) -> io::Result<()> {
    let mut records = Vec::new();
    if path.len() > NAME {
        record(&mut records, b"path", path);
    }
    if target.len() > NAME {
        record(&mut records, b"linkpath", target);
    }
    if let Some(mtime) = &meta.exact_mtime {
        record(&mut records, b"mtime", mtime.as_bytes());
    }
    for (name, value) in &meta.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &**name].concat(), value);
    }
    if !records.is_empty() {
        let header = block(
            b"././@PaxHeader",
            EntryType::XHeader,
            b"",
            &Meta::default(),
            records.len() as u64,
        );
        out.write_all(header.as_bytes())?;
        out.write_all(&records)?;
        pad(out, records.len() as u64)?;
    }
    out.write_all(block(path, kind, target, meta, size).as_bytes())
}

/// Fills up the last block of a content of so many bytes.
pub(crate) fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let padding = size.wrapping_neg() % 512;
    out.write_all(&[0; 512][..padding as usize])
}

/// A header. Names that are too long for it are in records before it; such numbers become binary.
fn block(path: &[u8], kind: EntryType, target: &[u8], meta: &Meta, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let old = header.as_old_mut();
    let fill = |field: &mut [u8; NAME], value: &[u8]| {
        let n = value.len().min(NAME);
        field[..n].copy_from_slice(&value[..n]);
    };
    fill(&mut old.name, path);
    fill(&mut old.linkname, target);
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid.into());
    header.set_gid(meta.gid.into());
    header.set_mtime(meta.mtime);
    header.set_size(size);
    header.set_cksum();
    header
}

/// Adds a pax record, whose length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length < rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(&[key, b"=", value, b"\n"].concat());
}
