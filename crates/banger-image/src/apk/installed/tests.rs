use std::io::Read as _;

use super::super::testing::{apk, keys, record_of};
use super::*;
use crate::oci::testing::{Item, dir, file, link, symlink};
use proptest::prelude::*;

/// A package and its record; the lines of both.
fn package(lines: &str, info: &str, scripts: &[Item], items: &[Item]) -> (Record, Package) {
    let name = lines.lines().next().unwrap().trim_start_matches("P:");
    let apk = apk(&format!("pkgname = {name}\npkgver = 1-r0\n{info}"), scripts, items);
    let record = record_of(&apk, &format!("{lines}\nV:1-r0"));
    let read = super::super::package::read(&*apk, &record, &keys(), &mut io::sink()).unwrap();
    (record, read)
}

fn hashed(item: Item, sha1: u8) -> Item {
    item.record("APK-TOOLS.checksum.SHA1", format!("{sha1:02x}").repeat(20))
}

fn build(packages: &[(Record, Package)], world: &str) -> Result<Database, DatabaseError> {
    let packages: Vec<_> = packages
        .iter()
        .map(|(record, package)| Installed { record, package: Some(package) })
        .collect();
    let world: Vec<_> = world.split_ascii_whitespace().map(|name| name.parse().unwrap()).collect();
    database(&packages, &world, "x86_64")
}

/// The text of a database, with the hashes of compressed bytes left out.
fn shown(bytes: &[u8], packages: &[(Record, Package)]) -> String {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    for (record, _) in packages {
        text = text.replace(&record.identity.to_string(), &format!("ID-OF-{}", record.name));
        text = text.replace(&format!("S:{}\n", record.size), "S:SIZE\n");
    }
    text
}

