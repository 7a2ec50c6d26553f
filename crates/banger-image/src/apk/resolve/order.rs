//! The order in which packages are installed: what a package needs comes before it, as far as there
//! are no circles.

use super::super::dependency::Dependency;
use super::catalog::Catalog;
use super::state::State;

/// The places of those chosen, beginning with what the first that is wanted needs.
pub(super) fn order(catalog: &Catalog<'_>, state: &State<'_>, wanted: &[Dependency]) -> Vec<usize> {
    let needs = |n: usize| {
        let record = state.chosen.get(n).and_then(|chosen| catalog.record(chosen.place));
        // What a package comes for by itself is there before it, too.
        let lists = record.map(|record| record.install_if.iter().chain(&record.depends));
        let needs = lists.into_iter().flatten().filter(|dependency| !dependency.conflict);
        let mut needs: Vec<_> = needs.filter_map(|need| state.provider(need)).collect();
        // They are taken from the end.
        needs.reverse();
        needs
    };
    let roots = wanted.iter().filter(|dependency| !dependency.conflict);
    let roots = roots.filter_map(|dependency| state.provider(dependency));
    let mut seen = vec![false; state.chosen.len()];
    let mut order = Vec::with_capacity(state.chosen.len());
    for root in roots.chain(0..state.chosen.len()) {
        // Not recursive: a chain may be as long as the index.
        let mut path = vec![(root, None)];
        while let Some((n, left)) = path.last_mut() {
            let left: &mut Vec<usize> = match left {
                Some(left) => left,
                None => {
                    let first = seen.get_mut(*n).is_some_and(|seen| !std::mem::replace(seen, true));
                    if !first {
                        path.pop();
                        continue;
                    }
                    left.insert(needs(*n))
                }
            };
            match left.pop() {
                Some(need) => path.push((need, None)),
                None => {
                    order.extend(state.chosen.get(*n).map(|chosen| chosen.place));
                    path.pop();
                }
            }
        }
    }
    order
}
