//! Names in layers: what they mean, and which of them take something away (image-spec, "Image
//! Layer Filesystem Changeset").

/// A longer path cannot be named (`PATH_MAX` without its zero byte).
pub(super) const PATH: usize = 4095;
/// A longer name cannot be made in any file system.
const NAME: usize = 255;
const WHITEOUT: &[u8] = b".wh.";

/// What an entry of a layer does, by its name; the parts of its path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// It is there.
    Entry(Vec<&'a [u8]>),
    /// What is below it in the image is gone.
    Gone(Vec<&'a [u8]>),
    /// What is below it in the image has nothing in it.
    Opaque(Vec<&'a [u8]>),
    /// It means something to AUFS alone.
    Ignored,
}

/// The parts of a path within the root. Absolute ones begin at the root, and nothing is above it,
/// as for containerd and umoci.
pub(super) fn parts(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.len() > PATH {
        return Err("its path has more than 4095 bytes");
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ if part.len() > NAME => return Err("its name has more than 255 bytes"),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// What the name of an entry means.
pub(super) fn name(path: &[u8]) -> Result<Name<'_>, &'static str> {
    let mut parts = parts(path)?;
    if parts.iter().any(|part| part.starts_with(b".wh..wh.") && *part != b".wh..wh..opq") {
        return Ok(Name::Ignored);
    }
    let Some((last, folders)) = parts.split_last() else { return Ok(Name::Entry(parts)) };
    if folders.iter().any(|part| part.starts_with(WHITEOUT)) {
        return Err("it is in a folder that is a whiteout");
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Name::Entry(parts)),
        Some(b"" | b"." | b"..") => Err("it is a whiteout of nothing"),
        Some(b".wh..opq") => {
            parts.pop();
            Ok(Name::Opaque(parts))
        }
        Some(hidden) => {
            parts.pop();
            parts.push(hidden);
            Ok(Name::Gone(parts))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_containers_take_them_for() {
        let long = "n".repeat(256);
        let deep = "a/".repeat(2048);
        for (path, expected) in [
            ("./a//b/./c/", "entry a/b/c"),
            ("/etc/passwd", "entry etc/passwd"),
            ("../../etc/../x", "entry x"),
            ("./", "entry "),
            ("a/.wh.b", "gone a/b"),
            (".wh.a", "gone a"),
            (".wh..b", "gone .b"),
            ("a/.wh..wh..opq", "opaque a"),
            (".wh..wh..opq", "opaque "),
            (".wh..wh.plnk/1.2", "ignored"),
            (".wh..wh.aufs", "ignored"),
            ("a/x.wh.b", "entry a/x.wh.b"),
            (".wh.", "it is a whiteout of nothing"),
            ("a/.wh..", "it is a whiteout of nothing"),
            ("a/.wh...", "it is a whiteout of nothing"),
            (".wh.a/b", "it is in a folder that is a whiteout"),
            (&long, "its name has more than 255 bytes"),
            (&deep, "its path has more than 4095 bytes"),
        ] {
            let join = |parts: Vec<&[u8]>| String::from_utf8(parts.join(&b'/')).unwrap();
            let meaning = match name(path.as_bytes()) {
                Ok(Name::Entry(parts)) => format!("entry {}", join(parts)),
                Ok(Name::Gone(parts)) => format!("gone {}", join(parts)),
                Ok(Name::Opaque(parts)) => format!("opaque {}", join(parts)),
                Ok(Name::Ignored) => "ignored".to_owned(),
                Err(reason) => reason.to_owned(),
            };
            assert_eq!(meaning, expected, "{path}");
        }
    }
}
