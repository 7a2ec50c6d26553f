//! What must be known of an ELF file before it is put into an image.
//!
//! Source: the System V ABI, "Object Files" (gABI), for the layout; Xen's
//! `docs/misc/pvh.pandoc` for the note that makes a kernel bootable as PVH.

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const X86_64: u16 = 62;
const PVH_NOTE: u32 = 18;

/// Why an ELF file is not the one that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It does not begin as an ELF file does, or ends too early.
    #[error("it is not an ELF file of 64 bits")]
    NotElf,
    /// It is for another machine.
    #[error("it is not for x86_64")]
    NotX86_64,
    /// A kernel without the PVH entry point.
    #[error("it has no PVH entry point (the kernel needs CONFIG_PVH=y)")]
    NoPvh,
    /// A program that needs a loader and libraries.
    #[error("it is not static: it needs an ELF interpreter")]
    NeedsInterpreter,
}

/// Checks that `bytes` is a kernel for x86_64 that boots through PVH.
///
/// # Errors
/// It is not.
pub fn check_kernel(bytes: &[u8]) -> Result<(), ElfError> {
    let file = File::parse(bytes)?;
    let pvh = |segment: &Segment<'_>| segment.kind == PT_NOTE && has_pvh_note(segment.content);
    if file.segments().any(|segment| pvh(&segment)) { Ok(()) } else { Err(ElfError::NoPvh) }
}

/// Checks that `bytes` is a program for x86_64 that needs no other file.
///
/// # Errors
/// It is not.
pub fn check_static(bytes: &[u8]) -> Result<(), ElfError> {
    let file = File::parse(bytes)?;
    if file.segments().any(|segment| segment.kind == PT_INTERP) {
        return Err(ElfError::NeedsInterpreter);
    }
    Ok(())
}

struct File<'a> {
    bytes: &'a [u8],
    table: u64,
    entry_size: u64,
    entries: u64,
}

struct Segment<'a> {
    kind: u32,
    content: &'a [u8],
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        // magic, then class (2: 64 bits) and byte order (1: little-endian)
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return Err(ElfError::NotElf);
        }
        let u16_at = |at| number::<2>(bytes, at).ok_or(ElfError::NotElf);
        if u16_at(18)? != u64::from(X86_64) {
            return Err(ElfError::NotX86_64);
        }
        let table = number::<8>(bytes, 32).ok_or(ElfError::NotElf)?;
        Ok(Self { bytes, table, entry_size: u16_at(54)?, entries: u16_at(56)? })
    }

    /// The segments whose headers and content are there.
    fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        (0..self.entries).filter_map(|index| {
            let at = self.table.checked_add(index * self.entry_size)?;
            let field = |offset| number::<8>(self.bytes, at.checked_add(offset)?);
            let kind = number::<4>(self.bytes, at)? as u32;
            let content = slice(self.bytes, field(8)?, field(32)?)?;
            Some(Segment { kind, content })
        })
    }
}

fn has_pvh_note(notes: &[u8]) -> bool {
    let mut at = 0_u64;
    loop {
        let note = || {
            let name_size = number::<4>(notes, at)?;
            let content_size = number::<4>(notes, at + 4)?;
            let kind = number::<4>(notes, at + 8)?;
            let name = slice(notes, at + 12, name_size)?;
            let content = at + 12 + name_size.next_multiple_of(4);
            Some((name, kind, content + content_size.next_multiple_of(4)))
        };
        match note() {
            Some((b"Xen\0", kind, _)) if kind == u64::from(PVH_NOTE) => return true,
            Some((_, _, next)) => at = next,
            None => return false,
        }
    }
}

fn slice(bytes: &[u8], from: u64, len: u64) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(len).ok()?)?)
}

/// The little-endian number of `N` bytes at an offset.
fn number<const N: usize>(bytes: &[u8], at: u64) -> Option<u64> {
    let digits = slice(bytes, at, N as u64)?;
    Some(digits.iter().rev().fold(0, |value, digit| (value << 8) | u64::from(*digit)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The least that counts as an ELF file: one segment, of this kind.
    pub(crate) fn elf(kind: u32, content: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = X86_64 as u8;
        (file[32], file[54], file[56]) = (64, 56, 1);
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
        file.extend_from_slice(content);
        file
    }

    /// The least that counts as a kernel; `padding` makes it larger.
    pub(crate) fn kernel(padding: usize) -> Vec<u8> {
        let mut notes = b"\x04\0\0\0\x03\0\0\0\x01\0\0\0GNU\0abc\0".to_vec();
        notes.extend_from_slice(b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\0\x01");
        let mut file = elf(PT_NOTE, &notes);
        file.extend((0..padding).map(|n| (n / 7) as u8));
        file
    }

    #[test]
    fn a_kernel_needs_its_note() {
        assert_eq!(check_kernel(&kernel(0)), Ok(()));
        assert_eq!(check_kernel(&elf(PT_NOTE, b"")), Err(ElfError::NoPvh));
        assert_eq!(check_kernel(b"MZ"), Err(ElfError::NotElf));
        let mut arm = kernel(0);
        arm[18] = 183;
        assert_eq!(check_kernel(&arm), Err(ElfError::NotX86_64));
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert_eq!(check_static(&elf(1, b"")), Ok(()));
        let dynamic = elf(PT_INTERP, b"/lib64/ld-linux-x86-64.so.2\0");
        assert_eq!(check_static(&dynamic), Err(ElfError::NeedsInterpreter));
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_or_refused(at in 0_usize..150, bytes in any::<[u8; 8]>()) {
            let mut file = kernel(0);
            for (target, byte) in file[at..].iter_mut().zip(bytes) {
                *target = byte;
            }
            let _ = (check_kernel(&file), check_static(&file));
        }
    }
}
