//! Symlinks that packages take turns to make, such as `vi` (xbps-alternatives(1)).
//!
//! The database has the packages of each group. The first of them has its symlinks made.

use crate::xbps::plist::{self, Dict, Value};
use crate::xbps::repodata::alternatives;

/// Where the groups are in the database, among the packages.
pub(super) const KEY: &str = "_XBPS_ALTERNATIVES_";

/// A symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is, from the root on but without a slash before it.
    pub path: String,
    /// Where it leads, from its folder on.
    pub target: String,
}

/// Adds a package to its groups, and tells which symlinks it makes.
pub(super) fn register(database: &mut Dict, name: &str, record: &Dict) -> Vec<Link> {
    let own = alternatives(record);
    if own.is_empty() {
        return Vec::new();
    }
    let groups = database.entry(KEY.to_owned()).or_insert_with(|| Value::Dict(Dict::new()));
    let Value::Dict(groups) = groups else { return Vec::new() };
    let mut links = Vec::new();
    for (group, entries) in own {
        let mut packages = plist::strings(groups, &group);
        if !packages.iter().any(|package| package == name) {
            packages.push(name.to_owned());
        }
        if packages.first().is_some_and(|first| first == name) {
            links.extend(entries.iter().filter_map(|entry| link(entry)));
        }
        let packages = packages.into_iter().map(Value::String).collect();
        groups.insert(group, Value::Array(packages));
    }
    links
}

/// Takes a package out of its groups, and those away that have no other.
pub(super) fn remove(database: &mut Dict, name: &str) {
    let Some(Value::Dict(groups)) = database.get_mut(KEY) else { return };
    let itself = Value::String(name.to_owned());
    groups.retain(|_, packages| {
        let Value::Array(packages) = packages else { return true };
        packages.retain(|package| *package != itself);
        !packages.is_empty()
    });
}

/// Reads `LINK:TARGET`. A link without a slash before it is in the folder of the target. One that
/// leads out of the root is none.
fn link(entry: &str) -> Option<Link> {
    let (link, target) = entry.split_once(':')?;
    let from_root = parts(target)?;
    let (_, folder) = from_root.split_last()?;
    let mut path = if link.starts_with('/') { Vec::new() } else { folder.to_vec() };
    path.extend(parts(link).filter(|parts| !parts.is_empty())?);
    let (_, above) = path.split_last()?;
    if !target.starts_with('/') {
        return Some(Link { path: path.join("/"), target: target.to_owned() });
    }
    let common = above.iter().zip(folder).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", above.len() - common);
    let target: Vec<_> = up.chain(from_root.iter().skip(common).copied()).collect();
    Some(Link { path: path.join("/"), target: target.join("/") })
}

/// The parts of a path that stays where it begins.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_their_folder_on() {
        for (entry, expected) in [
            ("vi:/usr/bin/vim", Some(("usr/bin/vi", "vim"))),
            ("/usr/bin/vi:/usr/bin/vim", Some(("usr/bin/vi", "vim"))),
            ("/etc/x/a:/usr/lib/a", Some(("etc/x/a", "../../usr/lib/a"))),
            ("/usr/bin/sh:/bin//./dash", Some(("usr/bin/sh", "../../bin/dash"))),
            ("/a:/b", Some(("a", "b"))),
            ("/usr/bin/a:b", Some(("usr/bin/a", "b"))),
            ("../a:/usr/b", None),
            ("a:/../b", None),
            ("a", None),
            (":/usr/b", None),
            ("a:", None),
        ] {
            let found = link(entry);
            let found = found.as_ref().map(|link| (&*link.path, &*link.target));
            assert_eq!(found, expected, "{entry}");
        }
    }
}
