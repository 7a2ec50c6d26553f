//! The folders of a sandbox, and the image that all start with.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::As;
use super::process::{command, run};
use super::programs::programs;
use super::user::give;

/// A folder for one sandbox, on the disk that holds the target folder's images
/// as links, and with a short path.
pub fn new_dir(who: As) -> PathBuf {
    let dir = tempfile::Builder::new()
        .prefix("bgr-")
        .rand_bytes(6)
        .tempdir_in("/var/tmp")
        .unwrap()
        .keep();
    for folder in ["state", "config", "cache", "run"] {
        fs::create_dir(dir.join(folder)).unwrap();
    }
    configure(&dir, "");
    give(&dir, who);
    dir
}

/// Writes a configuration into the folder of a sandbox. Its web console is off unless `toml` has it:
/// the port may be that of a daemon of the person who runs the tests.
pub fn configure(dir: &Path, toml: &str) {
    let off = if toml.contains("web_listen") { "" } else { "\nweb_listen = \"off\"\n" };
    let folder = dir.join("config/banger");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), format!("{toml}{off}")).unwrap();
}

/// The image that a sandbox starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stock {
    /// `debian`, as people build it.
    Debian,
    /// `lab`: what it takes to run VMs in a VM of it, and no more.
    Lab,
}

impl Stock {
    fn build(self) -> Vec<&'static str> {
        let (name, more): (_, &[_]) = match self {
            Self::Debian => ("debian", &[]),
            Self::Lab => ("lab", &["--no-opencode", "--size", "1500M"]),
        };
        let packages: &[_] = match self {
            Self::Debian => &[],
            Self::Lab => &["dmsetup", "nftables", "openssh-client", "procps", "udev", "uidmap"],
        };
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        ["image", "build", "debian", "--name", name]
            .into_iter()
            .chain(more.iter().copied())
            .chain(packages)
            .collect()
    }
}

/// A state with an image, built once and kept for later runs as long as what
/// it is built by stays the same.
pub fn base(who: As, stock: Stock) -> PathBuf {
    static BUILT: Mutex<BTreeMap<u64, PathBuf>> = Mutex::new(BTreeMap::new());
    let fingerprint = fingerprint(who, stock);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let found = built.entry(fingerprint).or_insert_with(|| {
        let dir = PathBuf::from(format!("/var/tmp/banger-test-{fingerprint:016x}"));
        if dir.join("ready").exists() {
            return dir;
        }
        let fresh = new_dir(who);
        let built = run(command(&fresh, who, None, &stock.build()));
        println!("{}", built.stderr);
        assert_eq!(built.code, 0, "the image could not be built");
        assert_eq!(run(command(&fresh, who, None, &["daemon", "stop"])).code, 0);
        let _ = fs::remove_dir_all(&dir);
        fs::rename(&fresh, &dir).unwrap();
        fs::write(dir.join("ready"), "").unwrap();
        dir
    });
    found.clone()
}

/// Changes with whatever goes into an image.
fn fingerprint(who: As, stock: Stock) -> u64 {
    let mut hasher = DefaultHasher::new();
    (who, stock.build()).hash(&mut hasher);
    fs::read(programs(As::Me).join("banger-agent"))
        .expect("run 'cargo xtask agent' first")
        .hash(&mut hasher);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["crates/banger-image/src", "crates/banger-core/src", "crates/bangerd/src/store"]
    {
        hash_tree(&root.join(folder), &mut hasher);
    }
    hasher.finish()
}

fn hash_tree(dir: &Path, hasher: &mut DefaultHasher) {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash_tree(&path, hasher);
        } else {
            path.file_name().hash(hasher);
            fs::read(&path).unwrap().hash(hasher);
        }
    }
}

pub fn copy_tree(from: &Path, to: &Path, link_images: bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&source, &target, link_images);
            fs::set_permissions(&target, fs::metadata(&source).unwrap().permissions()).unwrap();
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else if kind.is_file() {
            let image = link_images && source.components().any(|part| part.as_os_str() == "images");
            if image {
                fs::hard_link(&source, &target).unwrap();
            } else {
                fs::copy(&source, &target).unwrap();
            }
        }
    }
}
