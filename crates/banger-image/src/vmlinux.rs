//! The uncompressed kernel inside a bzImage.
//!
//! Firecracker and QEMU's PVH loader boot an ELF. Where the payload lies is
//! told by the setup header (kernel: `Documentation/arch/x86/boot.rst`), not
//! by a search for magic numbers.

use crate::decompress::{DecompressError, Format, decompress};
use crate::elf::{ElfError, check_kernel};

/// A kernel that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmlinuxError {
    /// Neither an ELF nor a bzImage.
    #[error("the kernel is neither an ELF nor a bzImage")]
    NotAKernel,
    /// A bzImage from before Linux 2.6.26.
    #[error("the kernel's boot protocol {}.{:02} is too old: 2.08 or later is needed", .0 >> 8, .0 & 0xff)]
    OldProtocol(u16),
    /// The header points outside the file.
    #[error("the kernel's file ends before its payload does: it was not wholly read or written")]
    Truncated,
    /// The payload cannot be unpacked.
    #[error("the kernel's payload cannot be unpacked")]
    Payload(#[from] DecompressError),
    /// The payload is shorter or longer than the kernel says.
    #[error("the kernel's payload unpacks to {found} bytes, not to {expected}")]
    Length {
        /// What it says.
        expected: u32,
        /// What there is.
        found: usize,
    },
    /// What was unpacked is not a kernel that can be booted.
    #[error("the kernel cannot be booted: {0}")]
    Elf(#[from] ElfError),
}

/// The kernel's ELF, checked to boot through PVH. An ELF comes back as it is.
///
/// # Errors
/// The bytes are not such a kernel.
pub fn extract(kernel: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let elf = if kernel.starts_with(b"\x7fELF") { kernel.to_vec() } else { unpack(kernel)? };
    check_kernel(&elf)?;
    Ok(elf)
}

fn unpack(kernel: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let bytes = |at: usize, len: usize| kernel.get(at..at + len).ok_or(VmlinuxError::NotAKernel);
    let u32_at = |at| -> Result<usize, VmlinuxError> {
        Ok(bytes(at, 4)?.iter().rev().fold(0, |n, b| (n << 8) | usize::from(*b)))
    };
    if bytes(0x202, 4)? != b"HdrS" {
        return Err(VmlinuxError::NotAKernel);
    }
    // The first four bytes end before the protocol: the file may, too.
    let protocol = bytes(0x206, 2)?.iter().rev().fold(0, |n, b| (n << 8) | u16::from(*b));
    if protocol < 0x208 {
        return Err(VmlinuxError::OldProtocol(protocol));
    }
    // A count of 0 means 4, for old boot loaders' sake.
    let sectors = match kernel[0x1f1] {
        0 => 4,
        n => usize::from(n),
    };
    let start = ((sectors + 1) * 512).saturating_add(u32_at(0x248)?);
    let end = start.saturating_add(u32_at(0x24c)?);
    let payload = kernel.get(start..end).ok_or(VmlinuxError::Truncated)?;
    // The last four bytes are the size of what is unpacked: gzip's own
    // trailer, or appended by the kernel's build.
    let (data, size) = payload.split_last_chunk::<4>().ok_or(VmlinuxError::Truncated)?;
    let expected = u32::from_le_bytes(*size);
    let elf = decompress(if Format::of(payload) == Some(Format::Gzip) { payload } else { data })?;
    if elf.len() != expected as usize {
        return Err(VmlinuxError::Length { expected, found: elf.len() });
    }
    Ok(elf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress::tests::{ALL, compress};
    use crate::elf::tests::{elf, kernel};
    use proptest::prelude::*;

    fn bzimage(format: Format, elf: &[u8]) -> Vec<u8> {
        let mut payload = compress(format, elf);
        if format != Format::Gzip {
            payload.extend_from_slice(&(elf.len() as u32).to_le_bytes());
        }
        let mut file = vec![0; 1024];
        file[0x1f1] = 1;
        file[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        file[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file.extend_from_slice(b"decompressor....");
        file.extend_from_slice(&payload);
        file.extend_from_slice(b"trailing");
        file
    }

    #[test]
    fn every_compression_gives_the_kernel_back() {
        let elf = kernel(5000);
        assert_eq!(extract(&elf).as_ref(), Ok(&elf));
        for format in ALL {
            assert_eq!(extract(&bzimage(format, &elf)).as_ref(), Ok(&elf), "{format:?}");
        }
    }

    #[test]
    fn what_is_no_kernel_says_so() {
        let good = bzimage(Format::Lz4, &kernel(100));
        let with = |at: usize, value: u8| {
            let mut file = good.clone();
            file[at] = value;
            extract(&file).unwrap_err().to_string()
        };
        insta::assert_snapshot!(extract(b"#!/bin/sh").unwrap_err(), @"the kernel is neither an ELF nor a bzImage");
        assert!(matches!(extract(&good[..0x206]), Err(VmlinuxError::NotAKernel)));
        insta::assert_snapshot!(with(0x206, 5), @"the kernel's boot protocol 2.05 is too old: 2.08 or later is needed");
        insta::assert_snapshot!(with(0x24f, 1), @"the kernel's file ends before its payload does: it was not wholly read or written");
        insta::assert_snapshot!(with(good.len() - 9, 9), @"the kernel's payload unpacks to 260 bytes, not to 150995204");
        let no_pvh = bzimage(Format::Xz, &elf(1, b""));
        insta::assert_snapshot!(extract(&no_pvh).unwrap_err(), @"the kernel cannot be booted: it has no PVH entry point (the kernel needs CONFIG_PVH=y)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = extract(&bytes);
        }

        #[test]
        fn a_changed_header_never_panics(at in 0x1f0_usize..0x260, value in any::<[u8; 4]>(), cut in 0_usize..1200) {
            let mut file = bzimage(Format::Lz4, &kernel(100));
            file[at..at + 4].copy_from_slice(&value);
            let _ = extract(&file);
            file.truncate(cut);
            let _ = extract(&file);
        }
    }
}
