//! Speaking with debugfs(8): what it is told, and what it answers.
//!
//! It reads commands, a line each, and splits a line that is longer than its
//! buffer: the rest would be a command of its own. Names come from a guest, and
//! debugfs can write to files of the host. So every word is quoted, and what
//! cannot be quoted is refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_exec::{Cancel, Command, Runner, Tool};

use super::PatchError;
use super::recover::Super;

/// The longest line: debugfs has room for `BUFSIZ` bytes, which is 1024 with
/// musl and 8192 with glibc.
const MAX_LINE: usize = 1000;
/// Commands that one process is given to read with: an answer is about 1 KiB,
/// and the output that is kept has a limit.
const BATCH: usize = 4096;
/// A link's target that is shorter than this is in the inode.
pub(super) const INODE_ROOM: usize = 60;
/// How it says that nothing is at a place (libext2fs); on the way there may be a
/// file, or a link that leads to itself.
const ABSENT: [&str; 3] = [
    "File not found by ext2_lookup",
    "Ext2 inode is not a directory",
    "Too many symbolic links encountered.",
];
const TIMEOUT: Duration = Duration::from_secs(600);

/// A line of a script; none if a word cannot be quoted. The first word is ours,
/// and needs no quotes.
pub(super) fn line(command: &str, words: &[&[u8]]) -> Option<Vec<u8>> {
    let mut line = command.as_bytes().to_vec();
    for word in words {
        line.extend(b" \"");
        for &byte in *word {
            match byte {
                b'\0' | b'\n' | b'\r' => return None,
                // How ss_parse(3) wants it.
                b'"' => line.extend(b"\"\""),
                _ => line.push(byte),
            }
        }
        line.push(b'"');
    }
    (line.len() < MAX_LINE).then_some(line)
}

/// A place as debugfs is told of it. It takes the parent of `/name` for the
/// folder that it is in, that of `/./name` for the root.
pub(super) fn named(place: &[u8]) -> Vec<u8> {
    [b"/.", place].concat()
}

/// An ext4 file system in a file or on a device, which nobody else uses.
#[derive(Clone, Copy)]
pub struct Disk<'a> {
    pub(super) runner: &'a dyn Runner,
    pub(super) path: &'a Path,
    pub(super) cancel: &'a Cancel,
}

impl Disk<'_> {
    pub(super) fn command(&self, tool: Tool) -> Command {
        Command::new(tool).timeout(TIMEOUT)
    }

    fn debugfs(&self, script: &[Vec<u8>]) -> Command {
        let mut text = script.join(&b'\n');
        text.push(b'\n');
        self.command(Tool::Debugfs).args(["-f", "-"]).stdin(text)
    }

    fn opening(&self, how: &str) -> Result<Vec<u8>, PatchError> {
        let path = std::path::absolute(self.path).map_err(PatchError::io("find", self.path))?;
        let path = path.as_os_str().as_encoded_bytes();
        line(how, &[path]).ok_or_else(|| PatchError::Name(self.path.to_owned()))
    }

    /// Changes the file system by `script`. Until the last of it is written the
    /// file system is marked as one to be checked: one that is changed half
    /// has blocks in use that are not marked so. It stays marked if it is to be
    /// `mended`. A cancel does not stop it, for the same reason. Returns what debugfs
    /// says of failures; its status is always 0.
    pub(super) fn change(&self, script: &[Vec<u8>], mended: bool) -> Result<String, PatchError> {
        let open = self.opening("open -w")?;
        let mut all = vec![open.clone(), b"dirty".to_vec(), b"close".to_vec(), open];
        // debugfs makes a file that begins with a hole wrong where it could have been
        // inline data. The feature is only off in its memory.
        let inline = Super::clean(self.path)?.has_inline_data();
        all.extend(inline.then(|| b"feature -inline_data".to_vec()));
        all.extend_from_slice(script);
        all.extend(inline.then(|| b"feature inline_data".to_vec()));
        if !mended {
            all.push(b"dirty -clean".to_vec());
        }
        Ok(self.runner.capture(&self.debugfs(&all))?.stderr)
    }

    /// The answers to `questions`, in their order.
    pub(super) fn ask(&self, questions: &[Question]) -> Result<Vec<Answer>, PatchError> {
        let mut answers = Vec::with_capacity(questions.len());
        for batch in questions.chunks(BATCH) {
            let mut script = vec![self.opening("open")?];
            for question in batch {
                script.push(question.line()?);
            }
            let output = self.runner.capture(&self.debugfs(&script).cancel(self.cancel))?;
            // What is not there is not an error, but what cannot be read is.
            let complains = |line: &str| {
                !line.is_empty() && !ABSENT.iter().any(|end| line.trim_end().ends_with(end))
            };
            let complaint = output.stderr.lines().skip(1).find(|line| complains(line));
            let mut read = || {
                let mut rest = Rest(&output.stdout);
                rest.echo(&script[0])?;
                for (question, line) in batch.iter().zip(&script[1..]) {
                    rest.echo(line)?;
                    answers.push(question.answer(&mut rest)?);
                }
                rest.0.is_empty().then_some(())
            };
            if complaint.is_some() || read().is_none() {
                let words = complaint.map_or_else(|| last_word(&output.stderr), str::to_owned);
                return Err(PatchError::Unreadable { disk: self.path.to_owned(), words });
            }
        }
        Ok(answers)
    }
}

