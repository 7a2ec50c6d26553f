//! What lies below and above the packages: what of the root file system goes with its old packages,
//! and what of it stays although the new ones have it, the database, and what a VM needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use banger_core::guest::PROVISION_PATH;

use super::packages::Installed;
use super::release::{Base, Config};
use super::services::{CURRENT, DOWN, ENABLED, OPENCODE, OPENCODE_RUN, OPENCODE_SERVICE, SSHD};
use super::{Build, PROVISION};
use crate::archive::{Archive, Item};
use crate::build::BuildError;
use crate::checksum::Checksum;
use crate::opencode;
use crate::signed::provision;
use crate::xbps::files::{Entry, Kind};
use crate::xbps::pkgdb;

const SHADOW: &str = "/etc/shadow";

impl Build<'_> {
    /// Writes what goes, as a layer between the root file system and the packages: should a package
    /// have a file by another way that leads to the same place, it stays.
    pub(super) fn below(
        &self,
        base: &Base,
        new: &[Installed],
        gone: &[String],
    ) -> Result<PathBuf, BuildError> {
        let out = self.to.scratch.join("gone.tar");
        let mut archive = Archive::create(&out, self.request.created_at)?;
        for path in obsolete(base, new, gone) {
            whiteout(&mut archive, path)?;
        }
        let lists = new.iter().filter(|one| one.registered.list.is_none());
        let lists = lists.map(|one| one.registered.list_name.clone());
        for list in lists.chain(gone.iter().map(|package| pkgdb::list_name(package))) {
            whiteout(&mut archive, &format!("/{}/{list}", pkgdb::FOLDER))?;
        }
        // A VM has neither a console nor devices that come and go.
        empty(&mut archive, &format!("{ENABLED}/.wh..wh..opq"))?;
        archive.finish()?;
        Ok(out)
    }

    /// Writes what lies over the packages.
    pub(super) fn above(
        &self,
        base: &Base,
        new: &[Installed],
        opencode: Option<&Path>,
    ) -> Result<PathBuf, BuildError> {
        let out = self.to.scratch.join("void.tar");
        let mut archive = Archive::create(&out, self.request.created_at)?;
        for path in kept(base, new) {
            if let Some(config) = base.etc.get(path) {
                archive.owned(relative(path), &config.meta, &config.content)?;
            }
        }
        database(&mut archive, base, new)?;
        // Without it nobody would know whether root has the password that everybody knows.
        let shadow = base.etc.get(SHADOW).ok_or_else(|| BuildError::Missing(SHADOW.to_owned()))?;
        let content = locked(&String::from_utf8_lossy(&shadow.content));
        archive.owned(relative(SHADOW), &shadow.meta, content.as_bytes())?;
        archive.add(&Item::Link { path: CURRENT.to_owned(), target: "default".to_owned() })?;
        DOWN.iter().try_for_each(|path| empty(&mut archive, path))?;
        archive.add(&Item::Folder(SSHD))?;
        let provision = provision(PROVISION);
        let content = provision.as_bytes();
        archive.add(&Item::File { path: PROVISION_PATH, mode: 0o755, content })?;
        if let Some(mirror) = &self.request.mirror {
            // It takes the place of the file of that name in /usr/share/xbps.d (xbps.d(5)).
            let content = format!("repository={}/current\n", mirror.trim_end_matches('/'));
            let path = "etc/xbps.d/00-repository-main.conf";
            archive.add(&Item::File { path, mode: 0o644, content: content.as_bytes() })?;
        }
        if let Some(package) = opencode {
            let content = OPENCODE_RUN.as_bytes();
            archive.add(&Item::File { path: OPENCODE_SERVICE, mode: 0o755, content })?;
            opencode::with_binary(package, |size, binary| {
                archive.file(OPENCODE, 0o755, size, binary)
            })?;
        }
        archive.finish()?;
        Ok(out)
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn empty(archive: &mut Archive, path: &str) -> Result<(), BuildError> {
    archive.add(&Item::File { path, mode: 0o644, content: b"" })
}

/// Takes a file away (image-spec, "Whiteouts").
fn whiteout(archive: &mut Archive, path: &str) -> Result<(), BuildError> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    empty(archive, relative(&format!("{folder}/.wh.{name}")))
}

/// The database, the lists of files beside it, and the symlinks that packages take turns to make.
fn database(archive: &mut Archive, base: &Base, new: &[Installed]) -> Result<(), BuildError> {
    let mut file = |name: &str, content: &[u8]| {
        let path = format!("{}/{name}", pkgdb::FOLDER);
        archive.add(&Item::File { path: &path, mode: 0o644, content })
    };
    file(pkgdb::FILE, &base.database.write())?;
    for Installed { registered, .. } in new {
        if let Some(list) = &registered.list {
            file(&registered.list_name, list)?;
        }
    }
    for link in new.iter().flat_map(|one| &one.registered.links) {
        let (path, target) = (link.path.clone(), link.target.clone());
        archive.add(&Item::Link { path, target })?;
    }
    Ok(())
}

