//! The indexes of all repositories, fetched anew for each build.

use std::fs::File;

use super::packages::Wanted;
use super::{ARCH, AlpineError, REPOSITORIES};
use crate::apk::index::{self, Record};
use crate::apk::keys::Keys;
use crate::assemble::Assembly;
use crate::build::BuildError;
use crate::fetch::fetch_unchecked;

/// What repositories have.
pub(super) struct Repositories {
    /// All packages, those of the most important repository first.
    records: Vec<Record>,
    /// Where the packages are, and how many records there are up to the last of them.
    ends: Vec<(String, usize)>,
}

impl Repositories {
    /// Fetches the indexes below `folder`, which is that of a release on a mirror, and checks them.
    pub(super) fn fetch(to: &Assembly<'_>, folder: &str, keys: &Keys) -> Result<Self, BuildError> {
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        for name in REPOSITORIES {
            let place = format!("{folder}/{name}/{ARCH}");
            let url = format!("{place}/APKINDEX.tar.gz");
            let file = to.scratch.join(format!("{name}.tar.gz"));
            let progress = |done, total| to.reporter.progress(done, total);
            fetch_unchecked(&url, &file, index::LIMIT as u64, &to.env.cancel, &progress)
                .map_err(AlpineError::from)?;
            let read = File::open(&file).map_err(BuildError::io("read", &file))?;
            let found =
                index::read(read, keys).map_err(|source| AlpineError::Index { url, source })?;
            to.reporter.log(&format!("{name}, packages: {}", found.len()));
            records.extend(found);
            ends.push((place, records.len()));
        }
        Ok(Self { records, ends })
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Those that were chosen, by their places.
    pub(super) fn wanted(&self, chosen: &[usize]) -> Vec<Wanted<'_>> {
        let wanted = |n: &usize| {
            let record = self.records.get(*n)?;
            let (place, _) = self.ends.iter().find(|(_, end)| n < end)?;
            Some(Wanted { record, url: format!("{place}/{}", record.file_name()) })
        };
        chosen.iter().filter_map(wanted).collect()
    }
}
