use super::super::testing::{apk, control, cut, gz, keys, record, record_of, said, signature};
use super::*;
use crate::oci::testing::{Item, device, dir, file, layer, link, symlink};
use proptest::prelude::*;

const INFO: &str = "pkgname = a\npkgver = 1.0-r0\narch = x86_64\n";
const RECORD: &str = "P:a\nV:1.0-r0\nA:x86_64\n";

fn read_with(apk: &[u8], record: &Record) -> Result<(Package, Vec<u8>), PackageError> {
    let mut out = Vec::new();
    read(apk, record, &keys(), &mut out).map(|package| (package, out))
}

fn read_data(items: &[Item]) -> Result<(Package, Vec<u8>), PackageError> {
    let apk = apk(INFO, &[], items);
    read_with(&apk, &record_of(&apk, RECORD))
}

fn refusal(items: &[Item]) -> String {
    said(&read_data(items).unwrap_err())
}

fn hashed(item: Item, sha1: u8) -> Item {
    item.record("APK-TOOLS.checksum.SHA1", format!("{sha1:02x}").repeat(20))
}

/// The index has its hash, which is not enough.
#[test]
fn a_package_that_nobody_signed_is_refused() {
    let data = gz(&layer(&[]));
    let control = control(INFO, &data, &[]);
    let refused = |signatures: &[u8]| {
        let apk = [signatures, &control, &data].concat();
        said(&read_with(&apk, &record_of(&apk, RECORD)).unwrap_err())
    };
    insta::assert_snapshot!(refused(b""), @"the package is not to be trusted: it has no signature by RSA");
    let other = gz(&cut(&[file(".SIGN.RSA256.other.rsa.pub", "x")]));
    insta::assert_snapshot!(refused(&other), @"the package is not to be trusted: it is signed by 'other.rsa.pub', which is not among the keys that are trusted");
    insta::assert_snapshot!(refused(&signature(b"another one")), @"the package is not to be trusted: its signature by 'test@example.org-1.rsa.pub' is wrong: it was changed after it was signed");
}

#[test]
fn a_package_is_read_and_its_data_written() {
    let items = [
        dir("usr/"),
        dir("usr/bin/").mode(0o1777).owner(0, 8),
        hashed(file("usr/bin/a", "content").mode(0o4755), 1),
        hashed(symlink("usr/bin/b", "a").xattr("user.x", "y"), 2),
        link("usr/bin/c", "usr/bin/a"),
        device("usr/null", b'3', 1, 3),
        file("plain", ""),
    ];
    let scripts = [file(".post-install", "#!/bin/sh\n"), file(".trigger", "t"), file(".new", "")];
    let apk = apk(INFO, &scripts, &items);
    let (package, out) = read_with(&apk, &record_of(&apk, RECORD)).unwrap();
    assert_eq!(out, layer(&items));
    assert_eq!(&*package.info.name, "a");
    let scripts =
        [(Script::PostInstall, b"#!/bin/sh\n".to_vec()), (Script::Trigger, b"t".to_vec())];
    assert_eq!(package.scripts, scripts.into());
    let shown = |file: &File| {
        let File { path, kind, uid, gid, mode, sha1, xattrs, .. } = file;
        let path = String::from_utf8_lossy(path);
        let sha1 = sha1.map(|sha1| sha1[0]);
        format!("{path} {kind:?} {uid}:{gid} {mode:o} {sha1:?} {:?}", xattrs.map(|x| x[0]))
    };
    let shown: Vec<_> = package.files.iter().map(shown).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    usr Folder 0:0 755 None None
    usr/bin Folder 0:8 1777 None None
    usr/bin/a Other 0:0 4755 Some(1) None
    usr/bin/b Other 0:0 777 Some(2) Some(155)
    usr/bin/c Other 0:0 644 Some(1) None
    usr/null Other 0:0 600 None None
    plain Other 0:0 644 None None
    ");
}

#[test]
fn data_without_an_end_gets_one() {
    let data = gz(&cut(&[file("f", "1"), file("zeros", [0; 512])]));
    let control = control(INFO, &data, &[]);
    let apk = [signature(&control), control, data].concat();
    let (_, out) = read_with(&apk, &record_of(&apk, RECORD)).unwrap();
    assert_eq!(out, layer(&[file("f", "1"), file("zeros", [0; 512])]));
    assert_eq!(read_data(&[]).unwrap().1, [0; 1024]);
}