/// The last line that debugfs said, behind the one with its version.
pub(super) fn last_word(stderr: &str) -> String {
    stderr.lines().skip(1).last().unwrap_or("debugfs says nothing").trim().to_owned()
}

/// Something to be read.
pub(super) enum Question {
    /// The inode at a place.
    Inode(Vec<u8>),
    /// What is in the folder at a place.
    List(Vec<u8>),
    /// The content of the file or link at a place, to be written to a file of ours.
    Dump(Vec<u8>, PathBuf),
}

/// What was read.
pub(super) enum Answer {
    Inode(Option<Inode>),
    /// Empty if there is no folder.
    List(Vec<Entry>),
    Dumped,
}

impl Question {
    fn line(&self) -> Result<Vec<u8>, PatchError> {
        let (place, line) = match self {
            Self::Inode(place) => (place, line("inode_dump", &[&named(place)])),
            Self::List(place) => (place, line("ls -p", &[&named(place)])),
            Self::Dump(place, to) => {
                (place, line("dump", &[&named(place), to.as_os_str().as_encoded_bytes()]))
            }
        };
        line.ok_or_else(|| PatchError::name(place))
    }

    fn answer(&self, rest: &mut Rest<'_>) -> Option<Answer> {
        Some(match self {
            Self::Inode(_) => Answer::Inode(rest.inode()?),
            Self::List(_) => Answer::List(rest.entries()?),
            Self::Dump(..) => Answer::Dumped,
        })
    }
}

/// What a folder has an entry for.
pub(super) struct Entry {
    pub name: Vec<u8>,
    /// The number of what is there, and its mode with its type.
    pub inode: u32,
    pub mode: u32,
}

/// The first 128 bytes of an inode
/// (<https://docs.kernel.org/filesystems/ext4/dynamic.html>).
pub(super) struct Inode([u8; 128]);

impl Inode {
    fn u16(&self, at: usize) -> u32 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]]).into()
    }

    /// With the type of what it is.
    pub fn mode(&self) -> u32 {
        self.u16(0)
    }

    pub fn owner(&self) -> (u32, u32) {
        (self.u16(2) | self.u16(120) << 16, self.u16(24) | self.u16(122) << 16)
    }

    pub fn size(&self) -> u64 {
        let half = |at| u64::from(self.u16(at) | self.u16(at + 2) << 16);
        half(4) | half(108) << 32
    }

    /// How many names it has.
    pub fn links(&self) -> u32 {
        self.u16(26)
    }

    /// Whether a block of its own holds extended attributes.
    pub fn attribute_block(&self) -> bool {
        self.u16(104) | self.u16(106) | self.u16(118) != 0
    }

    /// What a link leads to, if the inode holds all of it: not as inline data.
    pub fn target(&self) -> Option<&[u8]> {
        let inline = self.u16(34) & 0x1000 != 0;
        let size =
            usize::try_from(self.size()).ok().filter(|size| *size < INODE_ROOM && !inline)?;
        Some(&self.0[40..40 + size])
    }
}

