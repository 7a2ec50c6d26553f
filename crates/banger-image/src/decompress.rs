//! Unpacking what kernels and modules are compressed with, told by its magic.

use std::io::Read as _;

use flate2::read::GzDecoder;
use liblzma::read::XzDecoder;
use ruzstd::decoding::StreamingDecoder;

const LZ4_LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// The most that a block of the legacy LZ4 frame unpacks to (LZ4 frame format, "Legacy frame").
const LZ4_BLOCK: usize = 8 << 20;
/// No kernel and no module is larger: more is damage or malice.
const LIMIT: usize = 512 << 20;

/// The compressions that Linux uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// LZ4 in its legacy frame.
    Lz4,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// Compressed data that cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// None of the known formats.
    #[error("it is not compressed with gzip, LZ4, xz or zstd")]
    UnknownFormat,
    /// The data is damaged.
    #[error("its {format:?} data is damaged: {reason}")]
    Damaged {
        /// The format that it has.
        format: Format,
        /// What the decoder said.
        reason: String,
    },
    /// It unpacks to more than any kernel has.
    #[error("it unpacks to more than 512 MiB")]
    TooLarge,
}

impl Format {
    /// The format that the data begins as.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ if bytes.starts_with(&LZ4_LEGACY) => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Unpacks `bytes`. What follows the compressed data is ignored, except for
/// LZ4, whose legacy frame does not say where it ends.
///
/// # Errors
/// The format is not known, or the data is damaged or too large.
pub fn decompress(bytes: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let format = Format::of(bytes).ok_or(DecompressError::UnknownFormat)?;
    let damaged = |reason: String| DecompressError::Damaged { format, reason };
    let mut out = Vec::new();
    let limit = LIMIT as u64 + 1;
    let result = match format {
        Format::Lz4 => return lz4(bytes),
        Format::Gzip => GzDecoder::new(bytes).take(limit).read_to_end(&mut out),
        Format::Xz => XzDecoder::new(bytes).take(limit).read_to_end(&mut out),
        Format::Zstd => StreamingDecoder::new_with_max_window_size(bytes, LIMIT as u64)
            .map_err(|error| damaged(error.to_string()))?
            .take(limit)
            .read_to_end(&mut out),
    };
    result.map_err(|error| damaged(error.to_string()))?;
    if out.len() > LIMIT { Err(DecompressError::TooLarge) } else { Ok(out) }
}

fn lz4(bytes: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let damaged =
        |reason: &str| DecompressError::Damaged { format: Format::Lz4, reason: reason.to_owned() };
    let mut rest = bytes;
    let mut out = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        rest = tail;
        if *head == LZ4_LEGACY {
            continue;
        }
        let size = u32::from_le_bytes(*head) as usize;
        let data = rest.get(..size).ok_or_else(|| damaged("a block ends too early"))?;
        rest = &rest[size..];
        let n = lz4_flex::block::decompress_into(data, &mut block)
            .map_err(|error| damaged(&error.to_string()))?;
        out.extend_from_slice(&block[..n]);
        if out.len() > LIMIT {
            return Err(DecompressError::TooLarge);
        }
    }
    if rest.is_empty() { Ok(out) } else { Err(damaged("bytes are left over")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    pub(crate) fn compress(format: Format, bytes: &[u8]) -> Vec<u8> {
        match format {
            Format::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Format::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Format::Zstd => ruzstd::encoding::compress_to_vec(
                bytes,
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            Format::Lz4 => {
                let mut out = LZ4_LEGACY.to_vec();
                for chunk in bytes.chunks(LZ4_BLOCK) {
                    let block = lz4_flex::block::compress(chunk);
                    out.extend_from_slice(&(block.len() as u32).to_le_bytes());
                    out.extend_from_slice(&block);
                }
                out
            }
        }
    }

    pub(crate) const ALL: [Format; 4] = [Format::Gzip, Format::Lz4, Format::Xz, Format::Zstd];

    #[test]
    fn a_block_may_be_as_large_as_the_format_allows() {
        let bytes: Vec<u8> = (0..LZ4_BLOCK + 5).map(|n| (n / 1000) as u8).collect();
        assert!(decompress(&compress(Format::Lz4, &bytes)).unwrap() == bytes);
    }

    proptest! {
        #[test]
        fn every_format_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for format in ALL {
                let packed = compress(format, &bytes);
                prop_assert_eq!(Format::of(&packed), Some(format));
                prop_assert_eq!(decompress(&packed), Ok(bytes.clone()));
            }
        }

        #[test]
        fn damage_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            for format in ALL {
                let mut packed = compress(format, &bytes);
                let at = at.index(packed.len());
                packed[at] = value;
                let _ = decompress(&packed);
                let _ = decompress(&packed[..at]);
            }
        }
    }
}
