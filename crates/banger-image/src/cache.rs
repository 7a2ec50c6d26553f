//! Folders of downloads: what is used is noted, and what nobody uses is forgotten.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long a download that nobody uses is kept: 30 days. Who keeps images of the same base up to
/// date has it for that long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Notes that a file is used, if it is there.
pub(crate) fn touch(path: &Path) {
    if let Ok(file) = File::options().write(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes what was not used for [`KEPT`].
pub(crate) fn tidy(folder: &Path) {
    let now = SystemTime::now();
    let old = |path: &Path| {
        let modified = path.metadata().and_then(|file| file.modified());
        modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT))
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in files.map(|entry| entry.path()).filter(|path| old(path)) {
        // It is only a cache: what stays is tried again the next time.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_goes_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, days: u64| {
            let path = dir.path().join(name);
            let age = Duration::from_secs(days * 24 * 3600);
            File::create(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let (used, young, old) = (make("used", 90), make("young", 29), make("old", 31));
        touch(&used);
        touch(&dir.path().join("none"));
        tidy(dir.path());
        assert_eq!([&used, &young, &old].map(|path| path.exists()), [true, true, false]);
    }
}
