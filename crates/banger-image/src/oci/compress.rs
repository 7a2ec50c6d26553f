//! Reading a layer as the tar file that it is, whatever it is compressed with.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use banger_exec::Cancel;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::decompress::Format;

/// The largest window that `zstd` reads unless told otherwise (zstd(1), `--long`).
const WINDOW: u64 = 128 << 20;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
pub(super) struct Cancelled;

/// Opens a file that is a tar file, plain or compressed with gzip or zstd, told by its magic as
/// Docker does: what a media type says is often wrong.
/// Reading it fails with [`Cancelled`] from when `cancel` is set.
pub(super) fn open(path: &Path, cancel: &Cancel) -> io::Result<Box<dyn Read>> {
    let file = Stoppable { file: File::open(path)?, cancel: cancel.clone() };
    unpack(BufReader::with_capacity(256 << 10, file))
}

/// What a tar file is when it is not compressed, be it plain or compressed with gzip or zstd, told
/// by its magic.
pub(crate) fn unpack<'a>(mut file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = file.fill_buf()?;
    // A zstd file may begin with a skippable frame.
    let skippable = matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    match Format::of(start).or(skippable.then_some(Format::Zstd)) {
        Some(Format::Gzip) => Ok(Box::new(MultiGzDecoder::new(file))),
        Some(Format::Zstd) => Ok(Box::new(Zstd::new(file))),
        Some(_) => Err(invalid("it is compressed with neither gzip nor zstd")),
        None => Ok(Box::new(file)),
    }
}

struct Stoppable {
    file: File,
    cancel: Cancel,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Cancelled));
        }
        self.file.read(buffer)
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The frames of a zstd file, one after the other. Layers that can be read in parts have many, and
/// skippable ones with their tables of contents (RFC 8878, sections 3.1 and 3.1.2).
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self { source, decoder, in_frame: false }
    }

    /// Begins the next frame, if there is one.
    fn next_frame(&mut self) -> io::Result<()> {
        while !self.in_frame && !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.source).take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.next_frame()?;
            if !self.in_frame {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, step).map_err(invalid)?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.in_frame = false,
                n => return Ok(n),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write as _;

    fn content() -> Vec<u8> {
        (0..300_000_u32).map(|n| (n / 7 % 251) as u8).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn read(file: &[u8]) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("layer"), file).unwrap();
        let mut out = Vec::new();
        open(&dir.path().join("layer"), &Cancel::default())?.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn layers_are_read_in_every_compression_and_in_several_parts() {
        let all = content();
        let (one, two) = all.split_at(100_000);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        assert_eq!(read(&all).unwrap(), all);
        assert_eq!(read(&gzip(&all)).unwrap(), all);
        assert_eq!(read(&[gzip(one), gzip(b""), gzip(two)].concat()).unwrap(), all);
        assert_eq!(read(&zstd(&all)).unwrap(), all);
        let parts =
            [skippable.clone(), zstd(one), skippable.clone(), zstd(b""), zstd(two), skippable]
                .concat();
        assert_eq!(read(&parts).unwrap(), all);
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn damaged_layers_are_errors() {
        for file in [gzip(&content()), zstd(&content())] {
            read(&file[..file.len() / 2]).unwrap_err();
            read(&[file, b"more".to_vec()].concat()).unwrap_err();
        }
        read(&[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]).unwrap_err();
        read(&[0xfd, b'7', b'z', b'X', b'Z', 0]).unwrap_err();
    }
}
