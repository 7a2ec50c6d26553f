//! The archives of xbps: tar files, compressed with gzip, xz or zstd (xbps-create(1),
//! `--compression`; xbps-rindex(1), `--compression`).

use std::io::{self, BufRead, Read, Take};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::decompress::Format;
use crate::oci::compress::unpack;
use crate::oci::entries::Reader;

/// What xz takes to unpack what its highest level made, and some (xz(1), `-9`: 65 MiB).
const XZ_MEMORY: u64 = 128 << 20;

/// Entries of an archive, and never more bytes than a limit.
pub(super) type Archive<'a> = Reader<Limited<Box<dyn Read + 'a>>>;

/// Opens an archive that unpacks to no more than `limit` bytes.
pub(super) fn open<'a>(mut file: impl BufRead + 'a, limit: u64) -> io::Result<Archive<'a>> {
    let inner: Box<dyn Read + 'a> = match Format::of(file.fill_buf()?) {
        Some(Format::Xz) => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(file, stream))
        }
        Some(Format::Lz4) => {
            let reason = "it is compressed with something else than gzip, xz or zstd";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        _ => unpack(file)?,
    };
    Ok(Reader::new(Limited { inner: inner.take(limit), limit }))
}

/// Fails instead of ending where the limit is.
pub(super) struct Limited<R> {
    inner: Take<R>,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inner.limit() == 0 && !buffer.is_empty() {
            let reason = format!("it unpacks to more than {} MiB", self.limit >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.inner.read(buffer)
    }
}

/// The content of an entry, of no more than `limit` bytes.
pub(super) fn content(archive: &mut Archive<'_>, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    if size > limit {
        let reason = format!("one of its files has more than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut bytes = Vec::new();
    archive.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decompress::tests::compress;
    use crate::oci::testing::{file, layer};

    #[test]
    fn archives_are_read_in_every_compression() {
        let tar = layer(&[file("./a", "content")]);
        let mut all = [Format::Gzip, Format::Xz, Format::Zstd].map(|f| compress(f, &tar)).to_vec();
        all.push(tar);
        for packed in all {
            let mut archive = open(&*packed, 1 << 20).unwrap();
            let entry = archive.next().unwrap().unwrap();
            assert_eq!(content(&mut archive, entry.size, 9).unwrap(), b"content");
            assert_eq!(archive.next().unwrap(), None);
        }
        assert!(open(&*compress(Format::Lz4, b"x"), 1 << 20).is_err());
    }

    #[test]
    fn an_archive_that_swells_is_refused() {
        let tar = layer(&[file("./a", vec![0; 5 << 20])]);
        for format in [Format::Gzip, Format::Xz, Format::Zstd] {
            let packed = compress(format, &tar);
            let mut archive = open(&*packed, 2 << 20).unwrap();
            let entry = archive.next().unwrap().unwrap();
            content(&mut archive, entry.size, 4 << 20).unwrap_err();
            let error = content(&mut archive, entry.size, 9 << 20).unwrap_err();
            assert_eq!(error.to_string(), "it unpacks to more than 2 MiB");
        }
    }
}