/// What of an output was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// debugfs repeats each command before it does it.
    fn echo(&mut self, line: &[u8]) -> Option<()> {
        let rest = self.0.strip_prefix(b"debugfs: ")?.strip_prefix(line)?;
        self.0 = rest.strip_prefix(b"\n")?;
        Some(())
    }

    fn blank(&mut self) {
        self.0 = self.0.strip_prefix(b"\n").unwrap_or(self.0);
    }

    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|byte| *byte == end)?;
        let (before, rest) = (&self.0[..at], &self.0[at + 1..]);
        self.0 = rest;
        Some(before)
    }

    /// `/inode/mode/uid/gid/name/size/`: no name has a slash, but it may have
    /// a line's end.
    fn entries(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(rest) = self.0.strip_prefix(b"/") {
            self.0 = rest;
            let mut field = || self.until(b'/');
            let (inode, mode, _uid, _gid) = (field()?, field()?, field()?, field()?);
            let (name, _size) = (field()?, field()?);
            self.0 = self.0.strip_prefix(b"\n")?;
            let number = |text, radix| u32::from_str_radix(str::from_utf8(text).ok()?, radix).ok();
            let (inode, mode) = (number(inode, 10)?, number(mode, 8)?);
            // An inode of 0 is room for an entry.
            if inode != 0 && ![b"".as_slice(), b".", b".."].contains(&name) {
                entries.push(Entry { name: name.to_owned(), inode, mode });
            }
        }
        self.blank();
        Some(entries)
    }

    /// Rows of 16 bytes: the offset in octal, two spaces, the bytes in hex by
    /// twos, the same as text. A `*` stands for rows like the one before it.
    fn inode(&mut self) -> Option<Option<Inode>> {
        let (mut bytes, mut row) = (Vec::new(), [0; 16]);
        let rows = |row: &[u8; 16], bytes: &mut Vec<u8>, end: usize| {
            while bytes.len() < end.min(128) {
                bytes.extend(row);
            }
        };
        while self.0.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'*') {
            let line = self.until(b'\n')?;
            if line == b"*" {
                continue;
            }
            let offset = usize::from_str_radix(str::from_utf8(line.get(..4)?).ok()?, 8).ok()?;
            rows(&row, &mut bytes, offset);
            let hex: Vec<u8> = line.get(6..45)?.iter().copied().filter(|b| *b != b' ').collect();
            for (byte, hex) in row.iter_mut().zip(hex.chunks(2)) {
                *byte = u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()?;
            }
            rows(&row, &mut bytes, offset + 16);
        }
        self.blank();
        if bytes.is_empty() {
            return Some(None);
        }
        rows(&row, &mut bytes, 128);
        Some(Some(Inode(bytes.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_or_is_refused() {
        let text = |words: &[&[u8]]| line("rm", words).map(|line| String::from_utf8(line).unwrap());
        assert_eq!(text(&[b"/a \"b", b"<2>"]).unwrap(), r#"rm "/a ""b" "<2>""#);
        assert_eq!(text(&[b"a\nrm /"]), None);
        assert_eq!(text(&[b"a\rb"]), None);
        assert_eq!(text(&[b"a\0b"]), None);
        assert_eq!(text(&[&[b'"'; 499]]), None);
    }

    #[test]
    fn a_list_is_not_misled_by_names() {
        let mut rest =
            Rest(b"/2/040755/0/0/.//\n/12/100644/0/0/a\ndebugfs: x\n/6/\n\ndebugfs: x\n");
        let entries = rest.entries().unwrap();
        assert_eq!(entries[0].name, b"a\ndebugfs: x\n");
        assert_eq!((entries.len(), entries[0].mode), (1, 0o100_644));
        rest.echo(b"x").unwrap();
    }

    #[test]
    fn equal_rows_of_an_inode_are_filled_in() {
        let row = b"0000  a481 0000 0600 0000 b0e3 076b b0e3 076b  ...........k...k\n*\n\n";
        let inode = Rest(row).inode().unwrap().unwrap();
        assert_eq!((inode.mode(), inode.u16(4), inode.u16(116)), (0o100_644, 6, 6));
        assert!(Rest(b"debugfs: x").inode().unwrap().is_none());
    }
}
