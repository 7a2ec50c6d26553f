//! apk's database of what is installed, from which apk in the guest goes on.
//!
//! There is no document of it but apk-tools itself (`src/database.c`, `src/package.c`); what is
//! written here is what versions 2 and 3 read. `installed` has the lines of an index, then, for each
//! folder, `F:` with its path and `M:` with its owner, group and mode, and for each file in it `R:`
//! with its name, `a:` as `M:`, and `Z:` with its hash.

mod owners;

use std::collections::HashMap;
use std::io;

use super::dependency::{Dependency, join};
use super::identity::q1;
use super::index::Record;
use super::package::{File, Kind, Package};
pub use owners::Clash;
use owners::Owners;

/// Owner, group and mode that are not written.
const FOLDER: (u32, u32, u32) = (0, 0, 0o755);
const FILE: (u32, u32, u32) = (0, 0, 0o644);

/// A package that is installed.
#[derive(Debug, Clone, Copy)]
pub struct Installed<'a> {
    /// Its record in the index.
    pub record: &'a Record,
    /// What was unpacked; none of one whose installed size is 0, which apk does not fetch.
    pub package: Option<&'a Package>,
}

/// The files of the database, by their paths in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `lib/apk/db/installed`
    pub installed: Vec<u8>,
    /// `lib/apk/db/scripts.tar`
    pub scripts: Vec<u8>,
    /// `lib/apk/db/triggers`
    pub triggers: Vec<u8>,
    /// `etc/apk/world`
    pub world: Vec<u8>,
    /// `etc/apk/arch`
    pub arch: Vec<u8>,
    /// Files of a package that give way to those of one that was installed before it, so that they
    /// must not be laid over those: the package's place in the list, and the path.
    pub superseded: Vec<(usize, Vec<u8>)>,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Two packages have a file, and neither may replace the other's.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// A script cannot be put into the tar file.
    #[error("the scripts of {package} could not be kept")]
    Scripts {
        /// The package.
        package: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// Writes the database of packages, which are in the order in which they are installed. `world` is
/// what was asked for.
///
/// # Errors
///
/// Two packages have the same file, and neither replaces the other.
pub fn database(
    packages: &[Installed<'_>],
    world: &[Dependency],
    arch: &str,
) -> Result<Database, DatabaseError> {
    let owners = Owners::new(packages)?;
    let (mut installed, mut triggers) = (Vec::new(), Vec::new());
    let mut scripts = tar::Builder::new(Vec::new());
    let mut sorted: Vec<_> = packages.iter().enumerate().collect();
    sorted.sort_by_key(|(_, package)| &package.record.name);
    for (n, Installed { record, package }) in sorted {
        installed.extend(header(record).into_bytes());
        if let Some(package) = package {
            let info = &package.info;
            if !info.replaces.is_empty() {
                installed.extend(format!("r:{}\n", join(&info.replaces)).bytes());
            }
            if info.replaces_priority > 0 {
                installed.extend(format!("q:{}\n", info.replaces_priority).bytes());
            }
            let files = package.files.iter();
            files_of(files.filter(|file| owners.has(n, file)), &mut installed);
            if !info.triggers.is_empty() {
                let line = format!("{} {}\n", q1(&record.identity.key()), info.triggers.join(" "));
                triggers.extend(line.into_bytes());
            }
            append(&mut scripts, record, package).map_err(|source| {
                let package = format!("{}-{}", record.name, record.version);
                DatabaseError::Scripts { package, source }
            })?;
        }
        installed.push(b'\n');
    }
    let scripts = scripts.into_inner().map_err(|source| {
        let package = "all packages".to_owned();
        DatabaseError::Scripts { package, source }
    })?;
    let mut world: Vec<_> = world.iter().map(|dependency| format!("{dependency}\n")).collect();
    world.sort_unstable();
    Ok(Database {
        installed,
        scripts,
        triggers,
        world: world.concat().into_bytes(),
        arch: format!("{arch}\n").into_bytes(),
        superseded: owners.superseded(),
    })
}

/// The lines that an index has, too.
fn header(record: &Record) -> String {
    let Record { name, version, size, installed_size, .. } = record;
    let mut text = format!("C:{}\nP:{name}\nV:{version}\n", q1(&record.identity.key()));
    if !record.arch.is_empty() {
        text.push_str(&format!("A:{}\n", record.arch));
    }
    text.push_str(&format!("S:{size}\nI:{installed_size}\n"));
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    // apk writes these even if they are empty.
    for (letter, value) in [("T", &record.description), ("U", &record.url), ("L", &record.license)]
    {
        text.push_str(&format!("{letter}:{value}\n"));
    }
    for (letter, value) in [
        ("o", record.origin.clone()),
        ("m", record.maintainer.clone()),
        ("t", number(record.build_time)),
        ("c", record.commit.clone()),
        ("k", number(record.provider_priority.into())),
        ("D", join(&record.depends)),
        ("p", join(&record.provides)),
        ("i", join(&record.install_if)),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("{letter}:{value}\n"));
        }
    }
    text
}

