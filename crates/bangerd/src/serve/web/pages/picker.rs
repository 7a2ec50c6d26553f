//! Looking for a file of this host: folders that the daemon's user can read, below a few roots.
//!
//! The kernel resolves each path beneath its root (openat2(2), `RESOLVE_BENEATH`), so that no `..`
//! and no link leads out of it, whatever is renamed meanwhile. What is chosen is text in a form; who
//! uses it checks it as it would be checked had it been typed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use banger_core::api::{ApiError, ErrorKind};
use maud::{Markup, html};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat,
};

use crate::engine::resources::blocking;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, alert, token};
use crate::serve::web::session::Session;
use crate::serve::web::show::{bytes, plain};

/// Where files that one would want may lie, beside the home folder.
const ROOTS: [&str; 7] =
    ["/var/lib/libvirt/images", "/var/tmp", "/tmp", "/srv", "/mnt", "/media", "/opt"];
/// The most entries of a folder that are shown.
const MOST: usize = 2000;

/// Something in a folder.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    is_dir: bool,
    bytes: u64,
}

/// The roots that there are.
fn roots() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let fixed = ROOTS.iter().map(PathBuf::from);
    home.into_iter().chain(fixed).filter(|root| root.is_dir()).collect()
}

/// The page that shows a folder, in a form with all that was filled in.
pub async fn page(session: &Session, path: &str, fields: &Fields) -> Result<Page, ApiError> {
    let field = fields.shown("pick").to_owned();
    let hidden = fields.ticked("hidden");
    // At first, where the path that is there already lies.
    let filled = fields.shown(&field);
    let dir = fields.text("dir").or((!filled.is_empty()).then_some(filled)).map(PathBuf::from);
    let internal = |error: crate::error::OpError| {
        ApiError::new(ErrorKind::Internal, crate::error::chain(&error))
    };
    // What is mounted there may not answer.
    let roots = blocking(|| Ok(roots())).await.map_err(internal)?;
    let dir = dir.filter(|dir| dir.is_absolute()).or_else(|| roots.first().cloned());
    let Some(dir) = dir else {
        return Err(ApiError::new(ErrorKind::NotFound, "there is no folder to look into"));
    };
    let (at, known) = (dir.clone(), roots.clone());
    let listed = blocking(move || Ok(list_nearest(&known, &at, hidden))).await;
    let (dir, listed) = listed.map_err(internal)?;
    let kept = fields.kept().filter(|(name, _)| !["dir", "hidden", "do"].contains(name));
    let kept: Vec<(&str, &str)> = kept.collect();
    // One form a button: each sends what was filled in, and one thing more.
    let body = html! {
        h1 { "Choose a file" }
        p.note { "For the field " strong { (plain(&field)) } "." }
        @for root in &roots {
            (go(session, path, &kept, &[("dir", &text(root))], &text(root), "plain"))
        }
        h2 { (text(&dir)) }
        @match &listed {
            Err(error) => (alert(error)),
            Ok((entries, cut)) => {
                div.acts {
                    @if let Some(parent) = dir.parent().filter(|parent| is_inside(&roots, parent)) {
                        (go(session, path, &kept, &[("dir", &text(parent))], "Up", "plain"))
                    }
                    @let show = if hidden { "Hide hidden files" } else { "Show hidden files" };
                    @let toggle: &[(&str, &str)] = &[("dir", &text(&dir)), ("hidden", "on")];
                    (go(session, path, &kept, if hidden { &toggle[..1] } else { toggle }, show, "plain"))
                    (choose(session, path, &kept, &field, &text(&dir), "Choose this folder"))
                }
                @if entries.is_empty() { p { "There is nothing in it." } }
                @if *cut { p.note { "There is more in it than is shown here." } }
                ul.files {
                    @for entry in entries {
                        @let full = text(&dir.join(&entry.name));
                        li {
                            @if entry.is_dir {
                                @let into = [("dir", full.as_str()), ("hidden", "on")];
                                @let into = if hidden { &into[..] } else { &into[..1] };
                                (go(session, path, &kept, into, &format!("{}/", plain(&entry.name)), "link"))
                            } @else {
                                (choose(session, path, &kept, &field, &full, &plain(&entry.name)))
                                " " span.note { (bytes(entry.bytes)) }
                            }
                        }
                    }
                }
            }
        }
        (go(session, path, &without_pick(&kept), &[], "Back without a choice", "plain"))
    };
    Ok(Page::new("Choose a file", body))
}

fn is_inside(roots: &[PathBuf], path: &Path) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn without_pick<'a>(kept: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    kept.iter().copied().filter(|(name, _)| *name != "pick").collect()
}

/// A button that goes on with what was filled in, and more.
fn go(
    session: &Session,
    path: &str,
    kept: &[(&str, &str)],
    more: &[(&str, &str)],
    word: &str,
    class: &str,
) -> Markup {
    html! {
        form.inline method="post" action=(path) {
            (token(session, path))
            @for (name, value) in kept.iter().chain(more) {
                input type="hidden" name=(name) value=(value);
            }
            button class=(class) { (word) }
        }
    }
}

/// A button that goes back with a path in its field.
fn choose(
    session: &Session,
    path: &str,
    kept: &[(&str, &str)],
    field: &str,
    value: &str,
    word: &str,
) -> Markup {
    let others: Vec<_> =
        without_pick(kept).into_iter().filter(|(name, _)| *name != field).collect();
    go(session, path, &others, &[(field, value)], word, "link")
}

