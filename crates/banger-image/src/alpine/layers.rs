//! Packages as layers of a root, each over those that were installed before it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::packages::Had;
use crate::build::BuildError;
use crate::oci::Layer;

/// A tar file as a layer.
pub(super) fn layer(tar: &Path) -> Result<Layer, BuildError> {
    Layer::of(tar.to_owned()).map_err(BuildError::io("read", tar))
}

/// The layers of packages. Files that give way to others, by the place of their package, are left
/// out.
pub(super) fn of(
    packages: &[Had<'_>],
    superseded: &[(usize, Vec<u8>)],
) -> Result<Vec<Layer>, BuildError> {
    let mut layers = Vec::new();
    for (n, package) in packages.iter().enumerate() {
        let Some((_, tar)) = &package.content else { continue };
        let gone: HashSet<_> = superseded
            .iter()
            .filter(|(place, _)| *place == n)
            .map(|(_, path)| path.as_slice())
            .collect();
        if gone.is_empty() {
            layers.push(layer(tar)?);
        } else {
            let rest = tar.with_extension("rest.tar");
            without(tar, &rest, &gone).map_err(BuildError::io("write", &rest))?;
            layers.push(layer(&rest)?);
        }
    }
    Ok(layers)
}

/// Copies a tar file but for some files; each with whatever headers it has, as they are.
fn without(tar: &Path, to: &Path, gone: &HashSet<&[u8]>) -> io::Result<()> {
    let mut from = File::open(tar)?;
    let mut pieces = Vec::new();
    let mut start = 0;
    for entry in tar::Archive::new(File::open(tar)?).entries_with_seek()? {
        let entry = entry?;
        let end = (entry.raw_file_position() + entry.size()).next_multiple_of(512);
        if !gone.contains(entry.path_bytes().as_ref()) {
            pieces.push((start, end));
        }
        start = end;
    }
    let mut out = File::create(to)?;
    for (start, end) in pieces {
        from.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&from).take(end - start), &mut out)?;
    }
    out.write_all(&[0; 1024])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::testing::{file, layer};

    #[test]
    fn a_file_that_gives_way_is_left_out_with_its_headers() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from.tar"), dir.path().join("to.tar"));
        let long = "l".repeat(150);
        let items = [file("a", "A"), file(&long, "L".repeat(600)), file("b", "B")];
        std::fs::write(&from, layer(&items)).unwrap();
        let left = |gone: &[&[u8]]| {
            without(&from, &to, &gone.iter().copied().collect()).unwrap();
            let mut archive = tar::Archive::new(File::open(&to).unwrap());
            let entries = archive.entries().unwrap().map(|entry| {
                let mut entry = entry.unwrap();
                let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                let content = io::read_to_string(&mut entry).unwrap();
                format!("{}{} {}", &path[..1], path.len(), content.len())
            });
            entries.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(left(&[]), "a1 1, l150 600, b1 1");
        assert_eq!(left(&[long.as_bytes()]), "a1 1, b1 1");
        assert_eq!(left(&[b"a", b"b"]), "l150 600");
    }
}