/// A folder with its files; a folder that a package does not list has no owner there.
#[derive(Default)]
struct Folder<'a> {
    path: &'a [u8],
    own: Option<&'a File>,
    files: Vec<(&'a [u8], &'a File)>,
}

fn files_of<'a>(files: impl Iterator<Item = &'a File>, out: &mut Vec<u8>) {
    let mut folders: Vec<Folder<'_>> = Vec::new();
    let mut places = HashMap::new();
    let mut folder = |path, file: &'a File, name: Option<&'a [u8]>| {
        let place = *places.entry(path).or_insert(folders.len());
        if place == folders.len() {
            folders.push(Folder { path, ..Folder::default() });
        }
        if let Some(folder) = folders.get_mut(place) {
            match name {
                Some(name) => folder.files.push((name, file)),
                None => folder.own = Some(file),
            }
        }
    };
    for file in files {
        let path = file.path.as_slice();
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match slash.and_then(|n| path.split_at_checked(n)) {
            Some((above, name)) => (above, name.strip_prefix(b"/").unwrap_or(name)),
            None => (&b""[..], path),
        };
        match file.kind {
            Kind::Folder => folder(path, file, None),
            Kind::Other => folder(above, file, Some(name)),
        }
    }
    for Folder { path, own, files } in folders {
        out.extend([b"F:", path, b"\n"].concat());
        if let Some(own) = own {
            out.extend(owner('M', own, FOLDER).into_bytes());
        }
        for (name, file) in files {
            out.extend([b"R:", name, b"\n"].concat());
            out.extend(owner('a', file, FILE).into_bytes());
            if let Some(sha1) = &file.sha1 {
                out.extend(format!("Z:{}\n", q1(sha1)).into_bytes());
            }
        }
    }
}

fn owner(letter: char, file: &File, default: (u32, u32, u32)) -> String {
    let File { uid, gid, mode, xattrs, .. } = file;
    match xattrs {
        None if (*uid, *gid, *mode) == default => String::new(),
        None => format!("{letter}:{uid}:{gid}:{mode:o}\n"),
        Some(xattrs) => format!("{letter}:{uid}:{gid}:{mode:o}:{}\n", q1(xattrs)),
    }
}

/// Scripts are in a tar file, named by package, hash and kind. The hash may also be in base64, but
/// that has slashes.
fn append(
    scripts: &mut tar::Builder<Vec<u8>>,
    record: &Record,
    package: &Package,
) -> io::Result<()> {
    for (script, content) in &package.scripts {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(record.build_time);
        header.set_size(content.len() as u64);
        let hash = record.identity.digits();
        let name = format!("{}-{}.X1{hash}.{}", record.name, record.version, script.as_str());
        scripts.append_data(&mut header, name, content.as_slice())?;
    }
    Ok(())
}

/// The packages in a `lib/apk/db/installed`, one `name version architecture` a line, sorted.
#[must_use]
pub fn list(installed: &[u8]) -> String {
    let mut lines = Vec::new();
    let (mut name, mut version, mut arch) = (None, None, None);
    // The last package may lack the empty line behind it.
    for line in installed.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        let word = |value: &[u8]| {
            let word = String::from_utf8_lossy(value).into_owned();
            (!word.is_empty() && !word.contains(char::is_whitespace)).then_some(word)
        };
        match line {
            [] => {
                if let (Some(name), Some(version)) = (name.take(), version.take()) {
                    let arch = arch.take().unwrap_or_else(|| "noarch".to_owned());
                    lines.push(format!("{name} {version} {arch}\n"));
                }
                (name, version, arch) = (None, None, None);
            }
            [b'P', b':', value @ ..] => name = word(value),
            [b'V', b':', value @ ..] => version = word(value),
            [b'A', b':', value @ ..] => arch = word(value),
            _ => {}
        }
    }
    lines.sort_unstable();
    lines.concat()
}

#[cfg(test)]
mod tests;