/// The folder, or the nearest one above it that there is, and what is in it.
fn list_nearest(
    roots: &[PathBuf],
    dir: &Path,
    hidden: bool,
) -> (PathBuf, Result<(Vec<Entry>, bool), ApiError>) {
    let mut at = dir;
    loop {
        match (list(roots, at, hidden), at.parent()) {
            (Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT), Some(parent)) => {
                at = parent
            }
            (Err(error), _) => {
                let message = format!("{} cannot be looked into: {error}", at.display());
                let error = ApiError::new(ErrorKind::Forbidden, message);
                let remedy = "choose one of the folders above, or type the path yourself";
                return (at.to_owned(), Err(error.remedy(remedy)));
            }
            (Ok(found), _) => return (at.to_owned(), Ok(found)),
        }
    }
}

/// What is in a folder, folders first, and whether there is more than is told.
fn list(roots: &[PathBuf], dir: &Path, hidden: bool) -> rustix::io::Result<(Vec<Entry>, bool)> {
    let folder = open(roots, dir)?;
    let mut entries = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        // A path that is no text cannot be filled in.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name == "." || name == ".." || (name.starts_with('.') && !hidden) {
            continue;
        }
        if entries.len() == MOST {
            return Ok((sorted(entries), true));
        }
        let Ok(seen) = statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let (is_dir, bytes) = match FileType::from_raw_mode(seen.st_mode) {
            FileType::Directory => (true, 0),
            FileType::RegularFile => (false, seen.st_size.cast_unsigned()),
            // What it leads to decides, if that is beneath the root.
            FileType::Symlink => match open_any(roots, &dir.join(name)) {
                Ok(seen) => match FileType::from_raw_mode(seen.st_mode) {
                    FileType::Directory => (true, 0),
                    FileType::RegularFile => (false, seen.st_size.cast_unsigned()),
                    _ => continue,
                },
                Err(_) => continue,
            },
            _ => continue,
        };
        entries.push(Entry { name: name.to_owned(), is_dir, bytes });
    }
    Ok((sorted(entries), false))
}

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| (!a.is_dir, &a.name).cmp(&(!b.is_dir, &b.name)));
    entries
}

/// Opens a folder beneath the root that it is in.
fn open(roots: &[PathBuf], dir: &Path) -> rustix::io::Result<OwnedFd> {
    beneath(roots, dir, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// What a path beneath its root is. Nothing is opened for it: a pipe would hold us up.
fn open_any(roots: &[PathBuf], path: &Path) -> rustix::io::Result<rustix::fs::Stat> {
    rustix::fs::fstat(beneath(roots, path, OFlags::PATH)?)
}

fn beneath(roots: &[PathBuf], path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.components().all(plain) {
        return Err(rustix::io::Errno::PERM);
    }
    let inside = roots.iter().filter(|root| path.starts_with(root));
    let root = inside.max_by_key(|root| root.as_os_str().len()).ok_or(rustix::io::Errno::PERM)?;
    let top = openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let rest = path.strip_prefix(root).unwrap_or(Path::new(""));
    let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(top, rest, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A root with what is in it, and a secret beside it.
    fn scene() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("home");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        fs::write(dir.path().join("secret/key"), "secret").unwrap();
        fs::write(root.join("a.img"), [0; 10]).unwrap();
        fs::write(root.join(".hidden"), "").unwrap();
        for (link, to) in [
            ("out", "../secret"),
            ("absolute", dir.path().join("secret").to_str().unwrap()),
            ("file", "../secret/key"),
            ("inside", "sub/deep"),
            ("sub/back", "../a.img"),
            ("fd", "/proc/self/cwd"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        (dir, root)
    }

    fn names(roots: &[PathBuf], dir: &Path, hidden: bool) -> Result<Vec<String>, String> {
        let listed = list(roots, dir, hidden).map_err(|error| error.to_string())?;
        Ok(listed.0.into_iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn a_folder_shows_what_can_be_chosen() {
        let (_dir, root) = scene();
        let roots = [root.clone()];
        assert_eq!(names(&roots, &root, false).unwrap(), ["inside", "sub", "a.img"]);
        let all = names(&roots, &root, true).unwrap();
        assert_eq!(all, ["inside", "sub", ".hidden", "a.img"]);
        assert_eq!(names(&roots, &root.join("sub"), false).unwrap(), ["deep", "back"]);
        assert_eq!(names(&roots, &root.join("inside"), false).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn nothing_leads_out_of_the_roots() {
        let (dir, root) = scene();
        let roots = [root.clone()];
        for out in ["out", "absolute", "out/..", "../secret", "sub/../..", "sub/../../secret", "fd"]
        {
            assert!(names(&roots, &root.join(out), true).is_err(), "{out}");
        }
        for elsewhere in [dir.path(), &dir.path().join("secret"), Path::new("/"), Path::new("/etc")]
        {
            assert!(names(&roots, elsewhere, true).is_err(), "{elsewhere:?}");
        }
        // A root's name is not the start of another's.
        fs::create_dir(dir.path().join("home2")).unwrap();
        assert!(names(&roots, &dir.path().join("home2"), true).is_err());
        // Where it is not there, what is above it is shown, but never above the root.
        let (at, listed) = list_nearest(&roots, &root.join("sub/no/such"), false);
        assert_eq!((at, listed.is_ok()), (root.join("sub"), true));
        let (_, listed) = list_nearest(&roots, &dir.path().join("none/such"), false);
        assert_eq!(listed.unwrap_err().kind, ErrorKind::Forbidden);
    }
}
