//! What was chosen so far, and what is still to be chosen.

use std::collections::{HashMap, HashSet};

use super::super::dependency::Dependency;
use super::super::version::Version;
use super::ResolveError;
use super::catalog::{Catalog, Provider, names};

/// A package that was chosen; what for is another's place among them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    pub place: usize,
    because: Option<usize>,
}

/// Something that is possible.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    /// To install a package, for another that was chosen.
    Install { place: usize, because: Option<usize> },
    /// Not to install one that would come by itself.
    Decline { place: usize },
}

/// A name that is needed or excluded, and by which of those chosen.
type Rule<'a> = (Option<usize>, &'a Dependency);

#[derive(Debug, Clone)]
pub(super) struct State<'a> {
    pub chosen: Vec<Chosen>,
    /// The names that are provided: by which of those chosen, in which version.
    provided: HashMap<&'a str, Vec<(usize, Option<&'a Version>)>>,
    rules: HashMap<&'a str, Vec<Rule<'a>>>,
    /// What is needed and not known to be provided.
    open: Vec<Rule<'a>>,
    declined: HashSet<usize>,
}

impl<'a> State<'a> {
    pub(super) fn new(wanted: &'a [Dependency]) -> Self {
        let mut state = Self {
            chosen: Vec::new(),
            provided: HashMap::new(),
            rules: HashMap::new(),
            open: Vec::new(),
            declined: HashSet::new(),
        };
        wanted.iter().for_each(|dependency| state.require(None, dependency));
        state
    }

    fn require(&mut self, by: Option<usize>, dependency: &'a Dependency) {
        self.rules.entry(&dependency.name).or_default().push((by, dependency));
        if !dependency.conflict {
            self.open.push((by, dependency));
        }
    }

