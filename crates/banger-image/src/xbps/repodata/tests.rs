use super::*;
use crate::decompress::Format;
use crate::decompress::tests::compress;
use crate::oci::testing::{file, layer};
use crate::xbps::testing::{Made, PUBLIC, dict, index_of, meta, repodata, text};
use proptest::prelude::*;

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn an_index_is_read_in_every_compression() {
    let made = [
        Made::new("bash-5.2_1")
            .list("run_depends", &["glibc>=2.36_1"])
            .list("shlib-requires", &["libc.so.6"]),
        Made::new("vim-9.1_1")
            .alternative("vi", &["vi:/usr/bin/vim"])
            .list("provides", &["vi-9_1"]),
    ];
    for format in [Format::Gzip, Format::Xz, Format::Zstd] {
        let data = parse(&*compress(format, &repodata(&made, Some(&meta())))).unwrap();
        assert_eq!(data.packages.keys().collect::<Vec<_>>(), ["bash", "vim"]);
        let bash = &data.packages["bash"];
        assert_eq!(bash.file_name(), "bash-5.2_1.x86_64.xbps");
        assert_eq!((bash.size, bash.installed_size), (made[0].file().len() as u64, 7));
        assert_eq!(bash.run_depends, ["glibc>=2.36_1"]);
        assert_eq!(bash.shlib_requires, ["libc.so.6"]);
        assert_eq!(data.packages["vim"].alternatives["vi"], ["vi:/usr/bin/vim"]);
        assert_eq!(data.packages["vim"].provides, ["vi-9_1"]);
        let meta = data.meta.unwrap();
        assert_eq!(meta.key, RepositoryKey::from_pem(PUBLIC).unwrap());
        assert_eq!((meta.key_size, &*meta.signed_by), (2048, "Tester"));
        assert_eq!(meta.signature_type.as_deref(), Some("rsa"));
    }
}

#[test]
fn an_index_without_a_key_is_not_signed() {
    let index = plist::write(&index_of(&[]));
    for meta in ["DEADBEEF", "DEADBEEF\n", ""] {
        let tar = layer(&[file("index.plist", &index), file("index-meta.plist", meta)]);
        assert_eq!(parse(&*tar).unwrap(), Repodata { packages: BTreeMap::new(), meta: None });
    }
    let tar = layer(&[file("./index.plist", ""), file("./stage.plist", "x")]);
    assert_eq!(parse(&*tar).unwrap().meta, None);
}

#[test]
fn what_an_index_lacks_is_told() {
    let good = Made::new("a-1_1").record();
    let without = |key: &str| {
        let mut record = good.clone();
        record.remove(key);
        record
    };
    let with = |key: &str, value: &str| {
        let mut record = good.clone();
        record.insert(key.to_owned(), text(value));
        record
    };
    let mut told = Vec::new();
    for record in [
        without("pkgver"),
        with("pkgver", "b-1_1"),
        without("architecture"),
        with("architecture", "../x"),
        without("filename-sha256"),
        with("filename-sha256", "00"),
        without("filename-size"),
    ] {
        let index = plist::write(&dict([("a", Value::Dict(record))]));
        let error = parse(&*layer(&[file("./index.plist", index)])).unwrap_err();
        told.push(chain(&error));
    }
    let index = plist::write(&dict([("a", text("b"))]));
    told.push(chain(&parse(&*layer(&[file("./index.plist", index)])).unwrap_err()));
    told.push(chain(&parse(&*layer(&[file("./index.plist", "x")])).unwrap_err()));
    told.push(chain(&parse(&*layer(&[file("./other", "x")])).unwrap_err()));
    told.push(chain(&parse(&b"no archive"[..]).unwrap_err()));
    for key in ["public-key", "public-key-size", "signature-by"] {
        let mut meta = meta();
        meta.remove(key);
        told.push(chain(&parse(&*repodata(&[], Some(&meta))).unwrap_err()));
    }
    let mut wrong = meta();
    wrong.insert("public-key".to_owned(), Value::Data(b"x".to_vec()));
    told.push(chain(&parse(&*repodata(&[], Some(&wrong))).unwrap_err()));
    insta::assert_snapshot!(told.join("\n"), @r"
    the index of the repository has a wrong record of 'a': it has no version
    the index of the repository has a wrong record of 'a': it is of another package
    the index of the repository has a wrong record of 'a': it has no architecture
    the index of the repository has a wrong record of 'a': it has no architecture
    the index of the repository has a wrong record of 'a': it has no checksum
    the index of the repository has a wrong record of 'a': it has no checksum
    the index of the repository has a wrong record of 'a': it has no size
    the index of the repository has a wrong record of 'a': it is no dictionary
    the index.plist of the repository cannot be read: it is no property list: there is text outside of values
    the index of the repository has no index.plist
    the index of the repository cannot be unpacked: the tar file ends within a header
    the repository says that it is signed, but its key is missing
    the repository says that it is signed, but the size of its key is missing
    the repository says that it is signed, but who signs it is missing
    the repository has a key that is of no use: the key of the repository is not a public key of RSA in PEM
    ");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        at in any::<proptest::sample::Index>(),
    ) {
        let _ = parse(&*bytes);
        let tar = repodata(&[Made::new("a-1_1")], Some(&meta()));
        let at = at.index(tar.len());
        let _ = parse(&*[&tar[..at], &bytes, &tar[at..]].concat());
        let _ = parse(&*compress(Format::Zstd, &tar).split_off(at % 99));
    }
}
