//! Layers to order, for the tests here and those with real tools.

use tar::{Builder, Header};

/// An entry of a layer.
#[derive(Clone, Debug)]
pub struct Item {
    header: Header,
    path: String,
    content: Vec<u8>,
    records: Vec<(String, Vec<u8>)>,
}

fn item(kind: u8, path: &str, mode: u32) -> Item {
    let mut header = Header::new_ustar();
    header.as_old_mut().linkflag = [kind];
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    Item { header, path: path.to_owned(), content: Vec::new(), records: Vec::new() }
}

pub fn dir(path: &str) -> Item {
    item(b'5', path, 0o755)
}

pub fn file(path: &str, content: impl AsRef<[u8]>) -> Item {
    Item { content: content.as_ref().to_vec(), ..item(b'0', path, 0o644) }
}

pub fn symlink(path: &str, target: &str) -> Item {
    item(b'2', path, 0o777).target(target)
}

pub fn link(path: &str, target: &str) -> Item {
    item(b'1', path, 0o644).target(target)
}

pub fn device(path: &str, kind: u8, major: u32, minor: u32) -> Item {
    let mut item = item(kind, path, 0o600);
    item.header.set_device_major(major).unwrap();
    item.header.set_device_minor(minor).unwrap();
    item
}

impl Item {
    fn target(mut self, target: &str) -> Self {
        if target.len() > 100 {
            return self.record("linkpath", target);
        }
        self.header.set_link_name_literal(target).unwrap();
        self
    }

    pub fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }
}

/// A tar file of them.
pub fn layer(items: &[Item]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut item = item.clone();
        if item.path.len() > 100 {
            item = item.clone().record("path", item.path);
        }
        let records = item.records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(records).unwrap();
        let name = item.path.as_bytes();
        let n = name.len().min(100);
        item.header.as_old_mut().name[..n].copy_from_slice(&name[..n]);
        item.header.set_size(item.content.len() as u64);
        item.header.set_cksum();
        builder.append(&item.header, &*item.content).unwrap();
    }
    builder.into_inner().unwrap()
}
