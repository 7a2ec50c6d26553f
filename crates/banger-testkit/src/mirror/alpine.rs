//! Packages and indexes as Alpine has them (apk-v2(5)), signed with a key that is for the tests
//! alone.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

const PRIVATE: &[u8] = include_bytes!("../../../banger-image/src/apk/testdata/test.rsa");

/// A file, folder or symbolic link of a package; paths are relative, and are not checked.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ApkFile {
    Folder { path: String },
    File { path: String, mode: u32, content: Vec<u8> },
    Link { path: String, target: String },
}

impl ApkFile {
    /// A file of text.
    #[must_use]
    pub fn text(path: &str, mode: u32, text: &str) -> Self {
        Self::File { path: path.to_owned(), mode, content: text.into() }
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(path: &str, target: &str) -> Self {
        Self::Link { path: path.to_owned(), target: target.to_owned() }
    }
}

/// A package; lists are separated by spaces, as in an index.
#[derive(Debug, Clone, Default)]
pub struct Apk {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it needs.
    pub depends: &'static str,
    /// Names that it provides beside its own.
    pub provides: &'static str,
    /// Which one is chosen of those that provide a name; 0 is none.
    pub provider_priority: u32,
    /// What makes it be installed without being asked for.
    pub install_if: &'static str,
    /// Packages whose files it may replace.
    pub replaces: &'static str,
    /// Folders that its trigger is about.
    pub triggers: &'static str,
    /// Its scripts, by what comes behind the dot: `post-install`.
    pub scripts: Vec<(&'static str, String)>,
    /// The name of its files' owner; root's if it is empty.
    pub owner: &'static str,
    /// Its files. A package without any has nothing to unpack.
    pub files: Vec<ApkFile>,
}

/// A repository that is made in a folder of a mirror: `RELEASE/NAME/x86_64`.
pub struct ApkRepository {
    folder: PathBuf,
    index: String,
}

impl ApkRepository {
    /// The name of the key that signs, and of its file.
    pub const KEY: &str = "test@example.org-1.rsa.pub";
    /// Its public half, a PEM file.
    pub const PUBLIC: &[u8] = include_bytes!("../../../banger-image/src/apk/testdata/test.rsa.pub");

    /// An empty one.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(mirror: &Path, release: &str, name: &str) -> io::Result<Self> {
        let folder = mirror.join(release).join(name).join("x86_64");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, index: String::new() })
    }

    /// Writes a package, and returns its file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, package: &Apk) -> io::Result<PathBuf> {
        let data = gz(&package.data()?)?;
        let size: usize = package.files.iter().map(ApkFile::size).sum();
        let control = gz(&package.control(size, &Sha256::digest(&data))?)?;
        let file = [signature(&control)?, control.clone(), data].concat();
        self.index.push_str(&package.record(size, file.len(), &Sha1::digest(&control)));
        let path = self.folder.join(format!("{}-{}.apk", package.name, package.version));
        fs::write(&path, file)?;
        Ok(path)
    }

    /// Writes the index, and returns its file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&self) -> io::Result<PathBuf> {
        self.write(None)
    }

    /// The same with a signature of something else.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn forge(&self) -> io::Result<PathBuf> {
        self.write(Some(b"something else"))
    }

    fn write(&self, signed: Option<&[u8]>) -> io::Result<PathBuf> {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, "DESCRIPTION", 0o644, b"a mirror for tests")?;
        entry(&mut tar, "APKINDEX", 0o644, self.index.as_bytes())?;
        let list = gz(&tar.into_inner()?)?;
        let path = self.folder.join("APKINDEX.tar.gz");
        fs::write(&path, [signature(signed.unwrap_or(&list))?, list].concat())?;
        Ok(path)
    }
}

impl Apk {
    /// The values of a key, each behind the others of its kind.
    fn lists(&self) -> [(&'static str, char, &'static str); 5] {
        [
            ("depend", 'D', self.depends),
            ("provides", 'p', self.provides),
            ("install_if", 'i', self.install_if),
            ("replaces", 'r', self.replaces),
            ("triggers", ' ', self.triggers),
        ]
    }

    fn record(&self, size: usize, bytes: usize, sha1: &[u8]) -> String {
        let Self { name, version, provider_priority, .. } = self;
        let mut text = format!(
            "C:Q1{}\nP:{name}\nV:{version}\nA:x86_64\nS:{bytes}\nI:{size}\nT:{name} for tests\nU:\nL:\nk:{provider_priority}\n",
            STANDARD.encode(sha1)
        );
        for (_, letter, list) in self.lists() {
            if letter != ' ' && !list.is_empty() {
                text.push_str(&format!("{letter}:{list}\n"));
            }
        }
        text.push('\n');
        text
    }

