//! Packages, their index and the database of those that are installed.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest as _, Sha256};
use tar::Builder;

use super::sign::PUBLIC;
use super::tree::{self, Node, Tree};

/// A package. Its version has a revision.
#[derive(Clone, Default)]
pub(super) struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub files: Tree,
    /// Which of its files are for people to change.
    pub config: &'static [&'static str],
    pub needs: &'static [&'static str],
    pub replaces: &'static [&'static str],
    pub libraries: &'static [&'static str],
    pub needs_libraries: &'static [&'static str],
    pub install: Option<&'static str>,
    /// Files that are in it and not in its list.
    pub hidden: Vec<(&'static str, Node)>,
}

/// A package as a file, and its record in an index.
pub(super) struct Packed {
    pub file_name: String,
    pub file: Vec<u8>,
    pub record: String,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

pub(super) fn text(text: &str) -> String {
    format!("<string>{}</string>", escaped(text))
}

fn array(values: impl IntoIterator<Item = String>) -> String {
    format!("<array>{}</array>", values.into_iter().collect::<String>())
}

/// A dictionary of values that are XML already.
pub(super) fn dict(values: &[(&str, String)]) -> String {
    let pair = |(key, value): &(&str, String)| format!("<key>{}</key>{value}\n", escaped(key));
    format!("<dict>\n{}</dict>", values.iter().map(pair).collect::<String>())
}

/// A property list (proplib(3)).
pub(super) fn plist(dict: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n{dict}\n</plist>\n"
    )
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compresses little, but fast: only small files are worth more.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let large = bytes.len() > 1 << 20;
    let level = if large { CompressionLevel::Uncompressed } else { CompressionLevel::Fastest };
    compress_to_vec(bytes, level)
}

impl Package {
    fn pkgver(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// What it says of itself.
    fn props(&self) -> Vec<(&'static str, String)> {
        let list = |values: &[&str]| array(values.iter().map(|value| text(value)));
        let mut props = vec![
            ("architecture", text("x86_64")),
            ("installed_size", "<integer>1</integer>".to_owned()),
            ("pkgname", text(self.name)),
            ("pkgver", text(&self.pkgver())),
            ("short_desc", text("For tests")),
            ("version", text(self.version)),
        ];
        for (key, values) in [
            ("replaces", self.replaces),
            ("run_depends", self.needs),
            ("shlib-provides", self.libraries),
            ("shlib-requires", self.needs_libraries),
        ] {
            if !values.is_empty() {
                props.push((key, list(values)));
            }
        }
        props
    }

    /// The list of its files.
    pub(super) fn list(&self) -> String {
        let mut lists = [("conf_files", Vec::new()), ("files", Vec::new()), ("links", Vec::new())];
        for (path, node) in &self.files.0 {
            let file = ("file", text(&format!("/{path}")));
            let (index, more) = match node {
                Node::File { content, .. } => {
                    let index = if self.config.contains(&path.as_str()) { 0 } else { 1 };
                    (index, ("sha256", text(&sha256(content))))
                }
                Node::Link(target) => (2, ("target", text(target))),
                Node::Folder(_) => continue,
            };
            lists[index].1.push(dict(&[file, more]));
        }
        let lists = lists.map(|(key, values)| (key, array(values)));
        plist(&dict(&lists))
    }

    /// Its file in a repository (xbps-create(1)).
    pub(super) fn pack(&self) -> io::Result<Packed> {
        let mut tar = Builder::new(Vec::new());
        if let Some(script) = self.install {
            tree::write(&mut tar, "./INSTALL", &Node::file(0o755, script))?;
        }
        let props = plist(&dict(&self.props()));
        tree::write(&mut tar, "./props.plist", &Node::file(0o644, props))?;
        tree::write(&mut tar, "./files.plist", &Node::file(0o644, self.list()))?;
        self.files.write(&mut tar)?;
        for (path, node) in &self.hidden {
            tree::write(&mut tar, path, node)?;
        }
        let file = zstd(&tar.into_inner()?);
        let mut record = self.props();
        record.retain(|(key, _)| !["pkgname", "version"].contains(key));
        record.push(("filename-sha256", text(&sha256(&file))));
        record.push(("filename-size", format!("<integer>{}</integer>", file.len())));
        let file_name = format!("{}.x86_64.xbps", self.pkgver());
        Ok(Packed { file_name, file, record: dict(&record) })
    }

    /// Its record in the database of what is installed (xbps-pkgdb(1)).
    pub(super) fn installed(&self) -> String {
        let mut record = self.props();
        record.retain(|(key, _)| !["pkgname", "version"].contains(key));
        record.push(("metafile-sha256", text(&sha256(self.list().as_bytes()))));
        record.push(("state", text("installed")));
        dict(&record)
    }
}

/// The index of a repository (xbps-rindex(1)).
pub(super) fn index(packages: &[(&str, &Packed)]) -> io::Result<Vec<u8>> {
    let records: Vec<_> =
        packages.iter().map(|(name, packed)| (*name, packed.record.clone())).collect();
    let meta = [
        ("public-key", format!("<data>{}</data>", STANDARD.encode(PUBLIC))),
        ("public-key-size", "<integer>2048</integer>".to_owned()),
        ("signature-by", text("banger's tests")),
        ("signature-type", text("rsa")),
    ];
    let mut tar = Builder::new(Vec::new());
    for (name, content) in [("index.plist", dict(&records)), ("index-meta.plist", dict(&meta))] {
        tree::write(&mut tar, name, &Node::file(0o644, plist(&content)))?;
    }
    Ok(zstd(&tar.into_inner()?))
}
