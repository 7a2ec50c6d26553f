//! The packages of an image: chosen, downloaded, checked and unpacked.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use super::download::small;
use super::release::Base;
use super::{ARCHITECTURE, Build, PACKAGES, VoidError};
use crate::build::BuildError;
use crate::cache;
use crate::fetch::{Download, fetch_by, get};
use crate::xbps::files::Entry;
use crate::xbps::package::{self, PackageError, Unpacked};
use crate::xbps::pkgdb::Registered;
use crate::xbps::repodata::{self, Package, Repodata};
use crate::xbps::resolve::{Chosen, ResolveError, resolve};

/// The index of Void has some 2 MiB.
const INDEX: u64 = 64 << 20;
/// A signature has 256 to 1024 bytes.
const SIGNATURE: u64 = 4096;
/// No package is larger. The index that says how large it is is not signed, and the package is held
/// in memory, for its signature is over all of it.
const PACKAGE_MAX: u64 = 1 << 30;
/// The package that depends on the kernel that Void recommends, and on much firmware.
const META: &str = "linux";
/// Where a package has its kernel, with the release behind it.
const KERNEL: &str = "/boot/vmlinuz-";

/// What is to be done.
pub(super) struct Plan<'a> {
    /// The packages to install, each after those that it needs.
    pub chosen: Vec<Chosen<'a>>,
    /// Which of them has the kernel.
    pub kernel: String,
    /// The packages that were removed from the database: others take their places.
    pub gone: Vec<String>,
}

/// A package in the root.
pub(super) struct Installed {
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: Vec<Entry>,
    /// What the database needs beside it.
    pub registered: Registered,
}

impl Build<'_> {
    /// Gets the index of the repository, as it is now.
    pub(super) fn index(&self) -> Result<Repodata, BuildError> {
        let url = format!("{}/{ARCHITECTURE}-repodata", self.repository());
        let file = small(&url, INDEX, &self.to.env.cancel).map_err(VoidError::Fetch)?;
        let index = repodata::parse(&*file)
            .map_err(|source| VoidError::Index { url: url.clone(), source })?;
        // Nothing vouches for this; it only tells at once what each package would.
        match &index.meta {
            None => Err(VoidError::Unsigned(url).into()),
            Some(meta) if !self.keys.repository.contains(&meta.key) => {
                Err(VoidError::UnknownKey { url, key: meta.key.fingerprint() }.into())
            }
            Some(_) => Ok(index),
        }
    }

    /// Chooses the packages: all of the root file system in the version of the repository, what a
    /// VM needs, and what was asked for. What others take the place of goes.
    pub(super) fn choose<'a>(
        &self,
        index: &'a Repodata,
        base: &mut Base,
    ) -> Result<Plan<'a>, BuildError> {
        let asked = &self.request.packages;
        let kernel = kernel(index, asked).ok_or_else(|| VoidError::NoKernel(self.repository()))?;
        let mut installed = base.database.installed();
        let mut gone = Vec::new();
        let chosen = loop {
            let mut wanted = vec![kernel.as_str()];
            wanted.extend(PACKAGES.iter().copied().chain(asked.iter().map(String::as_str)));
            wanted.extend(installed.iter().map(|package| package.pkgver.name()));
            let error = match resolve(&[index], &installed, ARCHITECTURE, &wanted) {
                Ok(chosen) => break chosen,
                Err(error) => error,
            };
            let ResolveError::Replaces { other, .. } = &error else {
                return Err(VoidError::Resolve(error).into());
            };
            let Some(at) = installed.iter().position(|one| one.pkgver.name() == other.name())
            else {
                // It is needed, or asked for.
                return Err(VoidError::Resolve(error).into());
            };
            base.database.remove(other.name());
            gone.push(installed.remove(at).pkgver.name().to_owned());
        };
        Ok(Plan { chosen, kernel, gone })
    }

    /// Downloads the packages, checks them, registers them and unpacks them into one new tar file.
    pub(super) fn install(
        &self,
        chosen: &[Chosen<'_>],
        base: &mut Base,
        tar: &Path,
    ) -> Result<Vec<Installed>, BuildError> {
        let write = BuildError::io("write", tar);
        let mut out = BufWriter::new(File::create_new(tar).map_err(&write)?);
        let total: u64 = chosen.iter().map(|one| one.package.size).sum();
        let mut done = 0;
        let mut installed = Vec::new();
        for Chosen { package, automatic, .. } in chosen {
            let unpacked = self.package(package, (done, total), &mut out)?;
            done += package.size;
            self.to.reporter.log(&unpacked.pkgver.to_string());
            let files = unpacked.files();
            let registered = base.database.register(&unpacked, *automatic);
            let name = unpacked.pkgver.name().to_owned();
            installed.push(Installed { name, files, registered });
        }
        cache::tidy(&self.cache);
        out.write_all(&package::END).and_then(|()| out.flush()).map_err(write)?;
        Ok(installed)
    }

    /// One package. `progress` is how many bytes were there before it, and how many it will be.
    fn package(
        &self,
        package: &Package,
        (before, total): (u64, u64),
        out: &mut dyn Write,
    ) -> Result<Unpacked, BuildError> {
        let cancel = &self.to.env.cancel;
        let name = package.file_name();
        let (url, file) = (format!("{}/{name}", self.repository()), self.cache.join(&name));
        if package.size > PACKAGE_MAX {
            return Err(VoidError::TooLarge { package: name, size: package.size }.into());
        }
        let download = Download { url: &url, file: &file, checksum: &package.checksum };
        let progress = |done, _| self.to.reporter.progress(before + done, Some(total));
        fetch_by(&download, Some(package.size), &|range| get(&url, range), cancel, &progress)
            .map_err(VoidError::Fetch)?;
        let content = fs::read(&file).map_err(BuildError::io("read", &file))?;
        let signature = self.cache.join(format!("{name}.sig2"));
        let remove = |error: VoidError| {
            for path in [&file, &signature] {
                // What is left is found to be wrong again the next time.
                let _ = fs::remove_file(path);
            }
            BuildError::from(error)
        };
        if !self.check(&content, &url, &signature)? {
            return Err(remove(VoidError::Untrusted(name)));
        }
        package::unpack(&content, package, out).map_err(|source| match source {
            PackageError::Write(source) => BuildError::io("write", self.to.scratch)(source),
            source => remove(VoidError::Package { package: name.clone(), source }),
        })
    }

    /// Whether a trusted key signed a package. The signature is kept beside it.
    fn check(&self, content: &[u8], url: &str, signature: &Path) -> Result<bool, BuildError> {
        if fs::read(signature).is_ok_and(|kept| self.keys.vouch(content, &kept)) {
            return Ok(true);
        }
        let fresh = small(&format!("{url}.sig2"), SIGNATURE, &self.to.env.cancel)
            .map_err(VoidError::Fetch)?;
        let right = self.keys.vouch(content, &fresh);
        if right {
            fs::write(signature, &fresh).map_err(BuildError::io("write", signature))?;
        }
        Ok(right)
    }
}

