use std::io::Read as _;

use super::*;
use crate::decompress::Format;
use crate::oci::testing::{device, dir, file, link, symlink};
use crate::xbps::testing::{Made, sha256, text};
use proptest::prelude::*;

fn hello() -> Made {
    let long = format!("/usr/share/{}", "n".repeat(120));
    Made::new("hello-1.0_1")
        .script("INSTALL", "#!/bin/sh\necho $1\n")
        .file_of("/usr/bin/hello", "program")
        .file_of(&long, "long")
        .item(link("./usr/bin/hi", "./usr/bin/hello"))
        .listed("files", "/usr/bin/hi", Some(("sha256", &sha256(b"program"))))
        .item(symlink("./usr/lib/x", "../bin/hello"))
        .listed("links", "/usr/lib/x", Some(("target", "/usr/bin/hello")))
        .item(file("./etc/conf", "key").mode(0o600).owner(0, 42).xattr("user.a", "\n"))
        .listed("conf_files", "/etc/conf", Some(("sha256", &sha256(b"key"))))
}

/// What `unpack` writes, an entry a line.
fn entries(made: &Made) -> Result<String, PackageError> {
    let mut out = Vec::new();
    unpack(&made.file(), &made.package(), &mut out)?;
    out.extend(END);
    let mut lines = String::new();
    for entry in tar::Archive::new(&*out).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let header = entry.header();
        let target = entry.link_name().unwrap().unwrap_or_default();
        lines += &format!(
            "{:?} {:o} {}:{} {} {}{content}\n",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            entry.path().unwrap().display(),
            target.display(),
        );
    }
    Ok(lines)
}

