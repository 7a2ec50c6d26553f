//! Reading tar files: the headers of POSIX and GNU (pax(1), "pax Interchange Format"; tar(5)).
//!
//! The crate `tar` splits pax records at newlines, which binary xattrs may contain, and bounds none
//! of them; so only its header is used.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::Header;

const BLOCK: usize = 512;
/// What long names and pax records of one entry may have. Linux has names up to 4 KiB and xattrs up
/// to 64 KiB.
const RECORDS: u64 = 1 << 20;
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What an entry is, with what only that has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Dir,
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// What every file has, but for its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds, never before 1970.
    pub mtime: u64,
    /// The same more exactly, as a pax record has it; where it differs.
    pub exact_mtime: Option<Box<str>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub what: What,
    pub meta: Meta,
    /// The names of its owner and its group; empty if it does not say.
    pub names: [Vec<u8>; 2],
    /// Bytes of content, which follow.
    pub size: u64,
    /// Other pax records than xattrs and those that are in the fields above: those of vendors.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    /// Bytes that it takes to remember it, content aside.
    pub(crate) fn weight(&self) -> u64 {
        let target = match &self.what {
            What::Link(target) | What::Symlink(target) => target.len(),
            _ => 0,
        };
        let pairs = self.meta.xattrs.iter().chain(&self.records);
        let pairs: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
        let time = self.meta.exact_mtime.as_ref().map_or(0, |time| time.len());
        (self.path.len() + target + pairs + time) as u64
    }
}

/// Reads entries; between them, it is the content of the last one.
pub(crate) struct Reader<R> {
    inner: R,
    /// Bytes of content that were not read yet, and the padding behind them.
    left: u64,
    padding: u64,
}

/// Records that come before the header that they are about.
#[derive(Default)]
struct Extra {
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (&mut self.inner).take(self.left).read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(damaged("the tar file ends within a file"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extra = Extra::default();
        let mut begun = false;
        while let Some(header) = self.header()? {
            let old = header.as_old();
            let size = number(&old.size).and_then(|n| u64::try_from(n).ok());
            let size = size.ok_or_else(|| damaged("an entry of the tar file has a wrong size"))?;
            begun = old.linkflag[0] != b'g';
            match old.linkflag[0] {
                b'x' => {
                    extra.pax.append(&mut records(&self.records(size)?)?);
                    let sizes = extra.pax.iter().map(|(name, value)| name.len() + value.len());
                    if sizes.sum::<usize>() as u64 > RECORDS {
                        return Err(damaged("an entry of the tar file has too many pax records"));
                    }
                }
                // Global records have nothing that we know, and containers ignore them.
                b'g' => self.content(size)?,
                b'L' => extra.path = Some(until_nul(self.records(size)?)),
                b'K' => extra.link = Some(until_nul(self.records(size)?)),
                _ => return self.entry(&header, size, extra).map(Some),
            }
        }
        if begun { Err(damaged("the tar file ends within a header")) } else { Ok(None) }
    }

    /// The next header; none at the end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let rest = self.left + self.padding;
        if io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())? < self.left {
            return Err(damaged("the tar file ends within a file"));
        }
        (self.left, self.padding) = (0, 0);
        let mut header = Header::new_old();
        let mut block = Vec::with_capacity(BLOCK);
        (&mut self.inner).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.len() < BLOCK {
            return Err(damaged("the tar file ends within a header"));
        }
        header.as_mut_bytes().copy_from_slice(&block);
        // The field itself counts as spaces (tar(5)).
        let sum = |block: &[u8]| block.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let sum = sum(&block[..148]) + sum(&block[156..]) + 8 * i64::from(b' ');
        if number(&header.as_old().cksum) != Some(sum) {
            return Err(damaged("a header of the tar file is damaged, or it is no tar file"));
        }
        Ok(Some(header))
    }

    /// So many bytes of content follow.
    fn content(&mut self, size: u64) -> io::Result<()> {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        let end = size.checked_add(self.padding);
        end.map(drop).ok_or_else(|| damaged("an entry of the tar file has a wrong size"))
    }

    fn records(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > RECORDS {
            return Err(damaged(
                "an entry of the tar file has more than 1 MiB of names and xattrs",
            ));
        }
        self.content(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, size: u64, extra: Extra) -> io::Result<Entry> {
        let Extra { mut pax, path, link } = extra;
        // An empty value takes the one of the header again.
        let mut text = |key: &str| pax.remove(key.as_bytes()).filter(|value| !value.is_empty());
        let path = path.or(text("path")).unwrap_or_else(|| header.path_bytes().into_owned());
        let linked = || header.link_name_bytes().unwrap_or_default().into_owned();
        let link = link.or(text("linkpath")).unwrap_or_else(linked);
        let old = header.as_old();
        let size = decimal(text("size"), size)?;
        let owner = |value: Option<Vec<u8>>, field: &[u8]| {
            let id =
                decimal(value, number(field).and_then(|n| n.try_into().ok()).unwrap_or(u64::MAX))?;
            // The last id means "none" to the kernel (chown(2)).
            let id = u32::try_from(id).ok().filter(|id| *id < u32::MAX);
            id.ok_or_else(|| {
                damaged("an entry of the tar file has an owner that Linux cannot have")
            })
        };
        let named = |value: Option<Vec<u8>>, field: Option<&[u8]>| {
            value.unwrap_or_else(|| field.unwrap_or_default().to_vec())
        };
        let ustar = header.as_ustar();
        let names = [
            named(text("uname"), ustar.map(|header| header.username_bytes())),
            named(text("gname"), ustar.map(|header| header.groupname_bytes())),
        ];
        let (uid, gid) = (owner(text("uid"), &old.uid)?, owner(text("gid"), &old.gid)?);
        let (mtime, exact_mtime) = time(text("mtime"), number(&old.mtime))?;
        let mode =
            number(&old.mode).ok_or_else(|| damaged("an entry of the tar file has no mode"))?;
        let mode = (mode & 0o7777) as u32;
        if [&path, &link].iter().any(|name| name.contains(&0)) {
            return Err(damaged("a name in the tar file has a zero byte"));
        }
        let device = || {
            let field = |n: io::Result<Option<u32>>| n.ok().flatten();
            field(header.device_major())
                .zip(field(header.device_minor()))
                .ok_or_else(|| damaged("a device in the tar file has no numbers"))
        };
        let what = match old.linkflag[0] {
            // Tar files of before 1988 mark folders so.
            0 if path.ends_with(b"/") => What::Dir,
            0 | b'0' | b'7' => What::File,
            b'1' => What::Link(link),
            b'2' => What::Symlink(link),
            b'3' => device().map(|(major, minor)| What::Char(major, minor))?,
            b'4' => device().map(|(major, minor)| What::Block(major, minor))?,
            b'5' => What::Dir,
            b'6' => What::Fifo,
            b'S' => return Err(sparse()),
            _ => {
                return Err(damaged(
                    "the tar file has an entry that is neither file nor folder, link or device",
                ));
            }
        };
        if pax.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(sparse());
        }
        let (xattrs, records): (BTreeMap<_, _>, _) =
            pax.into_iter().partition(|(key, _)| key.starts_with(XATTR));
        let xattr = |(key, value): (Vec<u8>, _)| Some((key.strip_prefix(XATTR)?.to_vec(), value));
        let xattrs = xattrs.into_iter().filter_map(xattr).collect();
        // Whatever a header says, only files have content (archive/tar of Go does the same).
        let size = if what == What::File { size } else { 0 };
        self.content(size)?;
        let meta = Meta { mode, uid, gid, mtime, exact_mtime, xattrs };
        Ok(Entry { path, what, size, meta, names, records })
    }
}

