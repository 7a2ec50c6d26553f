//! Which packages have to be installed, and in which order.
//!
//! A name is provided by the package of that name and by those that list it. As in apk (apk-package(5),
//! "provides"): of a name with versions there is one provider, the one of the best version; a name
//! without is chosen by priority, or is provided by something that is asked for. Where a choice
//! turns out to be impossible, the next best is tried.

mod catalog;
mod order;
mod state;

use std::collections::VecDeque;

use super::dependency::Dependency;
use super::index::Record;
use catalog::Catalog;
use state::{Choice, State};

/// Choices to which it can come back. Older ones are final.
const CHOICES: usize = 256;
/// Choices that are tried in another way before it gives up.
const TRIES: usize = 2000;

/// Why packages cannot be installed together. Each `chain` says what needs it, from the nearest to
/// what was asked for; it is empty for the latter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing provides a name.
    #[error("no package provides '{name}'{}", because(chain))]
    Missing {
        /// The name.
        name: String,
        /// What needs it.
        chain: Vec<String>,
    },
    /// It is there, but not in a version that fits.
    #[error("no package provides '{dependency}'{}: there is only {}", because(chain), found.join(", "))]
    Version {
        /// What is needed.
        dependency: String,
        /// The packages that provide the name, for this kind of machine and others.
        found: Vec<String>,
        /// What needs it.
        chain: Vec<String>,
    },
    /// Two packages exclude each other, or one is excluded by what was asked for.
    #[error("{package}{} cannot be installed: {reason}", inserted(chain))]
    Conflict {
        /// The package.
        package: String,
        /// What is in its way.
        reason: String,
        /// What needs the package.
        chain: Vec<String>,
    },
    /// Several packages provide a name, and none comes before the others.
    #[error("'{name}'{} is provided by several packages: ask for one of {}", inserted(chain), found.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// The packages.
        found: Vec<String>,
        /// What needs it.
        chain: Vec<String>,
    },
}

fn because(chain: &[String]) -> String {
    chain.iter().map(|package| format!(", needed by {package}")).collect()
}

fn inserted(chain: &[String]) -> String {
    let end = if chain.is_empty() { "" } else { "," };
    because(chain) + end
}

/// Chooses the packages to install, dependencies first: places in `index`. Of equal packages, the
/// one that comes first is taken, so the most important repository is to come first. Packages for
/// other machines than `arch` and `noarch` are left out. What is `wanted` may be excluded, too.
///
/// # Errors
///
/// There is no choice of packages that fits; the error is about the first thing that did not.
pub fn resolve(
    index: &[Record],
    arch: &str,
    wanted: &[Dependency],
) -> Result<Vec<usize>, ResolveError> {
    let catalog = Catalog::new(index, arch);
    let mut state = State::new(wanted);
    // Where it can come back to: what was chosen by then, and what else could be, the best last.
    let mut choices: VecDeque<(State<'_>, Vec<Choice>)> = VecDeque::new();
    let mut first = None;
    let mut tries = 0;
    loop {
        let taken = match state.step(&catalog) {
            Ok(None) => return Ok(order::order(&catalog, &state, wanted)),
            Ok(Some((best, mut others))) => {
                if !others.is_empty() {
                    others.reverse();
                    choices.push_back((state.clone(), others));
                }
                if choices.len() > CHOICES {
                    choices.pop_front();
                }
                state.take(&catalog, best)
            }
            Err(error) => Err(error),
        };
        let Err(error) = taken else { continue };
        let first = first.get_or_insert(error);
        state = loop {
            let Some((before, others)) = choices.back_mut() else { return Err(first.clone()) };
            let Some(choice) = others.pop() else {
                choices.pop_back();
                continue;
            };
            tries += 1;
            if tries > TRIES {
                return Err(first.clone());
            }
            let mut state = before.clone();
            if state.take(&catalog, choice).is_ok() {
                break state;
            }
        };
    }
}

#[cfg(test)]
mod tests;
