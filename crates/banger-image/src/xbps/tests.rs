//! All of it together, as a root file system is made.

use std::collections::BTreeMap;

use super::testing::{Made, meta, repodata, sign};
use super::{package, pkgdb, repodata as index, resolve};
use crate::decompress::Format;
use crate::decompress::tests::compress;
use crate::oci::testing::symlink;

#[test]
fn packages_get_from_a_repository_into_a_root() {
    let made = [
        Made::new("app-1.0_1")
            .list("run_depends", &["lib>=2_1"])
            .list("shlib-requires", &["lib.so.2"])
            .script("INSTALL", "#!/bin/sh\n")
            .file_of("/usr/bin/app", "app"),
        Made::new("lib-2.1_1")
            .list("shlib-provides", &["lib.so.2"])
            .file_of("/usr/lib/lib.so.2", "lib")
            .listed("links", "/usr/lib/lib.so", Some(("target", "/usr/lib/lib.so.2")))
            .item(symlink("./usr/lib/lib.so", "lib.so.2")),
    ];
    let there = Made::new("lib-1.0_1").list("shlib-provides", &["lib.so.1"]);
    let mut database = pkgdb::Database::default();
    database.register(&there.unpack(), true);

    let served = made.iter().map(|one| (one.package().file_name(), one.file()));
    let served: BTreeMap<_, _> = served.collect();
    let file = compress(Format::Zstd, &repodata(&made, Some(&meta())));
    let data = index::parse(&*file).unwrap();
    let key = &data.meta.as_ref().unwrap().key;
    let chosen = resolve::resolve(&[&data], &database.installed(), "x86_64", &["app"]).unwrap();
    let mut tar = Vec::new();
    for one in chosen {
        let file = &served[&one.package.file_name()];
        key.verify(file, &sign(file)).unwrap();
        let unpacked = package::unpack(file, one.package, &mut tar).unwrap();
        database.register(&unpacked, one.automatic);
    }
    tar.extend(package::END);

    let root = tempfile::tempdir().unwrap();
    tar::Archive::new(&*tar).unpack(root.path()).unwrap();
    assert_eq!(std::fs::read(root.path().join("usr/lib/lib.so")).unwrap(), b"lib");
    let read = pkgdb::Database::parse(&database.write()).unwrap();
    let state: Vec<_> =
        read.installed().iter().map(|one| (one.pkgver.to_string(), one.configured)).collect();
    assert_eq!(state, [("app-1.0_1".to_owned(), false), ("lib-2.1_1".to_owned(), true)]);
}