/// The package of the kernel: the one that was asked for, else the one that [`META`] names; that
/// one itself would bring 500 MiB of firmware.
fn kernel(index: &Repodata, asked: &[String]) -> Option<String> {
    if let Some(asked) = asked.iter().find(|name| is_series(name)) {
        return Some(asked.clone());
    }
    let needed = index.packages.get(META)?.run_depends.iter();
    let names = needed.filter_map(|pattern| pattern.split(['<', '>']).next());
    names.map(str::to_owned).find(|name| is_series(name))
}

/// Whether a package has the kernels of a series, as `linux6.12`.
fn is_series(package: &str) -> bool {
    let version = package.strip_prefix(META).unwrap_or_default();
    version.starts_with(|c: char| c.is_ascii_digit())
        && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The release of the kernel that a package brought.
///
/// # Errors
/// It brought none.
pub(super) fn kernel_release<'a>(
    installed: &'a [Installed],
    package: &str,
) -> Result<&'a str, BuildError> {
    let files = installed.iter().filter(|one| one.name == package).flat_map(|one| &one.files);
    let mut releases = files.filter_map(|file| file.path.strip_prefix(KERNEL));
    releases.next().ok_or_else(|| BuildError::Missing(format!("{KERNEL}* of '{package}'")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xbps::testing::{Made, read};

    #[test]
    fn the_kernel_is_the_one_that_void_recommends_unless_another_is_asked_for() {
        let index = read(&[
            Made::new("linux-6.12_1")
                .list("run_depends", &["linux-base>=0", "linux6.12>=6.12.1_1", "dracut>=0"]),
            Made::new("linux6.12-6.12.68_1"),
        ]);
        let kernel = |asked: &[&str]| {
            kernel(&index, &asked.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(kernel(&[]).as_deref(), Some("linux6.12"));
        assert_eq!(kernel(&["tmux", "linux6.6-headers"]).as_deref(), Some("linux6.12"));
        assert_eq!(kernel(&["linux6.6"]).as_deref(), Some("linux6.6"));
        assert_eq!(super::kernel(&read(&[]), &[]), None);
    }
}
