//! The opencode server, pinned: of each build one version, one checksum.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use banger_exec::Cancel;
use flate2::read::GzDecoder;

use crate::checksum::InvalidChecksum;
use crate::fetch::{Download, FetchError, fetch};

/// A build of the server, as npm's registry has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its checksum.
    pub integrity: &'static str,
}

/// The build for glibc that needs no AVX2.
pub const GLIBC: Package = Package {
    name: "opencode-linux-x64-baseline",
    version: "1.18.33",
    integrity: "sha512-1KQGBiiDDeL/VHHbHkOvvFo8Jr97WT5+C1tear+p7IcDTnXgVHXqIjU4O4jM4mHQzykTP2i884FCnW5LDa+zCA==",
};

/// The same for musl; it needs `libgcc` and `libstdc++`.
pub const MUSL: Package = Package {
    name: "opencode-linux-x64-baseline-musl",
    version: "1.18.32",
    integrity: "sha512-HGa9YBUBdc+qAyC9U8zXUht5qbTufOABOfSwmhukmzl9uMtuGoUovCzilwxytH0mTr/prUT/LAqWcXXoPXjRoA==",
};

const REGISTRY: &str = "https://registry.npmjs.org";
const BINARY: &str = "package/bin/opencode";

/// opencode could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpencodeError {
    /// The download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The checksum in this program is not one.
    #[error(transparent)]
    Pin(#[from] InvalidChecksum),
    /// The package could not be read.
    #[error("cannot read {}", path.display())]
    Package {
        /// The downloaded package.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Downloads a package into `cache` unless it is there; returns its path.
///
/// # Errors
/// The download failed, was cancelled, or is not the pinned package.
pub fn download(
    package: &Package,
    cache: &Path,
    cancel: &Cancel,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<PathBuf, OpencodeError> {
    let file = cache.join(format!("{}-{}.tgz", package.name, package.version));
    let url = format!("{0}/{1}/-/{1}-{2}.tgz", registry(), package.name, package.version);
    let checksum = package.integrity.parse()?;
    fetch(&Download { url: &url, file: &file, checksum: &checksum }, cancel, progress)?;
    Ok(file)
}

/// Hands the server's binary in the package to `take`, with its size.
///
/// # Errors
/// The package cannot be read or has no such file, or `take` fails.
pub fn with_binary<T>(
    package: &Path,
    take: impl FnOnce(u64, &mut dyn Read) -> io::Result<T>,
) -> Result<T, OpencodeError> {
    let read = || {
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(package)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.path_bytes().as_ref() == BINARY.as_bytes() {
                return take(entry.size(), &mut entry);
            }
        }
        Err(io::Error::other(format!("it has no {BINARY}")))
    };
    read().map_err(|source| OpencodeError::Package { path: package.to_owned(), source })
}

/// The registry that the user's npm is set to.
fn registry() -> String {
    let named = std::env::var_os("NPM_CONFIG_USERCONFIG").map(PathBuf::from);
    let file = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".npmrc")));
    let text = file.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    registry_in(&text).unwrap_or(REGISTRY).to_owned()
}

/// The registry that an .npmrc names (npm-config, "npmrc Files": ini format;
/// the last one counts).
fn registry_in(npmrc: &str) -> Option<&str> {
    let value = npmrc.lines().rev().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "registry").then_some(value)
    })?;
    let url = value.trim().trim_matches(['"', '\'']).trim_end_matches('/');
    (url.starts_with("https://") || url.starts_with("http://")).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_npms() {
        assert_eq!(registry_in(""), None);
        assert_eq!(registry_in("; registry=https://no.example\nfund=false\n"), None);
        assert_eq!(registry_in("registry=${HOST}/npm\n"), None);
        let npmrc = "registry=http://old.example/\n registry = \"https://new.example/npm/\"\n";
        assert_eq!(registry_in(npmrc), Some("https://new.example/npm"));
        for package in [GLIBC, MUSL] {
            assert!(package.integrity.parse::<crate::checksum::Checksum>().is_ok());
        }
    }

    #[test]
    fn the_binary_comes_out_of_the_package() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("p.tgz");
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            File::create(&package).unwrap(),
            flate2::Compression::fast(),
        ));
        for (path, content) in [("package/package.json", "{}"), (BINARY, "ELF")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        let read = |size, reader: &mut dyn Read| Ok((size, io::read_to_string(reader)?));
        assert_eq!(with_binary(&package, read).unwrap(), (3, "ELF".to_owned()));
        std::fs::write(&package, "x").unwrap();
        assert!(with_binary(&package, |_, _| Ok(())).is_err());
    }
}
