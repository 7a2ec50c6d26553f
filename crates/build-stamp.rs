// Included by the build scripts of `banger` and `bangerd`, so that both carry
// the same stamp when they are built from the same sources: the time of the
// newest of them, in seconds since 1970-01-01 00:00 UTC.

use std::path::Path;
use std::time::UNIX_EPOCH;

fn newest(path: &Path) -> u64 {
    let Ok(metadata) = path.metadata() else { return 0 };
    if metadata.is_dir() {
        let entries = path.read_dir().into_iter().flatten().flatten();
        return entries.map(|entry| newest(&entry.path())).max().unwrap_or(0);
    }
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    modified.map_or(0, |time| time.as_secs())
}

fn main() {
    let crates = Path::new("..");
    println!("cargo::rerun-if-changed=..");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let stamp = newest(crates).max(newest(Path::new("../../Cargo.lock")));
    println!("cargo::rustc-env=BANGER_BUILD=build-{stamp:012}");
}
