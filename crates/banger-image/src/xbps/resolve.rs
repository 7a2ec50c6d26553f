//! Which packages are to be installed for what is wanted: those, and all that they need.
//!
//! It decides as xbps does (xbps-install(1)): what is chosen or installed already is taken where it
//! fits, then the package of the name that is asked for, then the first that provides it.

mod check;

use std::collections::BTreeMap;
use std::fmt;

use super::pattern::{matches, name};
use super::pkgdb::Installed;
use super::repodata::{Package, Repodata};
use super::version::{PkgVer, compare};

/// xbps goes no deeper either.
const DEPTH: usize = 512;

/// How a package came to be chosen: what was wanted, and from there on each that needs the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(pub Vec<String>);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" → "))
    }
}

/// Why packages cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// What is wanted is nowhere.
    #[error("no repository has a package '{0}'")]
    NotFound(String),
    /// What a package needs is nowhere, or not there together with the rest.
    #[error("there is no '{pattern}'{}, which is needed: {chain}", only(found.as_ref()))]
    Missing {
        /// What is needed.
        pattern: String,
        /// The version that there is.
        found: Option<PkgVer>,
        /// What needs it.
        chain: Chain,
    },
    /// Two packages cannot be beside each other.
    #[error("{package} cannot be installed beside {other}: {chain}")]
    Conflict {
        /// The one that says so.
        package: PkgVer,
        /// The other one.
        other: PkgVer,
        /// Why the one that is not installed is needed.
        chain: Chain,
    },
    /// A package takes the place of another, which would have to be removed.
    #[error("{package} replaces {other}, which would have to go: {chain}")]
    Replaces {
        /// The one that takes the place.
        package: PkgVer,
        /// The one that is there, or chosen.
        other: PkgVer,
        /// Why the first is needed.
        chain: Chain,
    },
    /// A library would be missing.
    #[error(
        "{package} needs the library '{library}', which no package would have: the packages are from different times, so update all of them"
    )]
    Library {
        /// The package, chosen or installed.
        package: PkgVer,
        /// The library.
        library: String,
    },
    /// Packages need each other too deeply.
    #[error("packages need each other more than {DEPTH} deep")]
    TooDeep,
}

fn only(found: Option<&PkgVer>) -> String {
    found.map(|found| format!(", only {found}")).unwrap_or_default()
}

/// A package that is to be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The package.
    pub package: &'a Package,
    /// Which of the repositories has it.
    pub repository: usize,
    /// Whether it is there for others alone.
    pub automatic: bool,
}

/// Chooses packages, each after those that it needs.
///
/// `repositories` come in the order in which they are asked, `installed` is what there is already,
/// and `architecture` what the system is for. `wanted` are names, or patterns. What is wanted is
/// brought to the version of the repositories; what is merely needed stays where it fits. So the
/// names of all that is installed, as wanted, update everything.
///
/// # Errors
/// Something is missing, or packages cannot be beside each other or what is installed.
pub fn resolve<'a>(
    repositories: &[&'a Repodata],
    installed: &[Installed],
    architecture: &str,
    wanted: &[&str],
) -> Result<Vec<Chosen<'a>>, ResolveError> {
    let installed = installed.iter().map(|one| (one.pkgver.name(), one)).collect();
    let mut walk =
        Walk { repositories, installed, architecture, begun: BTreeMap::new(), order: Vec::new() };
    for wanted in wanted {
        walk.want(wanted)?;
    }
    check::together(&walk)?;
    Ok(walk.order)
}

/// A package that was chosen, and which one it was chosen for.
struct Begun<'a> {
    package: &'a Package,
    parent: Option<&'a str>,
}

struct Walk<'r, 'a> {
    repositories: &'r [&'a Repodata],
    installed: BTreeMap<&'r str, &'r Installed>,
    architecture: &'r str,
    begun: BTreeMap<&'a str, Begun<'a>>,
    order: Vec<Chosen<'a>>,
}

/// The name that a text asks for, which may be just that.
fn asked(pattern: &str) -> &str {
    name(pattern).unwrap_or(pattern)
}

/// Whether a package or what it provides is what is asked for.
fn fits(pkgver: &str, pattern: &str) -> bool {
    matches(pkgver, pattern) || pkgver.rsplit_once('-').is_some_and(|(name, _)| name == pattern)
}

