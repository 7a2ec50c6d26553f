use super::super::testing::{device, dir, file, layer, link, symlink};
use super::*;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn one(bytes: &[u8]) -> Entry {
    read(bytes).unwrap().remove(0).0
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn every_kind_of_entry_is_read() {
    let bytes = layer(&[
        dir("d/").mode(0o1777),
        file("d/f", "content").mode(0o4755).owner(1000, 3_000_000_000),
        link("l", "d/f"),
        symlink("s", "../x"),
        device("c", b'3', 5, 1),
        device("b", b'4', 259, 300),
        device("p", b'6', 0, 0),
    ]);
    let entries = read(&bytes).unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|(entry, content)| {
            let path = String::from_utf8_lossy(&entry.path);
            let Meta { mode, uid, gid, mtime, .. } = entry.meta;
            format!("{path} {:?} {mode:o} {uid} {gid} {mtime} {}", entry.what, content.len())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    d/ Dir 1777 0 0 1000000000 0
    d/f File 4755 1000 3000000000 1000000000 7
    l Link([100, 47, 102]) 644 0 0 1000000000 0
    s Symlink([46, 46, 47, 120]) 777 0 0 1000000000 0
    c Char(5, 1) 600 0 0 1000000000 0
    b Block(259, 300) 600 0 0 1000000000 0
    p Fifo 600 0 0 1000000000 0
    ");
}

#[test]
fn pax_records_say_more_than_the_header() {
    let name = "n/".repeat(100);
    let entry = one(&layer(&[file("short", "abc")
        .record("path", &name)
        .record("uid", "70000")
        .record("gid", "4000000000")
        .record("mtime", "12.5")
        .record("comment", "ignored")
        .xattr("security.capability", b"\x01\0\n8 x=y\n")
        .xattr("user.empty", "")]));
    assert_eq!(entry.path, name.as_bytes());
    assert_eq!(entry.records, [(b"comment".to_vec(), b"ignored".to_vec())].into());
    let Meta { uid, gid, mtime, exact_mtime, xattrs, .. } = entry.meta;
    assert_eq!(
        (uid, gid, mtime, exact_mtime.as_deref()),
        (70_000, 4_000_000_000, 12, Some("12.5"))
    );
    assert_eq!(xattrs[&b"security.capability"[..]], b"\x01\0\n8 x=y\n");
    assert_eq!((xattrs.len(), xattrs[&b"user.empty"[..]].len()), (2, 0));
    // The size of the record counts, or the next header would be looked for in the wrong place.
    let mut bytes = layer(&[file("a", [1; 700]).record("size", "700"), file("b", "")]);
    let (start, end) = (1024 + 124, 1024 + 136);
    bytes[start..end].copy_from_slice(b"00000000000\0");
    let mut header = Header::from_byte_slice(&bytes[1024..1536]).clone();
    header.set_cksum();
    bytes[1024..1536].copy_from_slice(header.as_bytes());
    let entries = read(&bytes).unwrap();
    assert_eq!((entries[0].1.len(), &*entries[1].0.path), (700, &b"b"[..]));
}

#[test]
fn times_before_1970_and_whole_ones_are_kept() {
    let mtime = |value: &str| {
        let meta = one(&layer(&[file("f", "").record("mtime", value)])).meta;
        (meta.mtime, meta.exact_mtime.map(String::from))
    };
    assert_eq!(mtime("17"), (17, None));
    assert_eq!(mtime("17.000"), (17, None));
    assert_eq!(mtime("-1.5"), (0, Some("-1.5".to_owned())));
    assert_eq!(number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
    assert_eq!(number(&[0x80, 0, 1, 0]), Some(256));
    assert_eq!(number(b"  17 \0"), Some(15));
    assert_eq!(number(b"\0\0\0"), Some(0));
    assert_eq!(number(b"9"), None);
    assert_eq!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn long_names_of_gnu_are_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let (name, target) = ("n/".repeat(90) + "x", "t/".repeat(90) + "y");
    let mut header = Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    builder.append_link(&mut header, &name, &target).unwrap();
    let entry = one(&builder.into_inner().unwrap());
    assert_eq!((&*entry.path, entry.what), (name.as_bytes(), What::Symlink(target.into_bytes())));
}

#[test]
fn what_cannot_be_read_right_is_refused() {
    let all = layer(&[file("a", [7; 1000]).xattr("user.x", "y")]);
    for (end, expected) in [
        (200, "the tar file ends within a header"),
        (600, "the tar file ends within a header"),
        (1200, "the tar file ends within a header"),
        (1700, "the tar file ends within a file"),
    ] {
        assert_eq!(error(&all[..end]), expected);
    }
    let mut damaged = all.clone();
    damaged[1030] ^= 1;
    insta::assert_snapshot!(error(&damaged), @"a header of the tar file is damaged, or it is no tar file");
    insta::assert_snapshot!(error(b"no tar file at all, but long enough to be a header".repeat(20).as_slice()), @"a header of the tar file is damaged, or it is no tar file");
    let record = |key, value: &str| error(&layer(&[file("a", "").record(key, value)]));
    insta::assert_snapshot!(record("GNU.sparse.major", "1"), @"the tar file has a sparse file, which no tool for images writes: make it without '--sparse'");
    insta::assert_snapshot!(record("user.x", &"x".repeat(2 << 20)), @"an entry of the tar file has more than 1 MiB of names and xattrs");
    insta::assert_snapshot!(record("uid", "4294967295"), @"an entry of the tar file has an owner that Linux cannot have");
    insta::assert_snapshot!(record("size", "-1"), @"a pax record of the tar file is not a number");
    insta::assert_snapshot!(record("size", "18446744073709551615"), @"an entry of the tar file has a wrong size");
    insta::assert_snapshot!(record("path", "a\0b"), @"a name in the tar file has a zero byte");
    insta::assert_snapshot!(record("mtime", "yesterday"), @"an entry of the tar file has a wrong time");
    insta::assert_snapshot!(error(&layer(&[device("v", b'V', 0, 0)])), @"the tar file has an entry that is neither file nor folder, link or device");
    for wrong in [&b"5 a=b\n"[..], b"99 a=b\n", b"6 ab\n", b"x a=b\n", b"6 a=b", b"0 ", b"1 "] {
        records(wrong).unwrap_err();
    }
}

proptest! {
    #[test]
    fn any_damage_is_read_or_refused(changes in prop::collection::vec((0_usize..4096, any::<u8>()), 1..6)) {
        let mut bytes = layer(&[dir("d"), file("d/f", [1; 600]).xattr("user.x", "y"), link("l", "d/f")]);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        // Headers with right sums reach further.
        for at in (0..bytes.len() - 511).step_by(512) {
            let mut header = Header::from_byte_slice(&bytes[at..at + 512]).clone();
            header.set_cksum();
            if bytes[at] != 0 {
                bytes[at..at + 512].copy_from_slice(header.as_bytes());
            }
        }
        let _ = read(&bytes);
    }

    #[test]
    fn any_bytes_are_records_or_not(bytes in "[0-9]{1,2} [a-z=\n]{0,20}") {
        let _ = records(bytes.as_bytes());
    }
}
