//! Files that are whole, or as they were: also after a power cut.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file in a folder that is there.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(content)?;
    part.as_file().sync_all()?;
    part.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for content in ["old", "new"] {
            super::write(&path, content.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