#[test]
fn another_package_is_refused() {
    let apk = apk(INFO, &[], &[file("f", "1")]);
    let good = record_of(&apk, RECORD);
    let error = |record: &Record| said(&read_with(&apk, record).unwrap_err());
    let errors = [
        error(&Record { size: good.size, ..record(RECORD) }),
        error(&record_of(&apk, "P:b\nV:1.0-r0\nA:x86_64\n")),
        error(&record_of(&apk, "P:a\nV:1.0-r1\nA:x86_64\n")),
        error(&record_of(&apk, "P:a\nV:1.0-r0\nA:aarch64\n")),
        error(&Record { size: good.size + 1, ..good.clone() }),
        error(&Record { size: good.size - 1, ..good.clone() }),
    ]
    .map(|error| error.replace(&good.identity.to_string(), "THIS"));
    insta::assert_snapshot!(errors.join("\n"), @"
    the package is not the one in the index: its hash is THIS, and should be Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
    the package says that its name is 'a', and the index that it is 'b'
    the package says that its version is '1.0-r0', and the index that it is '1.0-r1'
    the package says that its arch is 'x86_64', and the index that it is 'aarch64'
    the package has 699 bytes, and should have 700
    the package has 699 bytes, and should have 698
    ");
    let noarch = super::super::testing::apk(&INFO.replace("x86_64", "noarch"), &[], &[]);
    assert!(read_with(&noarch, &record_of(&noarch, RECORD)).is_ok());
}

#[test]
fn data_that_does_not_belong_to_the_package_is_refused() {
    let [one, other] = ["1", "2"].map(|content| gz(&layer(&[file("f", content)])));
    let control = control(INFO, &one, &[]);
    let apk = [signature(&control), control, other].concat();
    let error = read_with(&apk, &record_of(&apk, RECORD)).unwrap_err();
    assert!(matches!(error, PackageError::DataHash));
}

#[test]
fn a_wrong_control_member_is_refused() {
    let error = |others: &[Item]| {
        let data = gz(&layer(&[]));
        let control = control(INFO, &data, others);
        let apk = [signature(&control), control, data].concat();
        said(&read_with(&apk, &record_of(&apk, RECORD)).unwrap_err())
    };
    insta::assert_snapshot!(error(&[file("etc/passwd", "")]), @"the control member of the package is damaged: it has 'etc/passwd'");
    insta::assert_snapshot!(error(&[file(".trigger", ""), file(".trigger", "")]), @"the control member of the package is damaged: it has '.trigger' twice");
    let control = gz(&cut(&[file(".trigger", "")]));
    let apk = [signature(&control), control, gz(&layer(&[]))].concat();
    let error = read_with(&apk, &record_of(&apk, RECORD)).unwrap_err();
    insta::assert_snapshot!(error, @"the control member of the package is damaged: it has no '.PKGINFO'");
}

#[test]
fn files_that_a_package_may_not_have_are_refused() {
    let long = "x".repeat(256);
    let errors = [
        refusal(&[file("/etc/passwd", "")]),
        refusal(&[file("../x", "")]),
        refusal(&[file("a/../x", "")]),
        refusal(&[file("./x", "")]),
        refusal(&[file("a//x", "")]),
        refusal(&[dir("a//")]),
        refusal(&[file("a\nR:x", "")]),
        refusal(&[file(&long, "")]).replace(&long, "LONG").replace(&long[1..], "LONG"),
        refusal(&[file("a", ""), file("a", "")]),
        refusal(&[dir("a/"), symlink("a", "/etc")]),
        refusal(&[symlink("a", "/etc"), file("a/passwd", "")]),
        refusal(&[symlink("a", "/etc"), dir("a/b/c/")]),
        refusal(&[link("a", "b")]),
        refusal(&[link("a", "/etc/passwd")]),
        refusal(&[dir("d/"), link("a", "d")]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    the package has a file that it may not have: '/etc/passwd' is not a path below the root
    the package has a file that it may not have: '../x' is not a path below the root
    the package has a file that it may not have: 'a/../x' is not a path below the root
    the package has a file that it may not have: './x' is not a path below the root
    the package has a file that it may not have: 'a//x' is not a path below the root
    the package has a file that it may not have: 'a//' is not a path below the root
    the package has a file that it may not have: 'a\nR:x' is not a path below the root
    the package has a file that it may not have: 'LONG' is not a path below the root
    the package has a file that it may not have: 'a' is there twice
    the package has a file that it may not have: 'a' is there twice
    the package has a file that it may not have: 'a/passwd' lies below something that is not a folder
    the package has a file that it may not have: 'a/b/c' lies below something that is not a folder
    the package has a file that it may not have: 'a' is a link to a file that is not in the package
    the package has a file that it may not have: 'a' is a link to a file that is not in the package
    the package has a file that it may not have: 'a' is a link to a file that is not in the package
    "#);
    assert!(read_data(&[dir("./"), dir("a/"), dir("a/")]).is_ok_and(|(p, _)| p.files.len() == 1));
}

#[test]
fn data_that_is_no_tar_file_is_refused() {
    let error = |plain: &[u8]| {
        let data = gz(plain);
        let control = control(INFO, &data, &[]);
        let apk = [signature(&control), control, data].concat();
        said(&read_with(&apk, &record_of(&apk, RECORD)).unwrap_err())
    };
    let tar = layer(&[file("f", "1")]);
    let errors = [
        error(&[1; 512]),
        error(&tar[..700]),
        error(&tar[..513]),
        error(&[&*tar, &cut(&[file("g", "")])].concat()),
        error(&[&*tar, &[0; 100]].concat()),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    the data of the package is damaged: a header of the tar file is damaged, or it is no tar file
    the data of the package is damaged: the tar file ends within a block
    the data of the package is damaged: the tar file ends within a block
    the data of the package is damaged: something follows the end of its tar file
    the data of the package is damaged: the tar file ends within a block
    ");
}

#[test]
fn a_writer_that_fails_is_told_of() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let apk = apk(INFO, &[], &[file("f", "1")]);
    let error = read(&*apk, &record_of(&apk, RECORD), &keys(), &mut Full).unwrap_err();
    assert!(matches!(error, PackageError::Write(error) if error.to_string() == "the disk is full"));
}

proptest! {
    #[test]
    fn any_change_is_noticed(at in 0usize..4000, byte: u8) {
        let apk = apk(INFO, &[file(".trigger", "t")], &[dir("d/"), file("d/f", "content")]);
        let record = record_of(&apk, RECORD);
        // Not all bytes of the signature's member mean something (RFC 1952).
        let start = signature(&Stream::new(&*apk).head(1 << 20).unwrap().compressed).len();
        let at = start + at % (apk.len() - start);
        let mut changed = apk.clone();
        changed[at] = byte;
        prop_assert_eq!(read_with(&changed, &record).is_ok(), changed == apk);
    }
}
