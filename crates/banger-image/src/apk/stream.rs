//! The members of a package or an index: gzip files in a row, each with a piece of one tar file
//! (apk-v2(5)): signatures, then the control member, then the data. An index has no data.
//!
//! The pieces lack the blocks that end a tar file. The hashes are about the compressed bytes, so it
//! is those that have to be split.

mod tap;

use std::io::{self, BufRead as _, Read};

use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};

use crate::oci::entries::{Reader, What};
use tap::{Sink, Tap};

/// Members with signatures that a file may have. Alpine's have one.
const SIGNATURES: usize = 16;
/// Bytes of all the files in a member with signatures.
const SIGNATURE: usize = 64 << 10;

/// Why a file is no package or index.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It cannot be read.
    #[error("it could not be read")]
    Read(#[source] io::Error),
    /// It ends too early.
    #[error("it is incomplete: it ends within its {0}")]
    Truncated(Part),
    /// It is not what it should be.
    #[error("its {part} cannot be read: {reason}")]
    Damaged {
        /// Where.
        part: Part,
        /// What is wrong there.
        reason: String,
    },
    /// It has too much in front of its data.
    #[error("it has more than {limit} bytes of {part}, which none has")]
    TooLarge {
        /// Where.
        part: Part,
        /// Bytes that there may be.
        limit: u64,
    },
    /// It has too many signatures.
    #[error("it has more than {SIGNATURES} signatures")]
    TooManySignatures,
    /// It goes on behind its last member.
    #[error("it has another member behind its {0}")]
    TooManyMembers(Part),
    /// Something follows that is not of the format.
    #[error("it has bytes behind its {0} that belong to nothing")]
    Trailing(Part),
}

/// A part of a package or an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The signatures.
    Signatures,
    /// The control member, or what is listed in an index.
    Control,
    /// The data.
    Data,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signatures => "signatures",
            Self::Control => "control member",
            Self::Data => "data",
        })
    }
}

/// How a signature was made (apk-v2(5), "THE SIGNATURES").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS#1 v1.5 and SHA-1: `.SIGN.RSA.`.
    RsaSha1,
    /// The same with SHA-256: `.SIGN.RSA256.`.
    RsaSha256,
}

/// A signature of the control member's compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How it was made.
    pub algorithm: Algorithm,
    /// The name of the key, that of its file.
    pub key: String,
    /// The signature.
    pub bytes: Vec<u8>,
}

/// What comes before the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The signatures, without those of other algorithms.
    pub signatures: Vec<Signature>,
    /// The control member's compressed bytes, which signatures and identity are about.
    pub compressed: Vec<u8>,
    /// Its files in their order: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A package or an index that is being read.
pub struct Stream<R> {
    tap: Tap<R>,
}

impl<R: Read> Stream<R> {
    /// Begins to read.
    pub fn new(inner: R) -> Self {
        Self { tap: Tap::new(inner) }
    }

    /// Reads what comes before the data, which may have `limit` bytes, compressed or not. It is not
    /// checked against the signatures.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no head of a package or an index.
    pub fn head(&mut self, limit: usize) -> Result<Head, StreamError> {
        let mut signatures = Vec::new();
        for _ in 0..=SIGNATURES {
            let (compressed, plain) = self.member(limit)?;
            let files = files(&plain)?;
            let signed = |(name, _): &(String, _)| name.starts_with(".SIGN.");
            if !files.first().is_some_and(signed) {
                return Ok(Head { signatures, compressed, files });
            }
            if !files.iter().all(signed) {
                let reason = "there are other files among them".to_owned();
                return Err(StreamError::Damaged { part: Part::Signatures, reason });
            }
            if plain.len() > SIGNATURE {
                let limit = SIGNATURE as u64;
                return Err(StreamError::TooLarge { part: Part::Signatures, limit });
            }
            signatures.extend(files.into_iter().filter_map(signature));
        }
        Err(StreamError::TooManySignatures)
    }

    /// One member: its bytes, compressed and not.
    fn member(&mut self, limit: usize) -> Result<(Vec<u8>, Vec<u8>), StreamError> {
        let (part, too_large) =
            (Part::Control, StreamError::TooLarge { part: Part::Control, limit: limit as u64 });
        self.tap.sink = Sink::Keep { bytes: Vec::new(), limit };
        let mut plain = Vec::new();
        let result = GzDecoder::new(&mut self.tap)
            .take((limit as u64).saturating_add(1))
            .read_to_end(&mut plain);
        match (result, self.tap.take_kept()) {
            (_, None) => Err(too_large),
            (Ok(_), Some(_)) if plain.len() > limit => Err(too_large),
            (Ok(_), Some(compressed)) => Ok((compressed, plain)),
            (Err(error), Some(_)) => Err(self.tap.explain(error, part)),
        }
    }

