//! Copying many files out of a file system.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::debugfs::Question;
use super::read::{Kind, Known, tree};
use super::walk::Halt;
use super::{Disk, PatchError};

/// What a folder may have, in bytes: the root may be a guest's, and say anything.
const LIMIT: u64 = 2 << 30;

/// A copy of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Where it was, relative to the folder.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// The copy, on the host.
    pub copy: PathBuf,
}

impl Disk<'_> {
    /// Copies the files below a folder, however deep, into the folder `to` of the host's, by
    /// numbers: no name of the file system's becomes one of the host's. Links and devices are left
    /// out. None if there is no such folder.
    ///
    /// # Errors
    /// As [`Disk::list`]; or there is more than 2 GiB, or a copy is not whole.
    pub fn copy_out(&self, folder: &Path, to: &Path) -> Result<Option<Vec<Copied>>, PatchError> {
        let Some((place, node)) = self.find(folder, true)? else { return Ok(None) };
        if node.stat.kind != Kind::Folder {
            return Ok(None);
        }
        let (mut known, mut places) = (Known::default(), BTreeSet::new());
        loop {
            match tree(&known, &place, &mut places) {
                Ok(()) => break,
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Need(needs)) => self.learn(&mut known, needs)?,
            }
        }
        let (mut files, mut questions) = (Vec::new(), Vec::new());
        for inside in &places {
            let Ok(Some(node)) = known.node(inside) else { continue };
            let Kind::File { size } = node.stat.kind else { continue };
            let copy = to.join(files.len().to_string());
            let relative = inside.get(place.len() + 1..).unwrap_or_default();
            questions.push(Question::Dump(inside.clone(), copy.clone()));
            let path = OsStr::from_bytes(relative).into();
            files.push((Copied { path, mode: node.stat.mode, copy }, size));
        }
        let total = files.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        if total > LIMIT {
            return Err(PatchError::TooLarge { path: folder.to_owned(), limit: LIMIT });
        }
        self.ask(&questions)?;
        for (Copied { path, copy, .. }, size) in &files {
            if !fs::metadata(copy).is_ok_and(|copy| copy.len() == *size) {
                let words = format!("{} was not read to its end", path.display());
                return Err(PatchError::Unreadable { disk: self.path.to_owned(), words });
            }
        }
        Ok(Some(files.into_iter().map(|(file, _)| file).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_exec::{Cancel, Command, HostRunner, Runner as _, Tool, Tools};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn all_files_below_a_folder_are_copied_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("tree/usr/lib/deep/er")).unwrap();
        fs::create_dir(at("out")).unwrap();
        symlink("usr/lib", at("tree/lib")).unwrap();
        symlink("a", at("tree/usr/lib/link")).unwrap();
        fs::write(at("tree/usr/lib/a"), "A").unwrap();
        fs::write(at("tree/usr/lib/deep/er/b"), vec![7; 100_000]).unwrap();
        fs::set_permissions(at("tree/usr/lib/a"), fs::Permissions::from_mode(0o751)).unwrap();
        let runner = HostRunner::new(Tools::discover());
        let mke2fs = Command::new(Tool::Mke2fs).args(["-q", "-t", "ext4", "-d"]);
        runner.capture(&mke2fs.arg(at("tree")).arg(at("disk")).arg("8M")).unwrap();

        let (disk, cancel) = (at("disk"), Cancel::default());
        let disk = Disk::open(&runner, &disk, &cancel).unwrap();
        let files = disk.copy_out(Path::new("/lib"), &at("out")).unwrap().unwrap();
        let list: Vec<_> = files
            .iter()
            .map(|file| {
                let size = fs::metadata(&file.copy).unwrap().len();
                format!("{} {:o} {size}", file.path.display(), file.mode)
            })
            .collect();
        insta::assert_snapshot!(list.join("\n"), @"
        a 751 1
        deep/er/b 644 100000
        ");
        for none in ["/none", "/lib/a"] {
            assert_eq!(disk.copy_out(Path::new(none), &at("out")).unwrap(), None, "{none}");
        }
    }
}
