//! What lies in a folder, to compare.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use banger_exec::{Command, Tool};
use rustix::fs::{lgetxattr, llistxattr};

use crate::tools::run;

/// Unpacks a tar file as an image build does.
pub fn unpack(tar: &[u8], to: &Path) {
    let file = to.with_extension("tar");
    std::fs::write(&file, tar).unwrap();
    std::fs::create_dir(to).unwrap();
    let owner =
        if rustix::process::geteuid().is_root() { "--same-owner" } else { "--no-same-owner" };
    let command = Command::new(Tool::Tar)
        .args(["--extract", "--same-permissions", "--numeric-owner", owner])
        .args(["--xattrs", "--xattrs-include=*", "--delay-directory-restore", "--file"])
        .arg(file)
        .arg("--directory")
        .arg(to);
    run(&command);
}

/// Each path with everything that is known of it; with or without the times of folders.
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    pub fn of(root: &Path, times: bool) -> Self {
        let (mut tree, mut inodes) = (BTreeMap::new(), BTreeMap::new());
        visit(root, ".", times, &mut tree, &mut inodes);
        // Which names are the same file.
        for names in inodes.into_values().filter(|names: &Vec<String>| names.len() > 1) {
            for name in &names {
                *tree.get_mut(name).unwrap() += &format!(" = {}", names.join(" "));
            }
        }
        Self(tree)
    }

    pub fn assert_same(&self, other: &Self) {
        let mut names: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        names.sort();
        names.dedup();
        let show = |tree: &Self, name| tree.0.get(name).cloned().unwrap_or_default();
        let different = names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name));
        let different: Vec<_> = different
            .map(|name| {
                format!("{name}\n  ours   {}\n  theirs {}", show(self, name), show(other, name))
            })
            .collect();
        assert!(different.is_empty(), "{}", different.join("\n"));
        assert!(self.0.len() > 1);
    }
}

fn visit(
    root: &Path,
    name: &str,
    times: bool,
    tree: &mut BTreeMap<String, String>,
    inodes: &mut BTreeMap<u64, Vec<String>>,
) {
    let path = root.join(name);
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let (what, content) = if kind.is_dir() {
        ("folder", String::new())
    } else if kind.is_symlink() {
        ("link", std::fs::read_link(&path).unwrap().display().to_string())
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else if kind.is_file() {
        let bytes = std::fs::read(&path).unwrap();
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        (
            "file",
            format!(
                "{} bytes, sum {}, '{}'",
                bytes.len(),
                bytes.iter().map(|b| u64::from(*b)).sum::<u64>(),
                start
            ),
        )
    } else {
        ("device", format!("{:x}", meta.rdev()))
    };
    let time = match times || !kind.is_dir() {
        true => format!("{}.{}", meta.mtime(), meta.mtime_nsec()),
        false => String::new(),
    };
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    let mut text = format!("{what} {mode:o} {uid}:{gid} {time} {content}");
    let mut names = [0; 4096];
    let n = llistxattr(&path, &mut names).unwrap();
    for name in names[..n]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user.") || name.starts_with(b"security.cap"))
    {
        let name = String::from_utf8_lossy(name);
        // umoci keeps there what an ordinary user cannot set.
        if name != "user.rootlesscontainers" {
            let mut value = [0; 256];
            let n = lgetxattr(&path, &*name, &mut value).unwrap();
            text += &format!(" {name}={:?}", &value[..n]);
        }
    }
    tree.insert(name.to_owned(), text);
    if !kind.is_dir() {
        inodes.entry(meta.ino()).or_default().push(name.to_owned());
        return;
    }
    let mut children: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    children.sort();
    for child in children {
        let child = format!("{name}/{}", String::from_utf8_lossy(child.as_bytes()));
        visit(root, &child, times, tree, inodes);
    }
}
