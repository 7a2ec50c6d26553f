use super::super::testing::{KEY, apkindex, cut, gz, keys, said, signature};
use super::*;
use crate::oci::testing::{dir, file, layer};
use proptest::prelude::*;

const LIST: &str = "\
C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:busybox
V:1.37.0-r12
A:x86_64
S:516001
I:1048576
T:Size optimized toolbox
U:https://busybox.net/
L:GPL-2.0-only
o:busybox
m:Someone <someone@example.org>
t:1736000000
c:0123456789abcdef
k:100
D:so:libc.musl-x86_64.so.1 !old<2
p:/bin/sh cmd:busybox=1.37.0-r12
i:a=1 b
r:busybox-initscripts
F:ignored
z:ignored

C:Q2AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
P:a
V:1
";

#[test]
fn an_index_that_is_signed_is_read() {
    let records = read(&*apkindex(LIST), &keys()).unwrap();
    let [busybox, a] = &*records else { panic!("{records:?}") };
    let Record { size, installed_size, build_time, provider_priority, .. } = busybox;
    assert_eq!((*size, *installed_size), (516_001, 1_048_576));
    assert_eq!((*build_time, *provider_priority), (1_736_000_000, 100));
    assert_eq!(busybox.file_name(), "busybox-1.37.0-r12.apk");
    assert_eq!(busybox.depends.len() + busybox.provides.len() + busybox.install_if.len(), 6);
    assert_eq!(busybox.replaces.len(), 1);
    assert_eq!((&*a.name, &*a.arch, a.depends.len()), ("a", "", 0));
}

#[test]
fn an_index_that_is_not_signed_is_refused() {
    let plain = gz(&layer(&[file("APKINDEX", LIST)]));
    let other = gz(&layer(&[file("APKINDEX", "")]));
    let error = |bytes: &[u8]| said(&read(bytes, &keys()).unwrap_err());
    insta::assert_snapshot!(error(&plain), @"the index of packages is not to be trusted: it has no signature by RSA");
    assert!(error(&[signature(&other), plain.clone()].concat()).contains(KEY));
    assert!(read(&*apkindex(LIST), &Keys::new()).is_err());
    let signed = |member: &[u8]| [signature(member), member.to_vec()].concat();
    insta::assert_snapshot!(error(&signed(&gz(&cut(&[file("x", LIST)])))), @"the index of packages has no file 'APKINDEX', or several");
    let twice = gz(&cut(&[file("APKINDEX", LIST), file("APKINDEX", "")]));
    assert!(matches!(read(&*signed(&twice), &keys()), Err(IndexError::NoList)));
    insta::assert_snapshot!(error(&signed(&gz(&cut(&[dir("d/")])))), @"the index of packages cannot be used: its control member cannot be read: it has something that is no file");
    insta::assert_snapshot!(error(&[signed(&plain), plain].concat()), @"the index of packages cannot be used: it has another member behind its control member");
}

#[test]
fn a_wrong_line_is_named() {
    let start = "C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=\nP:a\nV:1\n";
    let error = |text: &str| parse(format!("{start}{text}").as_bytes()).unwrap_err().to_string();
    let wrong = [
        "x", "P:b", "\nP:a", "S:", "S:-1", "D:a@b", "p:a>1", "\nP:a b", "\nV:x", "\nC:Q1",
        "\u{e4}:", "A:a/b",
    ];
    insta::assert_snapshot!(wrong.map(error).join("\n"), @"
    line 4 of the index of packages is damaged: it does not begin with a letter and a colon
    line 4 of the index of packages is damaged: the package has such a line already
    line 5 of the index of packages is damaged: the package that ends here has no line 'C:'
    line 4 of the index of packages is damaged: '' is not a number
    line 4 of the index of packages is damaged: '-1' is not a number
    line 4 of the index of packages is damaged: 'a@b' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'
    line 4 of the index of packages is damaged: 'a>1' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'
    line 5 of the index of packages is damaged: 'a b' is not a name of a package
    line 5 of the index of packages is damaged: 'x' is not a version
    line 5 of the index of packages is damaged: 'Q1' is not the hash of a package, 'Q1' or 'Q2' and base64
    line 4 of the index of packages is damaged: it does not begin with a letter and a colon
    line 4 of the index of packages is damaged: 'a/b' is not a kind of machine
    ");
    assert_eq!(parse(format!("{start}x:\nx:\nT:\n\n\n\n").as_bytes()).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([CPVASITULomtcDpirkx]:[a-z0-9:=<>!. ]{0,9}\n{1,2})*|\\PC*") {
        let _ = parse(text.as_bytes());
    }
}