/// Whether one of the virtual packages is what is asked for.
fn provided(provides: &[String], pattern: &str) -> bool {
    provides.iter().any(|one| fits(one, pattern))
}

impl<'a> Walk<'_, 'a> {
    fn want(&mut self, wanted: &str) -> Result<(), ResolveError> {
        let Some((package, repository)) = self.find(wanted) else {
            let there = self
                .installed
                .values()
                .any(|one| fits(one.pkgver.as_str(), wanted) || provided(&one.provides, wanted));
            return if there { Ok(()) } else { Err(ResolveError::NotFound(wanted.to_owned())) };
        };
        let name = package.pkgver.name();
        if let Some(begun) = self.order.iter_mut().find(|one| one.package.pkgver.name() == name) {
            begun.automatic = false;
            return Ok(());
        }
        let newest = |one: &&Installed| {
            let there = one.pkgver.version();
            compare(there, package.pkgver.version()).is_ge()
                && !package.reverts.iter().any(|version| version == there)
        };
        if self.installed.get(name).is_some_and(newest) {
            return Ok(());
        }
        self.choose(package, repository, None, 0)
    }

    /// What the repositories have for a pattern: the package of that name, else one that provides
    /// it.
    fn find(&self, pattern: &str) -> Option<(&'a Package, usize)> {
        let fit =
            |package: &&'a Package| [self.architecture, "noarch"].contains(&&*package.architecture);
        let all = || self.repositories.iter().enumerate();
        all()
            .find_map(|(number, data)| {
                let package = data.packages.get(asked(pattern)).filter(fit)?;
                fits(package.pkgver.as_str(), pattern).then_some((package, number))
            })
            .or_else(|| {
                all().find_map(|(number, data)| {
                    let mut packages = data.packages.values().filter(fit);
                    Some((packages.find(|one| provided(&one.provides, pattern))?, number))
                })
            })
    }

    /// Whether what is chosen or installed is what is asked for.
    fn has(&self, pattern: &str) -> bool {
        let name = asked(pattern);
        let chosen = self.begun.get(name).map(|begun| &begun.package.pkgver);
        let there = || self.installed.get(name).map(|one| &one.pkgver);
        if chosen.or_else(there).is_some_and(|pkgver| fits(pkgver.as_str(), pattern)) {
            return true;
        }
        self.begun.values().any(|begun| provided(&begun.package.provides, pattern))
            || self.kept().any(|one| provided(&one.provides, pattern))
    }

    /// What is installed and stays.
    fn kept(&self) -> impl Iterator<Item = &Installed> {
        let stays = |one: &&&Installed| !self.begun.contains_key(one.pkgver.name());
        self.installed.values().filter(stays).copied()
    }

    fn choose(
        &mut self,
        package: &'a Package,
        repository: usize,
        parent: Option<&'a str>,
        depth: usize,
    ) -> Result<(), ResolveError> {
        if depth == DEPTH {
            return Err(ResolveError::TooDeep);
        }
        let name = package.pkgver.name();
        // Packages may need each other: it counts as chosen from here on.
        self.begun.insert(name, Begun { package, parent });
        for pattern in &package.run_depends {
            if self.has(pattern) {
                continue;
            }
            let Some((needed, number)) = self.find(pattern) else {
                let found =
                    self.repositories.iter().find_map(|one| one.packages.get(asked(pattern)));
                return Err(ResolveError::Missing {
                    pattern: pattern.clone(),
                    found: found.map(|package| package.pkgver.clone()),
                    chain: self.chain(name),
                });
            };
            self.choose(needed, number, Some(name), depth + 1)?;
        }
        self.order.push(Chosen { package, repository, automatic: parent.is_some() });
        Ok(())
    }

    /// How a package came to be chosen.
    fn chain(&self, name: &str) -> Chain {
        let first = self.begun.get(name);
        let above = |begun: &&Begun<'a>| self.begun.get(begun.parent?);
        let chain = std::iter::successors(first, above);
        let mut chain: Vec<_> = chain.map(|begun| begun.package.pkgver.to_string()).collect();
        chain.reverse();
        Chain(chain)
    }
}

#[cfg(test)]
mod tests;
