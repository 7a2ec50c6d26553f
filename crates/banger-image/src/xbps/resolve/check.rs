//! Whether chosen packages can be beside each other and what is installed.

use std::collections::BTreeSet;

use super::{Chain, ResolveError, Walk, asked, fits, provided};
use crate::xbps::pkgdb::Installed;
use crate::xbps::repodata::Package;
use crate::xbps::version::PkgVer;

/// A package that there will be.
struct Member<'a> {
    pkgver: &'a PkgVer,
    provides: &'a [String],
    conflicts: &'a [String],
    /// None for what is installed.
    chosen: Option<&'a Package>,
}

impl<'a> Member<'a> {
    fn chosen(package: &'a Package) -> Self {
        let Package { pkgver, provides, conflicts, .. } = package;
        Self { pkgver, provides, conflicts, chosen: Some(package) }
    }

    fn installed(one: &'a Installed) -> Self {
        let Installed { pkgver, provides, conflicts, .. } = one;
        Self { pkgver, provides, conflicts, chosen: None }
    }
}

/// Checks conflicts, replacements and libraries.
pub(super) fn together(walk: &Walk<'_, '_>) -> Result<(), ResolveError> {
    let chosen = walk.begun.values().map(|begun| Member::chosen(begun.package));
    let members: Vec<_> = chosen.chain(walk.kept().map(Member::installed)).collect();
    for member in &members {
        let others = || members.iter().filter(|other| other.pkgver.name() != member.pkgver.name());
        // What is installed together is not ours to judge.
        let news = |other: &&Member<'_>| member.chosen.is_some() || other.chosen.is_some();
        for pattern in member.conflicts {
            let conflict = |other: &&Member<'_>| {
                fits(other.pkgver.as_str(), pattern) || provided(other.provides, pattern)
            };
            if let Some(other) = others().filter(news).find(conflict) {
                let new = if member.chosen.is_some() { member } else { other };
                return Err(ResolveError::Conflict {
                    package: member.pkgver.clone(),
                    other: other.pkgver.clone(),
                    chain: walk.chain(new.pkgver.name()),
                });
            }
        }
        let Some(package) = member.chosen else { continue };
        for pattern in &package.replaces {
            if let Some(other) = others().find(|other| fits(other.pkgver.as_str(), pattern)) {
                return Err(ResolveError::Replaces {
                    package: member.pkgver.clone(),
                    other: other.pkgver.clone(),
                    chain: walk.chain(member.pkgver.name()),
                });
            }
        }
    }
    needs(walk)?;
    libraries(walk)
}

/// What fitted when a package was chosen may since have been brought to another version; so may
/// what an installed one needs.
fn needs(walk: &Walk<'_, '_>) -> Result<(), ResolveError> {
    let missing = |pattern: &str, chain| ResolveError::Missing {
        pattern: pattern.to_owned(),
        found: walk.begun.get(asked(pattern)).map(|begun| begun.package.pkgver.clone()),
        chain,
    };
    for begun in walk.begun.values() {
        if let Some(pattern) = begun.package.run_depends.iter().find(|one| !walk.has(one)) {
            return Err(missing(pattern, walk.chain(begun.package.pkgver.name())));
        }
    }
    let before = |pattern: &str| {
        let named = walk.installed.get(asked(pattern));
        named.is_some_and(|one| fits(one.pkgver.as_str(), pattern))
            || walk.installed.values().any(|one| provided(&one.provides, pattern))
    };
    for one in walk.kept() {
        let broken = |pattern: &&String| !walk.has(pattern) && before(pattern);
        if let Some(pattern) = one.run_depends.iter().find(broken) {
            return Err(missing(pattern, Chain(vec![one.pkgver.to_string()])));
        }
    }
    Ok(())
}

/// Every library that a chosen package needs has to be there, and none may go that an installed one
/// has.
fn libraries(walk: &Walk<'_, '_>) -> Result<(), ResolveError> {
    let before = walk.installed.values().flat_map(|one| &one.shlib_provides);
    let before: BTreeSet<_> = before.collect();
    let chosen = || walk.begun.values().map(|begun| begun.package);
    let after = chosen().flat_map(|package| &package.shlib_provides);
    let after: BTreeSet<_> = after.chain(walk.kept().flat_map(|one| &one.shlib_provides)).collect();
    let new = chosen().flat_map(|one| one.shlib_requires.iter().map(move |lib| (&one.pkgver, lib)));
    let old =
        walk.kept().flat_map(|one| one.shlib_requires.iter().map(move |lib| (&one.pkgver, lib)));
    let old = old.filter(|(_, library)| before.contains(library));
    match new.chain(old).find(|(_, library)| !after.contains(library)) {
        Some((package, library)) => {
            Err(ResolveError::Library { package: package.clone(), library: library.clone() })
        }
        None => Ok(()),
    }
}