#[test]
fn the_files_of_a_package_are_written_as_they_are() {
    insta::assert_snapshot!(entries(&hello()).unwrap(), @r"
    Regular 644 0:0 usr/bin/hello program
    Regular 644 0:0 usr/share/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn long
    Link 644 0:0 usr/bin/hi usr/bin/hello
    Symlink 777 0:0 usr/lib/x ../bin/hello
    Regular 600 0:42 etc/conf key
    ");
    for format in [Format::Gzip, Format::Xz] {
        let same = Made { format, ..hello() };
        assert_eq!(entries(&same).unwrap(), entries(&hello()).unwrap());
    }
}

#[test]
fn scripts_come_with_it_unless_they_are_empty() {
    let unpacked = hello().script("REMOVE", "").unpack();
    assert_eq!(unpacked.install.unwrap(), b"#!/bin/sh\necho $1\n");
    assert_eq!(unpacked.remove, None);
}

#[test]
fn folders_in_a_package_are_passed_over() {
    let made = Made::new("a-1_1").item(dir("./")).item(dir("./usr/")).file_of("/usr/a", "x");
    assert_eq!(entries(&made).unwrap().lines().count(), 1);
}

#[test]
fn a_package_that_the_index_does_not_know_is_refused() {
    let (made, mut told) = (hello(), Vec::new());
    let mut longer = made.file();
    longer.push(0);
    told.push(unpack(&longer, &made.package(), &mut Vec::new()).unwrap_err());
    let mut changed = made.file();
    changed[100] ^= 1;
    told.push(unpack(&changed, &made.package(), &mut Vec::new()).unwrap_err());
    for (key, value) in [("pkgver", "hello-0.9_1"), ("pkgname", "bye"), ("architecture", "i686")] {
        let mut other = made.clone();
        other.props.insert(key.to_owned(), text(value));
        let mut package = other.clone().package_of(&made);
        package.checksum = Checksum::Sha256(Sha256::digest(other.file()).into());
        told.push(unpack(&other.file(), &package, &mut Vec::new()).unwrap_err());
    }
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    let told = told
        .join("\n")
        .replace(&sha256(&made.file()), "SUM")
        .replace(&sha256(&changed), "OTHER")
        .replace(&longer.len().to_string(), "MORE")
        .replace(&made.file().len().to_string(), "BYTES");
    insta::assert_snapshot!(told, @r"
    the package has MORE bytes, and the index of the repository says BYTES
    the package is not what it should be: expected sha256:SUM, got sha256:OTHER
    the package says that its version is 'hello-0.9_1', and the index says 'hello-1.0_1'
    the package says that its name is 'bye', and the index says 'hello'
    the package says that its architecture is 'i686', and the index says 'x86_64'
    ");
}

impl Made {
    /// What an index says that knows `indexed`, with the size of this.
    fn package_of(self, indexed: &Self) -> repodata::Package {
        repodata::Package { size: self.file().len() as u64, ..indexed.package() }
    }
}

#[test]
fn files_that_are_not_as_listed_are_refused() {
    let base = || Made::new("a-1_1");
    let sum = sha256(b"x");
    let listed = |kind, path| base().listed(kind, path, Some(("sha256", &sum)));
    let both = |path| listed("files", path).item(file(&format!(".{path}"), "x"));
    let told: Vec<_> = [
        base().item(file("./a", "x")),
        base().item(symlink("./a", "x")),
        listed("files", "/a").item(symlink("./a", "x")),
        listed("links", "/a").item(file("./a", "x")),
        listed("files", "/a"),
        listed("links", "/a"),
        listed("files", "/a").item(file("./a", "y")),
        base().listed("files", "/a", None).item(file("./a", "x")),
        both("/a").item(file("./a", "x")),
        both("/a").listed("files", "/a/b", Some(("sha256", &sum))).item(file("./a/b", "x")),
        both("/a/b").listed("links", "/a", None).item(symlink("./a", "/etc")),
        listed("links", "/a")
            .item(symlink("./a", "/etc"))
            .listed("files", "/a/b", Some(("sha256", &sum)))
            .item(file("./a/b", "x")),
        listed("files", "/a").item(link("./a", "./b")),
        listed("files", "/a").item(link("./a", "/etc/shadow")),
        both("/b").listed("files", "/a", Some(("sha256", &sha256(b"z")))).item(link("./a", "./b")),
        both("/../a"),
        both("/b/../../a"),
        both("//a"),
        listed("files", "/a").item(file("/a", "x")),
        listed("files", "/a").item(file("", "x")),
        listed("files", "/a").item(device("./a", b'3', 1, 3)),
        both("/props.plist").item(file("./props.plist", "x")),
    ]
    .iter()
    .map(|made| entries(made).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    the package has the file '/a', which is not in its list of files
    the package has the file '/a', which is not in its list of files
    the package has the file '/a', which is not in its list of files
    the package has the file '/a', which is not in its list of files
    the package lacks the file '/a' of its list of files
    the package lacks the file '/a' of its list of files
    the file '/a' of the package is not what its list of files says
    the package has the file '/a', which is not in its list of files
    the package has '/a' in the place of another of its files
    the package has '/a/b' in the place of another of its files
    the package has '/a' in the place of another of its files
    the package has '/a/b' in the place of another of its files
    the package has '/a' as another name of '/b', which is not before it
    the package has the file '/etc/shadow', which has no place in a root file system
    the file '/a' of the package is not what its list of files says
    the package has the file './../a', which has no place in a root file system
    the package has the file './b/../../a', which has no place in a root file system
    the package has the file './/a', which has no place in a root file system
    the package has the file '/a', which has no place in a root file system
    the package has the file '', which has no place in a root file system
    the package has '/a', which is neither a file nor a link
    the package has '/props.plist' in the place of another of its files
    ");
}

#[test]
fn a_package_needs_its_lists_before_its_files() {
    use crate::decompress::tests::compress;
    use crate::oci::testing::layer;
    let props = plist::write(&hello().props);
    let told: Vec<_> = [
        vec![],
        vec![file("./a", "x")],
        vec![file("./props.plist", &props)],
        vec![file("./props.plist", "x")],
        vec![file("./props.plist", &props), file("./files.plist", "x")],
        vec![file("./INSTALL", vec![0; 2 << 20])],
    ]
    .into_iter()
    .map(|items| {
        let bytes = compress(Format::Zstd, &layer(&items));
        let mut package = hello().package();
        package.size = bytes.len() as u64;
        package.checksum = Checksum::Sha256(Sha256::digest(&bytes).into());
        unpack(&bytes, &package, &mut Vec::new()).unwrap_err().to_string()
    })
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    the package has no props.plist before its files
    the package has no props.plist before its files
    the package has no files.plist before its files
    the props.plist of the package cannot be read
    the files.plist of the package cannot be read
    the package cannot be unpacked
    ");
}

#[test]
fn a_writer_that_fails_is_told_from_a_damaged_package() {
    let mut full = [0; 600];
    let error = unpack(&hello().file(), &hello().package(), &mut &mut full[..]).unwrap_err();
    assert!(matches!(error, PackageError::Write(_)), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_unpacked_or_refused(
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut changed = hello();
        changed.format = Format::Gzip;
        let mut tar = crate::decompress::decompress(&changed.file()).unwrap();
        let at = at.index(tar.len());
        tar[at] = value;
        for file in [&tar[..], &tar[..at], &bytes] {
            let mut package = hello().package();
            package.size = file.len() as u64;
            package.checksum = Checksum::Sha256(Sha256::digest(file).into());
            let _ = unpack(file, &package, &mut Vec::new());
        }
    }
}