    /// The control member, without the blocks that end a tar file.
    fn control(&self, size: usize, hash: &[u8]) -> io::Result<Vec<u8>> {
        let Self { name, version, provider_priority, .. } = self;
        let mut info = format!(
            "pkgname = {name}\npkgver = {version}\narch = x86_64\nsize = {size}\nprovider_priority = {provider_priority}\ndatahash = {}\n",
            hex(hash)
        );
        for (key, _, list) in self.lists() {
            // All triggers are in one line.
            let lines: Vec<_> = match key {
                "triggers" => Some(list).filter(|list| !list.is_empty()).into_iter().collect(),
                _ => list.split_whitespace().collect(),
            };
            lines.iter().for_each(|value| info.push_str(&format!("{key} = {value}\n")));
        }
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, ".PKGINFO", 0o644, info.as_bytes())?;
        for (name, script) in &self.scripts {
            entry(&mut tar, &format!(".{name}"), 0o755, script.as_bytes())?;
        }
        cut(tar)
    }

    fn data(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for file in &self.files {
            match file {
                ApkFile::Folder { path } => {
                    append(&mut tar, (EntryType::Directory, self.owner), path, 0o755, b"", None)?;
                }
                ApkFile::File { path, mode, content } => {
                    checksum(&mut tar, content)?;
                    let kind = (EntryType::Regular, self.owner);
                    append(&mut tar, kind, path, *mode, content, None)?;
                }
                ApkFile::Link { path, target } => {
                    checksum(&mut tar, target.as_bytes())?;
                    let kind = (EntryType::Symlink, self.owner);
                    append(&mut tar, kind, path, 0o777, b"", Some(target))?;
                }
            }
        }
        tar.into_inner()
    }
}

impl ApkFile {
    fn size(&self) -> usize {
        match self {
            Self::Folder { .. } | Self::Link { .. } => 1,
            Self::File { content, .. } => content.len().max(1),
        }
    }
}

type Tar = tar::Builder<Vec<u8>>;

fn entry(tar: &mut Tar, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    append(tar, (EntryType::Regular, ""), path, mode, content, None)
}

/// Appends an entry whose path is written as it is, whatever it means.
fn append(
    tar: &mut Tar,
    (kind, owner): (EntryType, &str),
    path: &str,
    mode: u32,
    content: &[u8],
    target: Option<&str>,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let name = header.as_old_mut();
    let (place, path) = (&mut name.name, path.as_bytes());
    let short = || io::Error::other("the path is too long for a mirror of tests");
    place.get_mut(..path.len()).ok_or_else(short)?.copy_from_slice(path);
    if let Some(target) = target {
        let place = &mut name.linkname;
        place.get_mut(..target.len()).ok_or_else(short)?.copy_from_slice(target.as_bytes());
    }
    if let Some(header) = header.as_ustar_mut() {
        header.set_username(owner)?;
        header.set_groupname(owner)?;
    }
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content)
}

/// What apk knows a file by, as a record of the entry that follows.
fn checksum(tar: &mut Tar, content: &[u8]) -> io::Result<()> {
    let record = format!(" APK-TOOLS.checksum.SHA1={}\n", hex(&Sha1::digest(content)));
    // With two digits for itself.
    let record = format!("{}{record}", record.len() + 2);
    append(tar, (EntryType::XHeader, ""), "pax", 0o644, record.as_bytes(), None)
}

/// A tar file without the blocks that end it.
fn cut(tar: Tar) -> io::Result<Vec<u8>> {
    let mut bytes = tar.into_inner()?;
    bytes.truncate(bytes.len().saturating_sub(1024));
    Ok(bytes)
}

/// A member with a signature by RSA with SHA-256.
fn signature(signed: &[u8]) -> io::Result<Vec<u8>> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE).map_err(io::Error::other)?;
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|error| io::Error::other(error.to_string()))?;
    let mut bytes = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut bytes)
        .map_err(|_| io::Error::other("the key cannot sign"))?;
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, &format!(".SIGN.RSA256.{}", ApkRepository::KEY), 0o644, &bytes)?;
    gz(&cut(tar)?)
}

/// Stored: it is quick, and read the same.
fn gz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