/// What packages that are replaced had and no package has any more. Of files for people to change,
/// those that somebody did change stay (xbps-install(1)).
fn obsolete<'a>(base: &'a Base, new: &[Installed], gone: &[String]) -> BTreeSet<&'a str> {
    let replaced =
        |package: &String| gone.contains(package) || new.iter().any(|one| one.name == *package);
    let (old, stay): (Vec<_>, Vec<_>) =
        base.lists.iter().partition(|(package, _)| replaced(package));
    let have: BTreeSet<&str> = stay
        .into_iter()
        .flat_map(|(_, list)| list)
        .chain(new.iter().flat_map(|one| &one.files))
        .map(|entry| entry.path.as_str())
        .collect();
    let goes = |entry: &&Entry| match &entry.kind {
        Kind::Config(sum) => base.etc.get(&entry.path).is_some_and(|file| file.checksum() == *sum),
        Kind::File(_) | Kind::Link => true,
    };
    let old = old.into_iter().flat_map(|(_, list)| list).filter(goes);
    old.map(|entry| entry.path.as_str()).filter(|path| !have.contains(path)).collect()
}

/// Files for people to change that are not as the old packages brought them: the new ones' do not
/// take their place.
fn kept<'a>(base: &Base, new: &'a [Installed]) -> BTreeSet<&'a str> {
    let brought: BTreeMap<&str, &Checksum> = base
        .lists
        .values()
        .flatten()
        .filter_map(|entry| match &entry.kind {
            Kind::Config(sum) | Kind::File(sum) => Some((entry.path.as_str(), sum)),
            Kind::Link => None,
        })
        .collect();
    let changed = |path: &str| {
        let there = base.etc.get(path).map(Config::checksum);
        there.is_some_and(|there| brought.get(path) != Some(&&there))
    };
    let files = new.iter().flat_map(|one| &one.files);
    let configs = files.filter(|entry| matches!(entry.kind, Kind::Config(_)));
    configs.map(|entry| entry.path.as_str()).filter(|path| changed(path)).collect()
}

/// Takes the password away that everybody knows. With `!` in its place sshd would let nobody in
/// without PAM (sshd(8), "AUTHENTICATION").
fn locked(shadow: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("root", rest)) => {
            let more = rest.split_once(':').map(|(_, more)| more).unwrap_or_default();
            format!("root:*:{more}\n")
        }
        _ => format!("{line}\n"),
    };
    shadow.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::entries::Meta;
    use crate::xbps::testing::{Made, sha256};

    /// A root file system with a package `a`, and what its next version brings.
    fn scene() -> (Base, Vec<Installed>) {
        let config = |made: Made, path: &str, content: &str| {
            let sum = sha256(content.as_bytes());
            let item = crate::oci::testing::file(&format!(".{path}"), content);
            made.listed("conf_files", path, Some(("sha256", &sum))).item(item)
        };
        let old = Made::new("a-1_1").file_of("/usr/gone", "x").file_of("/usr/stays", "x");
        let old = config(config(old, "/etc/mine", "old"), "/etc/plain", "old");
        let old = config(config(old, "/etc/left", "old"), "/etc/unused", "old");
        let other = Made::new("b-1_1").file_of("/usr/moved", "x");
        let new = Made::new("a-2_1").file_of("/usr/stays", "y").file_of("/usr/new", "y");
        let new = config(config(new, "/etc/mine", "new"), "/etc/plain", "new");
        let new = config(new, "/etc/first", "new");

        let etc = |path: &str, content: &str| {
            (path.to_owned(), Config { meta: Meta::default(), content: content.into() })
        };
        let etc = [
            etc("/etc/mine", "changed"),
            etc("/etc/plain", "old"),
            etc("/etc/left", "changed"),
            etc("/etc/unused", "old"),
            etc("/etc/first", "was there"),
        ];
        let mut base =
            Base { database: pkgdb::Database::default(), lists: BTreeMap::new(), etc: etc.into() };
        for made in [&old, &other] {
            let unpacked = made.unpack();
            base.database.register(&unpacked, false);
            base.lists.insert(unpacked.pkgver.name().to_owned(), unpacked.files());
        }
        // A file may have moved to another package without that being new.
        let moved = Entry { path: "/usr/moved".to_owned(), kind: Kind::Link };
        base.lists.get_mut("a").unwrap().push(moved);
        let unpacked = new.unpack();
        let registered = base.database.register(&unpacked, false);
        let files = unpacked.files();
        (base, vec![Installed { name: "a".to_owned(), files, registered }])
    }

    #[test]
    fn what_nobody_has_any_more_goes_unless_somebody_changed_it() {
        let (base, new) = scene();
        assert_eq!(obsolete(&base, &new, &[]), ["/etc/unused", "/usr/gone"].into());
        let gone = obsolete(&base, &new, &["b".to_owned()]);
        assert_eq!(gone, ["/etc/unused", "/usr/gone", "/usr/moved"].into());
    }

    #[test]
    fn what_somebody_changed_is_kept() {
        let (base, new) = scene();
        assert_eq!(kept(&base, &new), ["/etc/first", "/etc/mine"].into());
    }

    #[test]
    fn roots_password_is_locked_and_no_other() {
        let shadow = "root:$6$x$y:20121:0:99999:7:::\nbin:!:1::::::\n";
        assert_eq!(locked(shadow), "root:*:20121:0:99999:7:::\nbin:!:1::::::\n");
        assert_eq!(locked("root"), "root\n");
    }

    #[test]
    fn a_whiteout_is_beside_what_it_hides() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("tar");
        let mut archive = Archive::create(&out, 0).unwrap();
        whiteout(&mut archive, "/usr/lib/a").unwrap();
        whiteout(&mut archive, "/b").unwrap();
        archive.finish().unwrap();
        let mut archive = tar::Archive::new(std::fs::File::open(&out).unwrap());
        let names = archive.entries().unwrap();
        let names: Vec<_> =
            names.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["usr/lib/.wh.a", ".wh.b"]);
    }
}