    fn providers(&self, name: &str) -> &[(usize, Option<&'a Version>)] {
        self.provided.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The one of those chosen that provides what is needed.
    pub(super) fn provider(&self, dependency: &Dependency) -> Option<usize> {
        let fits = |(_, version): &&(usize, Option<&Version>)| dependency.allows(*version);
        self.providers(&dependency.name).iter().find(fits).map(|(n, _)| *n)
    }

    /// Chooses what leaves no choice. Gives the next choice: the best option and the others, in
    /// their order; none if all is chosen.
    pub(super) fn step(
        &mut self,
        catalog: &Catalog<'a>,
    ) -> Result<Option<(Choice, Vec<Choice>)>, ResolveError> {
        let mut next = 0;
        let mut choice = None;
        let mut unclear = None;
        // A name with one provider may decide about those with several, so these come last.
        while let Some(rule @ (by, dependency)) = self.open.get(next).copied() {
            if self.provider(dependency).is_some() {
                self.open.remove(next);
                continue;
            }
            let options = self.options(catalog, dependency);
            let install =
                |provider: &Provider<'_>| Choice::Install { place: provider.place, because: by };
            match options.as_slice() {
                [] => return Err(self.explain(catalog, rule)),
                [only] if is_automatic(catalog, dependency, only) => {
                    self.take(catalog, install(only))?;
                    (next, choice, unclear) = (0, None, None);
                    continue;
                }
                _ => {}
            }
            let automatic = options.iter().filter(|p| is_automatic(catalog, dependency, p));
            let mut automatic = automatic.map(install);
            match automatic.next() {
                Some(best) if choice.is_none() => choice = Some((best, automatic.collect())),
                Some(_) => {}
                None => drop(unclear.get_or_insert(rule)),
            }
            next += 1;
        }
        match (choice, unclear) {
            (Some(choice), _) => Ok(Some(choice)),
            (None, Some((by, dependency))) => {
                let options = self.options(catalog, dependency);
                let mut found: Vec<_> = options
                    .iter()
                    .filter_map(|p| Some(catalog.record(p.place)?.name.clone()))
                    .collect();
                found.dedup();
                let chain = self.chain(catalog, by);
                Err(ResolveError::Ambiguous { name: dependency.name.clone(), found, chain })
            }
            (None, None) => Ok(self.triggered(catalog)),
        }
    }

    /// A package that comes by itself, because all is there that it is for.
    fn triggered(&self, catalog: &Catalog<'a>) -> Option<(Choice, Vec<Choice>)> {
        let met = |dependency: &Dependency| match dependency.conflict {
            true => self.providers(&dependency.name).iter().all(|(_, v)| dependency.allows(*v)),
            false => self.provider(dependency).is_some(),
        };
        let comes = |place: &&usize| {
            !self.declined.contains(place)
                && catalog.fits(**place)
                && catalog.record(**place).is_some_and(|record| {
                    record.install_if.iter().all(met) && self.providers(&record.name).is_empty()
                })
                && self.obstacle(catalog, **place).is_none()
        };
        let place = *catalog.triggered.iter().find(comes)?;
        Some((Choice::Install { place, because: None }, vec![Choice::Decline { place }]))
    }

    /// The packages that could provide what is needed, the best first.
    fn options(&self, catalog: &Catalog<'a>, dependency: &Dependency) -> Vec<Provider<'a>> {
        let fits = |provider: &&Provider<'_>| {
            dependency.allows(provider.version)
                && catalog.fits(provider.place)
                && self.obstacle(catalog, provider.place).is_none()
        };
        catalog.providers(&dependency.name).iter().filter(fits).copied().collect()
    }

    /// Takes an option.
    pub(super) fn take(
        &mut self,
        catalog: &Catalog<'a>,
        choice: Choice,
    ) -> Result<(), ResolveError> {
        let (place, because) = match choice {
            Choice::Install { place, because } => (place, because),
            Choice::Decline { place } => {
                self.declined.insert(place);
                return Ok(());
            }
        };
        if let Some(reason) = self.obstacle(catalog, place) {
            let (package, chain) = (catalog.shown(place), self.chain(catalog, because));
            return Err(ResolveError::Conflict { package, reason, chain });
        }
        let Some(record) = catalog.record(place) else { return Ok(()) };
        let n = self.chosen.len();
        self.chosen.push(Chosen { place, because });
        for (name, version) in names(record) {
            self.provided.entry(name).or_default().push((n, version));
        }
        record.depends.iter().for_each(|dependency| self.require(Some(n), dependency));
        Ok(())
    }

    /// What speaks against installing a package beside those chosen.
    fn obstacle(&self, catalog: &Catalog<'a>, place: usize) -> Option<String> {
        let record = catalog.record(place)?;
        let shown =
            |n: &usize| self.chosen.get(*n).map(|c| catalog.shown(c.place)).unwrap_or_default();
        for (name, version) in names(record) {
            let other = self.providers(name).iter().find(|(_, v)| v.or(version).is_some());
            if let Some((n, _)) = other {
                return Some(format!("{} provides '{name}', too", shown(n)));
            }
            let rules = self.rules.get(name).map(Vec::as_slice).unwrap_or_default();
            if let Some((by, rule)) = rules.iter().find(|(_, rule)| !rule.allows(version)) {
                let by = by.as_ref().map_or_else(|| "what is asked for".to_owned(), shown);
                return Some(format!("{by} says '{rule}'"));
            }
        }
        let mut needs = record.depends.iter();
        needs.find_map(|rule| {
            let providers = self.providers(&rule.name);
            let (n, _) = providers.iter().find(|(_, version)| !rule.allows(*version))?;
            Some(format!("it says '{rule}', and {} is to be installed", shown(n)))
        })
    }

    /// What needs something, from the nearest to what was asked for.
    fn chain(&self, catalog: &Catalog<'a>, by: Option<usize>) -> Vec<String> {
        let chosen = |n: Option<usize>| self.chosen.get(n?);
        let links = std::iter::successors(chosen(by), |link| chosen(link.because));
        links.map(|link| catalog.shown(link.place)).collect()
    }

    /// Why there is no option.
    fn explain(&self, catalog: &Catalog<'a>, (by, dependency): Rule<'a>) -> ResolveError {
        let chain = self.chain(catalog, by);
        let all = catalog.providers(&dependency.name);
        let best = all.iter().find(|p| dependency.allows(p.version) && catalog.fits(p.place));
        let reason = best.and_then(|p| Some((p.place, self.obstacle(catalog, p.place)?)));
        if let Some((place, reason)) = reason {
            return ResolveError::Conflict { package: catalog.shown(place), reason, chain };
        }
        if all.is_empty() {
            return ResolveError::Missing { name: dependency.name.clone(), chain };
        }
        let shown = |provider: &Provider<'_>| {
            let shown = catalog.shown(provider.place);
            match catalog.record(provider.place) {
                Some(record) if !catalog.fits(provider.place) => {
                    format!("{shown} for {}", record.arch)
                }
                _ => shown,
            }
        };
        let found = all.iter().map(shown).collect();
        ResolveError::Version { dependency: dependency.to_string(), found, chain }
    }
}

/// Whether a package is chosen without being asked for by its own name (apk-package(5),
/// "provider-priority"): if the name has a version, it has a priority, or there is no other.
fn is_automatic(catalog: &Catalog<'_>, dependency: &Dependency, provider: &Provider<'_>) -> bool {
    let record = catalog.record(provider.place);
    let name = record.map(|record| &record.name);
    let same = |p: &Provider<'_>| catalog.record(p.place).map(|record| &record.name) == name;
    provider.version.is_some()
        || record.is_some_and(|record| record.provider_priority > 0)
        || catalog.providers(&dependency.name).iter().all(same)
}