#[test]
fn a_database_is_as_apk_writes_it() {
    let lines = "P:b\nI:4096\nA:x86_64\nT:The b\nU:https://example.org\nL:MIT\no:origin\nm:Me <me@example.org>\n\
        t:1700000000\nc:abc\nk:5\nD:a so:x.so.1>=1\np:cmd:b=1-r0 /bin/b\ni:a=1 docs";
    let info = "arch = x86_64\nreplaces = old<2\nreplaces = other\nreplaces_priority = 7\ntriggers = /usr/lib/* +/etc\n";
    let items = [
        dir("usr/"),
        dir("usr/bin/").mode(0o1777).owner(0, 42),
        hashed(file("usr/bin/b", "content").mode(0o4755), 1),
        hashed(symlink("usr/bin/b2", "b"), 2),
        link("usr/bin/b3", "usr/bin/b"),
        dir("usr/lib/"),
        hashed(file("usr/lib/x", "").xattr("user.x", "y"), 3),
        file("usr/bin/late", ""),
        file("root", ""),
        file("opt/unlisted", ""),
    ];
    let scripts = [file(".post-install", "#!/bin/sh\n"), file(".trigger", "#!/bin/sh\n: t\n")];
    let b = package(lines, info, &scripts, &items);
    let a = package("P:a", "", &[], &[dir("usr/")]);
    let packages = [b, a];
    let database = build(&packages, "b a>0").unwrap();
    insta::assert_snapshot!(shown(&database.installed, &packages), @"
    C:ID-OF-a
    P:a
    V:1-r0
    S:SIZE
    I:0
    T:
    U:
    L:
    F:usr

    C:ID-OF-b
    P:b
    V:1-r0
    A:x86_64
    S:SIZE
    I:4096
    T:The b
    U:https://example.org
    L:MIT
    o:origin
    m:Me <me@example.org>
    t:1700000000
    c:abc
    k:5
    D:a so:x.so.1>=1
    p:cmd:b=1-r0 /bin/b
    i:a=1 docs
    r:old<2 other
    q:7
    F:usr
    F:usr/bin
    M:0:42:1777
    R:b
    a:0:0:4755
    Z:Q1AQEBAQEBAQEBAQEBAQEBAQEBAQE=
    R:b2
    a:0:0:777
    Z:Q1AgICAgICAgICAgICAgICAgICAgI=
    R:b3
    Z:Q1AQEBAQEBAQEBAQEBAQEBAQEBAQE=
    R:late
    F:usr/lib
    R:x
    a:0:0:644:Q1m8FGePbUqKGzuWMgOBlG5TJ5678=
    Z:Q1AwMDAwMDAwMDAwMDAwMDAwMDAwM=
    F:
    R:root
    F:opt
    R:unlisted
    ");
    assert_eq!(shown(&database.triggers, &packages), "ID-OF-b /usr/lib/* +/etc\n");
    assert_eq!((&*database.world, &*database.arch), (&b"a>0\nb\n"[..], &b"x86_64\n"[..]));
    assert!(database.superseded.is_empty());
    let hash: String =
        packages[0].0.identity.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut archive = tar::Archive::new(&*database.scripts);
    let mut entries = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let header = entry.header();
        let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap());
        let path = entry.path().unwrap().display().to_string().replace(&hash, "HASH");
        entries.push(format!("{path} {mode:o} {mtime} {content:?}"));
    }
    insta::assert_snapshot!(entries.join("\n"), @r##"
    b-1-r0.X1HASH.post-install 755 1700000000 "#!/bin/sh\n"
    b-1-r0.X1HASH.trigger 755 1700000000 "#!/bin/sh\n: t\n"
    "##);
    insta::assert_snapshot!(list(&database.installed), @"
    a 1-r0 noarch
    b 1-r0 x86_64
    ");
}

#[test]
fn a_package_that_has_nothing_is_listed() {
    let record = super::super::testing::record("P:base\nV:3.22.0-r0\nA:x86_64\nI:0\nD:a b");
    let database =
        database(&[Installed { record: &record, package: None }], &[], "x86_64").unwrap();
    insta::assert_snapshot!(String::from_utf8(database.installed).unwrap(), @"
    C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
    P:base
    V:3.22.0-r0
    A:x86_64
    S:0
    I:0
    T:
    U:
    L:
    D:a b
    ");
    assert_eq!((database.world, database.triggers, database.scripts.len()), (vec![], vec![], 1024));
}

#[test]
fn a_file_of_two_packages_belongs_to_one() {
    let x = [file("x", "")];
    let one = package("P:one", "", &[], &x);
    let two = package("P:two", "replaces = one\n", &[], &x);
    let strong = package("P:strong", "replaces = two\nreplaces_priority = 9\n", &[], &x);
    let old = package("P:old", "replaces = two>2\n", &[], &x);
    let [sub, other] = ["P:sub\no:src", "P:other\no:src"].map(|l| package(l, "", &[], &x));
    let owner = |packages: &[&(Record, Package)]| {
        let packages: Vec<_> = packages.iter().map(|package| (*package).clone()).collect();
        let database = build(&packages, "")?;
        let text = String::from_utf8(database.installed).unwrap();
        let owners: Vec<_> = text.split("\n\n").filter(|p| p.contains("R:x")).collect();
        let [owner] = *owners else { panic!("{owners:?}") };
        let name = owner.lines().find_map(|line| line.strip_prefix("P:")).unwrap().to_owned();
        let superseded: Vec<_> = database.superseded.iter().map(|(n, _)| *n).collect();
        Ok::<_, DatabaseError>((name, superseded))
    };
    assert_eq!(owner(&[&one, &two]).unwrap(), ("two".to_owned(), vec![]));
    assert_eq!(owner(&[&two, &one]).unwrap(), ("two".to_owned(), vec![1]));
    assert_eq!(owner(&[&strong, &two]).unwrap(), ("strong".to_owned(), vec![1]));
    assert_eq!(owner(&[&two, &strong]).unwrap(), ("strong".to_owned(), vec![]));
    assert_eq!(owner(&[&sub, &other]).unwrap(), ("other".to_owned(), vec![]));
    let error = owner(&[&one, &sub]).unwrap_err();
    insta::assert_snapshot!(error, @"one-1-r0 and sub-1-r0 both have 'x', and neither replaces the other");
    assert!(owner(&[&two, &old]).is_err());
}

#[test]
fn damaged_databases_are_listed_as_far_as_they_go() {
    let text = b"P:b\nV:1\nA:x86_64\nR:P:x\n\nP:no version\nV:1\n\nP:a\nV:2\nA:noarch";
    insta::assert_snapshot!(list(text), @"
    a 2 noarch
    b 1 x86_64
    ");
}

proptest! {
    #[test]
    fn any_database_gives_sorted_lines(text in "(([PVAFR]:)?[a-z 0-9]{0,6}\n{1,2})*|\\PC*") {
        let list = list(text.as_bytes());
        prop_assert!(list.lines().is_sorted());
        prop_assert!(list.lines().all(|line| line.split(' ').count() == 3));
    }

    #[test]
    fn what_is_written_is_read_back(versions in proptest::collection::btree_map("[a-z][a-z0-9+.-]{0,8}", "[0-9]{1,3}(\\.[0-9]{1,3})?(-r[0-9])?", 0..9)) {
        let records: Vec<_> = versions.iter().map(|(name, version)| {
            super::super::testing::record(&format!("P:{name}\nV:{version}\nA:x86_64\nT:P:x\n"))
        }).collect();
        let packages: Vec<_> = records.iter().map(|record| Installed { record, package: None }).collect();
        let database = database(&packages, &[], "x86_64").unwrap();
        let mut expected: Vec<_> = versions.iter().map(|(n, v)| format!("{n} {v} x86_64\n")).collect();
        expected.sort_unstable();
        prop_assert_eq!(list(&database.installed), expected.concat());
        // It is an index, too.
        prop_assert_eq!(super::super::index::parse(&database.installed).unwrap().len(), records.len());
    }
}

/// An index and a package by another writer of tar files, signed by openssl with SHA-1, as Alpine's
/// are.
#[test]
fn a_repository_becomes_a_database() {
    let keys = keys();
    let index = include_bytes!("../testdata/APKINDEX.tar.gz");
    let apk = include_bytes!("../testdata/hello-1.0-r0.apk");
    let index = super::super::index::read(&index[..], &keys).unwrap();
    let mut tar = Vec::new();
    let package = super::super::package::read(&apk[..], &index[0], &keys, &mut tar).unwrap();
    let paths: Vec<_> = tar::Archive::new(&*tar)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(paths, ["usr/", "usr/bin/", "usr/bin/hello", "usr/bin/hi"]);
    let packages = [(index[0].clone(), package)];
    let database = build(&packages, "hello").unwrap();
    insta::assert_snapshot!(shown(&database.installed, &packages), @"
    C:ID-OF-hello
    P:hello
    V:1.0-r0
    A:x86_64
    S:SIZE
    I:4096
    T:Says hello
    U:https://example.org
    L:MIT
    o:hello
    t:1700000000
    D:/bin/sh
    p:cmd:hello=1.0-r0
    F:usr
    F:usr/bin
    R:hello
    Z:Q1nbbwdPygqQMTe5HHyGayHU5yBac=
    R:hi
    a:0:0:777
    Z:Q1qvTGHdzF6KLavt4PO0gs2a6pQ00=
    ");
    assert!(database.scripts.starts_with(b"hello-1.0-r0.X1"));
}
