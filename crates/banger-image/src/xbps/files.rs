//! Lists of the files of packages: `files.plist` in a package, `.NAME-files.plist` beside the
//! database (xbps-create(1); xbps-install(1), "FILES").

use super::plist::{self, Dict, PlistError, Value};
use crate::fetch::Checksum;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, with a slash for the root before it.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What a file of a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File(Checksum),
    /// A file for people to change. An update keeps one that differs from what the last version
    /// brought.
    Config(Checksum),
    /// A symlink.
    Link,
}

/// Reads a list of files. What has no path or no checksum is left out.
///
/// # Errors
/// It is no property list.
pub fn parse(list: &[u8]) -> Result<Vec<Entry>, PlistError> {
    Ok(entries(&plist::parse(list)?))
}

pub(super) fn entries(list: &Dict) -> Vec<Entry> {
    let kind = |of: &str, entry: &Dict| match of {
        "files" => checksum(entry).map(Kind::File),
        "conf_files" => checksum(entry).map(Kind::Config),
        _ => Some(Kind::Link),
    };
    let entry = |of: &str, entry: &Value| {
        let Value::Dict(entry) = entry else { return None };
        Some(Entry { path: plist::string(entry, "file")?.to_owned(), kind: kind(of, entry)? })
    };
    ["files", "conf_files", "links"]
        .iter()
        .flat_map(|of| plist::array(list, of).iter().filter_map(|one| entry(of, one)))
        .collect()
}

fn checksum(entry: &Dict) -> Option<Checksum> {
    plist::string(entry, "sha256")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xbps::testing::{Made, sha256};

    #[test]
    fn the_files_of_a_package_are_listed() {
        let sum = sha256(b"x");
        let made = Made::new("a-1_1")
            .listed("conf_files", "/etc/a", Some(("sha256", &sum)))
            .listed("files", "/usr/a", Some(("sha256", &sum)))
            .listed("files", "/usr/b", None)
            .listed("links", "/usr/l", Some(("target", "/usr/a")))
            .listed("dirs", "/usr", None);
        let entries = parse(&plist::write(&made.files)).unwrap();
        let entry = |path: &str, kind| Entry { path: path.to_owned(), kind };
        let sum: Checksum = sum.parse().unwrap();
        assert_eq!(
            entries,
            [
                entry("/usr/a", Kind::File(sum.clone())),
                entry("/etc/a", Kind::Config(sum)),
                entry("/usr/l", Kind::Link),
            ]
        );
        assert!(parse(b"").is_err());
    }
}
