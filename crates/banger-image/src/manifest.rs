//! The list of packages in an image.

use std::path::Path;

use banger_core::api::Package;

use crate::apk;
use crate::ext4::{Disk, PatchError};
use crate::xbps::pkgdb;

/// No database of packages is longer.
const DATABASE_MAX: u64 = 64 << 20;
const DPKG: &str = "/var/lib/dpkg/status";
/// apk's, by its place of today and that of tomorrow.
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// The packages in a root, as one `name version architecture` a line, sorted; none if it has no
/// database of them that is known here, or one that cannot be understood.
///
/// # Errors
/// The root cannot be read.
pub fn read(root: &Disk<'_>) -> Result<Option<String>, PatchError> {
    let content = |path: &str| root.read(Path::new(path), DATABASE_MAX);
    if let Some(status) = content(DPKG)? {
        return Ok(Some(from_dpkg_status(&String::from_utf8_lossy(&status))));
    }
    for path in APK {
        if let Some(installed) = content(path)? {
            return Ok(Some(apk::installed::list(&installed)));
        }
    }
    let xbps = format!("/{}/{}", pkgdb::FOLDER, pkgdb::FILE);
    Ok(content(&xbps)?.and_then(|plist| from_pkgdb(&plist)))
}

/// The packages of such a list.
#[must_use]
pub fn packages(list: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some(Package { name: words.next()?, version: words.next()?, architecture: words.next()? })
    };
    list.lines().filter_map(package).collect()
}

/// The same of xbps' database.
fn from_pkgdb(plist: &[u8]) -> Option<String> {
    let installed = pkgdb::Database::parse(plist).ok()?.installed();
    let line = |package: &pkgdb::Installed| {
        let (pkgver, architecture) = (&package.pkgver, &package.architecture);
        format!("{} {} {architecture}\n", pkgver.name(), pkgver.version())
    };
    let mut lines: Vec<_> = installed.iter().map(line).collect();
    lines.sort_unstable();
    Some(lines.concat())
}

/// The installed packages in dpkg's status file (deb-control(5), dpkg(1)), one
/// `name version architecture` a line, sorted.
#[must_use]
pub fn from_dpkg_status(status: &str) -> String {
    let mut lines: Vec<_> = status.split("\n\n").filter_map(package).collect();
    lines.sort_unstable();
    lines.concat()
}

fn package(paragraph: &str) -> Option<String> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    // "want flag state": a package that is on hold is installed, too.
    if field("Status")?.split_whitespace().nth(2) != Some("installed") {
        return None;
    }
    Some(format!("{} {} {}\n", field("Package")?, field("Version")?, field("Architecture")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{Cancel, Command, HostRunner, Runner as _, Tool, Tools};
    use proptest::prelude::*;

    #[test]
    fn installed_packages_are_listed_in_order() {
        let status = "\
Package: tar
Status: install ok installed
Architecture: amd64
Version: 1.34+dfsg-1.2
Description: GNU tar
 Status: deinstall ok config-files

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: hold ok installed
Architecture: all
Version: 3.134
";
        insta::assert_snapshot!(from_dpkg_status(status), @r"
        adduser 3.134 all
        tar 1.34+dfsg-1.2 amd64
        ");
    }

    #[test]
    fn the_database_that_a_root_has_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let runner = HostRunner::new(Tools::discover());
        let list = |path: &str, content: &str| {
            let (tree, disk) = (dir.path().join("tree"), dir.path().join("disk"));
            let file = tree.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
            let mke2fs = Command::new(Tool::Mke2fs).args(["-q", "-F", "-t", "ext4", "-d"]);
            runner.capture(&mke2fs.arg(&tree).arg(&disk).arg("8M")).unwrap();
            std::fs::remove_dir_all(tree).unwrap();
            let cancel = Cancel::default();
            read(&Disk::open(&runner, &disk, &cancel).unwrap()).unwrap()
        };
        let dpkg = "Package: tar\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n";
        assert_eq!(list("var/lib/dpkg/status", dpkg).unwrap(), "tar 1 amd64\n");
        let apk = "P:zlib\nV:1.3-r2\nA:x86_64\n\nP:busybox\nV:1.37-r1\nA:x86_64\n\n";
        let expected = "busybox 1.37-r1 x86_64\nzlib 1.3-r2 x86_64\n";
        assert_eq!(list("lib/apk/db/installed", apk).unwrap(), expected);
        assert_eq!(list("usr/lib/apk/db/installed", apk).unwrap(), expected);
        assert_eq!(packages(expected)[1].name, "zlib");
        let entry = "<dict><key>pkgver</key><string>xz-5.6_1</string><key>architecture</key>\
                     <string>x86_64</string><key>state</key><string>installed</string></dict>";
        let xbps = format!(
            "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>xz</key>{entry}</dict></plist>"
        );
        assert_eq!(list("var/db/xbps/pkgdb-0.38.plist", &xbps).unwrap(), "xz 5.6_1 x86_64\n");
        assert_eq!(list("var/db/xbps/pkgdb-0.38.plist", "<"), None);
        assert_eq!(list("etc/passwd", ""), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_sorted_lines_of_three_words(text in "((Package|Status|Version|X): ?[a-z ]{0,20}\n{1,2})*|\\PC*") {
            let list = from_dpkg_status(&text);
            prop_assert!(list.lines().is_sorted());
        }
    }
}