    /// The data, which is what follows the head. It may have `limit` bytes, decompressed.
    pub fn data(mut self, limit: u64) -> Data<R> {
        self.tap.sink = Sink::Hash(Sha256::new());
        Data { decoder: GzDecoder::new(self.tap), limit, bytes: 0, trouble: None }
    }

    /// Checks that nothing follows the head, as in an index.
    ///
    /// # Errors
    ///
    /// Something follows, or it cannot be read.
    pub fn end(mut self) -> Result<(), StreamError> {
        end(&mut self.tap, Part::Control)
    }
}

fn end<R: Read>(tap: &mut Tap<R>, part: Part) -> Result<(), StreamError> {
    // What gzip files begin with (RFC 1952, 2.3.1).
    let mut next = [0; 2];
    tap.sink = Sink::Nothing;
    let rest = tap.fill_buf().map(<[u8]>::len);
    match rest {
        Ok(0) => return Ok(()),
        Ok(_) => tap.read(&mut next).map(drop),
        Err(error) => Err(error),
    }
    .map_err(StreamError::Read)?;
    match next {
        [0x1f, 0x8b] => Err(StreamError::TooManyMembers(part)),
        _ => Err(StreamError::Trailing(part)),
    }
}

/// The data of a package, decompressed: a tar file. It is read to its end before it is trusted:
/// [`Data::finish`] gives its hash.
pub struct Data<R> {
    decoder: GzDecoder<Tap<R>>,
    limit: u64,
    bytes: u64,
    trouble: Option<StreamError>,
}

impl<R: Read> Read for Data<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buffer) {
            Ok(n) => {
                self.bytes += n as u64;
                if self.bytes > self.limit {
                    let (part, limit) = (Part::Data, self.limit);
                    self.trouble = Some(StreamError::TooLarge { part, limit });
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                Ok(n)
            }
            Err(error) => {
                let kind = error.kind();
                self.trouble = Some(self.decoder.get_mut().explain(error, Part::Data));
                Err(kind.into())
            }
        }
    }
}

impl<R: Read> Data<R> {
    /// Why the last read failed; none if none did.
    pub fn trouble(&mut self) -> Option<StreamError> {
        self.trouble.take()
    }

    /// Reads what is left of it, checks that nothing follows, and gives the SHA-256 of its
    /// compressed bytes and how many bytes the whole file has.
    ///
    /// # Errors
    ///
    /// It cannot be read, is damaged, or something follows.
    pub fn finish(mut self) -> Result<([u8; 32], u64), StreamError> {
        if let Err(error) = io::copy(&mut self, &mut io::sink()) {
            return Err(self.trouble().unwrap_or(StreamError::Read(error)));
        }
        let mut tap = self.decoder.into_inner();
        let hash = match std::mem::replace(&mut tap.sink, Sink::Nothing) {
            Sink::Hash(hash) => hash.finalize().into(),
            Sink::Keep { .. } | Sink::Nothing => [0; 32],
        };
        end(&mut tap, Part::Data)?;
        Ok((hash, tap.total()))
    }
}

/// The files of a piece of a tar file.
fn files(plain: &[u8]) -> Result<Vec<(String, Vec<u8>)>, StreamError> {
    let damaged =
        |reason: &str| StreamError::Damaged { part: Part::Control, reason: reason.to_owned() };
    let unreadable = |error: io::Error| damaged(&error.to_string());
    let mut reader = Reader::new(plain);
    let mut files = Vec::new();
    while let Some(entry) = reader.next().map_err(unreadable)? {
        if entry.what != What::File {
            return Err(damaged("it has something that is no file"));
        }
        let name = String::from_utf8(entry.path).ok().filter(|name| name.len() <= 255);
        let name = name.ok_or_else(|| damaged("a file in it has a name that none has"))?;
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(unreadable)?;
        files.push((name, content));
    }
    if reader.into_inner().iter().any(|byte| *byte != 0) {
        return Err(damaged("something follows the end of its tar file"));
    }
    Ok(files)
}

fn signature((name, bytes): (String, Vec<u8>)) -> Option<Signature> {
    let (algorithm, key) = match name.strip_prefix(".SIGN.")?.split_once('.')? {
        ("RSA", key) => (Algorithm::RsaSha1, key),
        ("RSA256", key) => (Algorithm::RsaSha256, key),
        _ => return None,
    };
    Some(Signature { algorithm, key: key.to_owned(), bytes })
}

#[cfg(test)]
mod tests;