fn sparse() -> io::Error {
    damaged(
        "the tar file has a sparse file, which no tool for images writes: make it without '--sparse'",
    )
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// A number in a header: octal, or binary if its first bit is set (tar(5)). Empty means 0.
fn number(field: &[u8]) -> Option<i64> {
    if let Some(first) = field.first().filter(|byte| **byte & 0x80 != 0) {
        // The second bit is the sign.
        let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { -1 };
        let fold = |n: i128, byte: &u8| n.checked_mul(256)?.checked_add(i128::from(*byte));
        return field[1..].iter().try_fold(start, fold)?.try_into().ok();
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
}

/// A number in a pax record; that of the header if there is none.
fn decimal(value: Option<Vec<u8>>, header: u64) -> io::Result<u64> {
    let Some(value) = value else { return Ok(header) };
    let value = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    value.ok_or_else(|| damaged("a pax record of the tar file is not a number"))
}

/// Whole seconds, and the time as a pax record if it is not just that.
fn time(pax: Option<Vec<u8>>, header: Option<i64>) -> io::Result<(u64, Option<Box<str>>)> {
    let wrong = || damaged("an entry of the tar file has a wrong time");
    let Some(pax) = pax else {
        let seconds = header.ok_or_else(wrong)?;
        let before = seconds.is_negative().then(|| seconds.to_string().into());
        return Ok((seconds.try_into().unwrap_or(0), before));
    };
    let text = String::from_utf8(pax).map_err(|_| wrong())?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if seconds.len() > 20
        || fraction.len() > 20
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong());
    }
    let seconds: i64 = seconds.parse().map_err(|_| wrong())?;
    let exact = text.starts_with('-') || fraction.bytes().any(|byte| byte != b'0');
    Ok((seconds.try_into().unwrap_or(0), exact.then(|| text.into())))
}

/// Pax records: `LENGTH KEY=VALUE\n`, the length that of the whole record.
fn records(bytes: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut records = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let record = || {
            let space = rest.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
            let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            Some((&record[..equals], &record[equals + 1..], length))
        };
        let (key, value, length) =
            record().ok_or_else(|| damaged("a pax record of the tar file is damaged"))?;
        records.insert(key.to_vec(), value.to_vec());
        rest = &rest[length..];
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
