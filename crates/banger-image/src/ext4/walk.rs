//! Finding places: paths without links, as they are within the file system.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::PatchError;
use super::error::path as shown;

/// Links that one path may follow, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;
const MAX_NAME: usize = 255;

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    Folder,
    Link(&'a [u8]),
    Other,
}

/// Something must be read from the disk before one can go on.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Node(Vec<u8>),
    List(Vec<u8>),
}

/// What is at a place, as far as it is known.
pub(super) type Look<'a> = Result<Option<Seen<'a>>, Need>;

/// Why a walk or a plan stops.
pub(super) enum Halt {
    Need(Vec<Need>),
    Failed(PatchError),
}

impl From<PatchError> for Halt {
    fn from(error: PatchError) -> Self {
        Self::Failed(error)
    }
}

/// Where a path leads. The root's place is empty.
#[derive(Debug)]
pub(super) enum Walk {
    Found(Vec<u8>),
    /// Nothing is at the place `at`; the path goes on from there by `rest`.
    Missing {
        at: Vec<u8>,
        rest: Vec<Vec<u8>>,
    },
}

/// Where a path leads by what `look` sees. The links in its folders are
/// followed, its last part only if `follow`.
pub(super) fn walk<'a>(
    look: &dyn Fn(&[u8]) -> Look<'a>,
    path: &Path,
    follow: bool,
) -> Result<Walk, Halt> {
    // Each part, and the link that brought it.
    let mut parts: VecDeque<(Vec<u8>, Option<Vec<u8>>)> =
        parts(path)?.into_iter().map(|part| (part, None)).collect();
    let (mut place, mut links) = (Vec::new(), 0);
    while let Some((part, link)) = parts.pop_front() {
        if part == b".." {
            place.truncate(place.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let next = join(&place, &part);
        let seen = look(&next).map_err(|need| Halt::Need(ahead(need, &next, &parts)))?;
        match seen {
            None => match link {
                Some(link) => return Err(PatchError::Nowhere(shown(&link)).into()),
                None => {
                    let rest = parts.into_iter().map(|(part, _)| part).collect();
                    return Ok(Walk::Missing { at: next, rest });
                }
            },
            Some(Seen::Folder) => place = next,
            Some(Seen::Link(target)) if follow || !parts.is_empty() => {
                links += 1;
                if links > MAX_LINKS || target.is_empty() {
                    return Err(PatchError::Nowhere(shown(&next)).into());
                }
                if target.starts_with(b"/") {
                    place.clear();
                }
                for part in split(target).rev() {
                    parts.push_front((part.to_owned(), Some(next.clone())));
                }
            }
            Some(_) if parts.is_empty() => return Ok(Walk::Found(next)),
            Some(_) => return Err(PatchError::NotAFolder(shown(&next)).into()),
        }
    }
    Ok(Walk::Found(place))
}

/// What to read besides `need`: what comes next, if nothing on the way is a link.
fn ahead(need: Need, next: &[u8], parts: &VecDeque<(Vec<u8>, Option<Vec<u8>>)>) -> Vec<Need> {
    let (mut needs, mut place) = (vec![need], next.to_owned());
    for (part, _) in parts.iter().take_while(|(part, _)| part != b"..") {
        place = join(&place, part);
        needs.push(Need::Node(place.clone()));
    }
    needs
}

pub(super) fn join(place: &[u8], part: &[u8]) -> Vec<u8> {
    [place, b"/", part].concat()
}

/// The folder that a place is in, and its name there.
pub(super) fn parent(place: &[u8]) -> (&[u8], &[u8]) {
    let at = place.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    (&place[..at], place.get(at + 1..).unwrap_or_default())
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// The parts of a path that somebody gave.
fn parts(path: &Path) -> Result<Vec<Vec<u8>>, PatchError> {
    let bytes = path.as_os_str().as_bytes();
    let bad = |part: &[u8]| part == b".." || part.len() > MAX_NAME;
    if !bytes.starts_with(b"/") || split(bytes).any(bad) {
        return Err(PatchError::Name(path.to_owned()));
    }
    Ok(split(bytes).map(<[u8]>::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A path's end, in a tree of folders (`/`), files and links.
    fn end(tree: &[(&str, &'static str)], path: &str, follow: bool) -> String {
        let tree: BTreeMap<Vec<u8>, &str> =
            tree.iter().map(|(place, what)| (place.as_bytes().to_vec(), *what)).collect();
        let look = |place: &[u8]| {
            Ok(tree.get(place).map(|what| match *what {
                "folder" => Seen::Folder,
                "file" => Seen::Other,
                target => Seen::Link(target.as_bytes()),
            }))
        };
        match walk(&look, Path::new(path), follow) {
            Ok(Walk::Found(place)) => String::from_utf8(place).unwrap(),
            Ok(Walk::Missing { at, rest }) => {
                format!("no {}, {} more", String::from_utf8(at).unwrap(), rest.len())
            }
            Err(Halt::Failed(error)) => error.to_string(),
            Err(Halt::Need(_)) => "need".to_owned(),
        }
    }

    #[test]
    fn links_lead_where_they_lead_in_the_guest() {
        let tree = [
            ("/usr", "folder"),
            ("/usr/lib", "folder"),
            ("/usr/lib/a", "file"),
            ("/lib", "usr/lib"),
            ("/up", "/../../usr/./lib/../lib//a"),
            ("/loop", "/loop"),
            ("/gone", "/nothing"),
        ];
        let end = |path, follow| end(&tree, path, follow);
        assert_eq!(end("/lib/a", false), "/usr/lib/a");
        assert_eq!(end("/lib", false), "/lib");
        assert_eq!(end("/lib", true), "/usr/lib");
        assert_eq!(end("/up", true), "/usr/lib/a");
        assert_eq!(end("//./", false), "");
        assert_eq!(end("/lib/b/c/d", false), "no /usr/lib/b, 2 more");
        insta::assert_snapshot!(end("/loop/x", false), @"the link /loop leads nowhere");
        insta::assert_snapshot!(end("/gone/x", false), @"the link /gone leads nowhere");
        insta::assert_snapshot!(end("/lib/a/x", false), @"/usr/lib/a is not a folder");
        insta::assert_snapshot!(end("/lib/../x", false), @r#"cannot change or read "/lib/../x": no such path is possible here"#);
    }
}
