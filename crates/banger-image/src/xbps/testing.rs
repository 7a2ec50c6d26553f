//! Packages and indexes to order, for the tests here.

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sha2::{Digest as _, Sha256};

use super::package::Unpacked;
use super::plist::{self, Dict, Value};
use super::repodata::{self, Repodata};
use crate::decompress::Format;
use crate::decompress::tests::compress;
use crate::oci::testing::{Item, file, layer};

/// A key made for these tests: `openssl genrsa 2048`.
pub(super) const PUBLIC: &[u8] = include_bytes!("testdata/public.pem");
const PRIVATE: &[u8] = include_bytes!("testdata/private.der");

/// Signs a package as `xbps-rindex --sign-pkg` does.
pub(super) fn sign(package: &[u8]) -> Vec<u8> {
    let pair = RsaKeyPair::from_der(PRIVATE).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), package, &mut signature).unwrap();
    signature
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(super) fn list(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|one| text(one)).collect())
}

pub(super) fn dict<const N: usize>(pairs: [(&str, Value); N]) -> Dict {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// A package that can be made, changed where a test wants it otherwise.
#[derive(Clone)]
pub(crate) struct Made {
    pub(super) props: Dict,
    pub(super) files: Dict,
    /// What comes before the property lists.
    pub(super) scripts: Vec<Item>,
    pub(super) payload: Vec<Item>,
    pub(super) format: Format,
}

impl Made {
    pub(crate) fn new(pkgver: &str) -> Self {
        let (name, version) = pkgver.rsplit_once('-').unwrap();
        let props = dict([
            ("architecture", text("x86_64")),
            ("installed_size", Value::Integer(7)),
            ("pkgname", text(name)),
            ("pkgver", text(pkgver)),
            ("short_desc", text("For tests")),
            ("version", text(version)),
        ]);
        let format = Format::Zstd;
        Self { props, files: Dict::new(), scripts: Vec::new(), payload: Vec::new(), format }
    }

    pub(crate) fn list(mut self, key: &str, values: &[&str]) -> Self {
        self.props.insert(key.to_owned(), list(values));
        self
    }

    pub(super) fn alternative(mut self, group: &str, links: &[&str]) -> Self {
        let groups = dict([(group, list(links))]);
        self.props.insert("alternatives".to_owned(), Value::Dict(groups));
        self
    }

    pub(super) fn script(mut self, name: &str, content: &str) -> Self {
        self.scripts.push(file(&format!("./{name}"), content).mode(0o755));
        self
    }

    /// An entry of `files.plist`.
    pub(crate) fn listed(mut self, kind: &str, path: &str, more: Option<(&str, &str)>) -> Self {
        let mut entry = dict([("file", text(path))]);
        entry.extend(more.map(|(key, value)| (key.to_owned(), text(value))));
        let entries = self.files.entry(kind.to_owned()).or_insert(Value::Array(Vec::new()));
        let Value::Array(entries) = entries else { panic!("an array") };
        entries.push(Value::Dict(entry));
        self
    }

    pub(crate) fn item(mut self, item: Item) -> Self {
        self.payload.push(item);
        self
    }

    pub(crate) fn file_of(self, path: &str, content: &str) -> Self {
        let sum = sha256(content.as_bytes());
        let item = file(&format!(".{path}"), content);
        self.listed("files", path, Some(("sha256", &sum))).item(item)
    }

    /// The package file.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut items = self.scripts.clone();
        items.push(file("./props.plist", plist::write(&self.props)));
        items.push(file("./files.plist", plist::write(&self.files)));
        items.extend(self.payload.iter().cloned());
        compress(self.format, &layer(&items))
    }

    /// Its record in an index.
    pub(super) fn record(&self) -> Dict {
        let file = self.file();
        let mut record = self.props.clone();
        record.remove("pkgname");
        record.remove("version");
        record.insert("filename-sha256".to_owned(), text(&sha256(&file)));
        record.insert("filename-size".to_owned(), Value::Integer(file.len() as i128));
        record
    }

    /// As a repository that has only this says.
    pub(super) fn package(&self) -> repodata::Package {
        read(std::slice::from_ref(self)).packages.pop_first().unwrap().1
    }

    pub(crate) fn unpack(&self) -> Unpacked {
        super::package::unpack(&self.file(), &self.package(), &mut Vec::new()).unwrap()
    }
}

pub(super) fn index_of(made: &[Made]) -> Dict {
    let entry = |made: &Made| {
        let name = plist::string(&made.props, "pkgname").unwrap().to_owned();
        (name, Value::Dict(made.record()))
    };
    made.iter().map(entry).collect()
}

pub(super) fn meta() -> Dict {
    dict([
        ("public-key", Value::Data(PUBLIC.to_vec())),
        ("public-key-size", Value::Integer(2048)),
        ("signature-by", text("Tester")),
        ("signature-type", text("rsa")),
    ])
}

/// An index, not compressed.
pub(super) fn repodata(made: &[Made], meta: Option<&Dict>) -> Vec<u8> {
    let mut items = vec![file("index.plist", plist::write(&index_of(made)))];
    items.extend(meta.map(|meta| file("index-meta.plist", plist::write(meta))));
    layer(&items)
}

pub(crate) fn read(made: &[Made]) -> Repodata {
    repodata::parse(&*repodata(made, None)).unwrap()
}
