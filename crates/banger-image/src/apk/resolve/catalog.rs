//! The packages that there are, by the names that they provide.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::super::index::Record;
use super::super::version::Version;

/// A package that provides a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider<'a> {
    pub place: usize,
    pub version: Option<&'a Version>,
}

pub(super) struct Catalog<'a> {
    index: &'a [Record],
    providers: HashMap<&'a str, Vec<Provider<'a>>>,
    /// Packages that are installed by themselves, the best first.
    pub triggered: Vec<usize>,
    arch: &'a str,
}

/// The names that a package provides, its own first, each once.
pub(super) fn names(record: &Record) -> impl Iterator<Item = (&str, Option<&Version>)> {
    let own = (record.name.as_str(), Some(&record.version));
    let others = record.provides.iter().filter(|provide| provide.name != record.name);
    std::iter::once(own)
        .chain(others.map(|provide| (provide.name.as_str(), provide.version.as_ref())))
}

impl<'a> Catalog<'a> {
    pub(super) fn new(index: &'a [Record], arch: &'a str) -> Self {
        let mut providers: HashMap<_, Vec<_>> = HashMap::new();
        for (place, record) in index.iter().enumerate() {
            for (name, version) in names(record) {
                providers.entry(name).or_default().push(Provider { place, version });
            }
        }
        for (name, list) in &mut providers {
            list.sort_by_cached_key(|provider| {
                let record = index.get(provider.place);
                let priority = record.map_or(0, |record| record.provider_priority);
                (
                    Reverse(provider.version),
                    Reverse(priority),
                    record.map(|record| (record.name != *name, &record.name)),
                    Reverse(record.map(|record| &record.version)),
                    provider.place,
                )
            });
        }
        let mut triggered: Vec<_> =
            (0..index.len()).filter(|n| index.get(*n).is_some_and(is_triggered)).collect();
        triggered.sort_by_cached_key(|place| {
            let record = index.get(*place);
            let version = Reverse(record.map(|record| &record.version));
            (record.map(|record| &record.name), version, *place)
        });
        Self { index, providers, triggered, arch }
    }

    /// A package by its place, which is one of those that are known here.
    pub(super) fn record(&self, place: usize) -> Option<&'a Record> {
        self.index.get(place)
    }

    /// The providers of a name, the best first.
    pub(super) fn providers(&self, name: &str) -> &[Provider<'a>] {
        self.providers.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether it is for this kind of machine.
    pub(super) fn fits(&self, place: usize) -> bool {
        let fits = |record: &Record| ["", "noarch", self.arch].contains(&&*record.arch);
        self.record(place).is_some_and(fits)
    }

    /// A package as people know it.
    pub(super) fn shown(&self, place: usize) -> String {
        let shown = |record: &Record| format!("{}-{}", record.name, record.version);
        self.record(place).map(shown).unwrap_or_default()
    }
}

fn is_triggered(record: &Record) -> bool {
    !record.install_if.is_empty()
}
