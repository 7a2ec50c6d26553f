//! A VM's root device: a snapshot of its image over its overlay.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use banger_core::helper::{Answer, Verb, root_device};
use banger_core::id::VmId;

use crate::helper::uuid_of;
use crate::{AskError, At as _, Helper, HostError};

/// What is changed at a time, and what it takes to know where it is, in bytes (kernel:
/// drivers/md/dm-snap-persistent.c).
const CHUNK: u64 = 4096;
const EXCEPTION: u64 = 16;

/// Makes an overlay that can hold all of an image changed: a file of holes, in which a snapshot
/// finds nothing written.
///
/// # Errors
/// Either file.
pub(crate) fn overlay(base: &Path, path: &Path) -> Result<(), HostError> {
    let chunks = fs::metadata(base).at("read", base)?.len().div_ceil(CHUNK);
    // Beside what it holds: the header, and an area of exceptions each so many chunks.
    let areas = chunks.div_ceil(CHUNK / EXCEPTION) + 1;
    let mut options = fs::File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path).at("create", path)?;
    file.set_len((1 + areas + chunks) * CHUNK).at("resize", path)
}

/// Makes a log that a program started as root may append to, if there is none.
pub(crate) fn touch(log: &Path) -> Result<(), HostError> {
    let mut options = fs::File::options();
    options.create(true).append(true).mode(0o600).open(log).at("create", log).map(drop)
}

/// Whether there is a device of that name. It takes no root to see.
pub(crate) fn is_there(vm: &VmId) -> bool {
    // What cannot be looked at is left to who can.
    uuid_of(Path::new("/sys/block"), &root_device(vm)).map_or(true, |found| found.is_some())
}

/// Makes it. What was got is given back, the last first, if the rest fails.
///
/// # Errors
/// The helper's; joined with what could not be given back.
pub(crate) fn create(
    helper: &dyn Helper,
    vm: &VmId,
    base: &Path,
    cow: &Path,
) -> Result<(), HostError> {
    let mut held = Vec::new();
    let made = (|| {
        for (path, read_only) in [(base, true), (cow, false)] {
            let attach = Verb::LoopAttach { path: path.to_owned(), read_only };
            match helper.ask(&attach)? {
                Answer::Loop(number) => held.push(number),
                other => return Err(unexpected(&other)),
            }
        }
        let &[base, cow] = &held[..] else { return Ok(()) };
        helper.ask(&Verb::DmCreate { vm: vm.clone(), base, cow }).map(drop)
    })();
    let Err(cause) = made else {
        // The device holds them from here on; they go with it.
        for number in held {
            let _ = helper.ask(&Verb::LoopDetach { number });
        }
        return Ok(());
    };
    // It may be there though we were told otherwise.
    let mut undo = vec![Verb::DmRemove { vm: vm.clone() }];
    undo.extend(held.into_iter().rev().map(|number| Verb::LoopDetach { number }));
    let failures: Vec<String> = undo
        .iter()
        .filter_map(|verb| helper.ask(verb).err())
        .map(|error| error.to_string())
        .collect();
    if failures.is_empty() {
        return Err(cause.into());
    }
    Err(HostError::Rollback { cause: Box::new(cause.into()), rollback: failures.join("\n") })
}

pub(crate) fn unexpected(answer: &Answer) -> AskError {
    AskError::Failed(format!("it answers {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ready;
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    /// A helper whose verbs fail from the `first` on for `count` verbs.
    #[derive(Default)]
    struct Fake {
        first: usize,
        count: usize,
        asked: Mutex<Vec<String>>,
        held: Mutex<BTreeSet<String>>,
    }

    impl Helper for Fake {
        fn ask(&self, verb: &Verb) -> Result<Answer, AskError> {
            let mut asked = self.asked.lock().unwrap();
            asked.push(serde_json::to_value(verb).unwrap()["verb"].as_str().unwrap().to_owned());
            let n = asked.len() - 1;
            if (self.first..self.first + self.count).contains(&n) {
                return Err(AskError::Failed(format!("{} fails", asked[n])));
            }
            let mut held = self.held.lock().unwrap();
            match verb {
                Verb::LoopAttach { .. } => {
                    let number = u32::try_from(n).unwrap();
                    held.insert(format!("loop{number}"));
                    return Ok(Answer::Loop(number));
                }
                Verb::LoopDetach { number } => drop(held.remove(&format!("loop{number}"))),
                Verb::DmCreate { base, cow, .. } => {
                    assert!(
                        held.contains(&format!("loop{base}"))
                            && held.contains(&format!("loop{cow}"))
                    );
                    held.insert("dm".to_owned());
                }
                Verb::DmRemove { .. } => drop(held.remove("dm")),
                _ => unreachable!("{verb:?}"),
            }
            Ok(Answer::Nothing)
        }

        fn ready(&self) -> Result<Ready, AskError> {
            unreachable!()
        }
    }

    fn create_with(first: usize, count: usize) -> (Fake, Result<(), String>) {
        let fake = Fake { first, count, ..Fake::default() };
        let made = create(&fake, &VmId::from_bits(1), Path::new("base"), Path::new("cow"));
        (fake, made.map_err(|error| error.to_string()))
    }

    #[test]
    fn an_overlay_holds_a_whole_image_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (base, cow) = (dir.path().join("base"), dir.path().join("cow"));
        fs::File::create(&base).unwrap().set_len(4 << 30).unwrap();
        overlay(&base, &cow).unwrap();
        let length = fs::metadata(&cow).unwrap().len();
        // 1,048,576 chunks, and 256 of them known by one more.
        assert_eq!(length / CHUNK, 1_048_576 + 4096 + 2);
        assert_eq!(crate::allocated(&cow).unwrap(), 0);
        overlay(&base, &cow).unwrap_err();
    }

    #[test]
    fn each_step_may_fail_and_leaves_nothing() {
        let (fake, made) = create_with(usize::MAX, 0);
        made.unwrap();
        assert_eq!(fake.held.into_inner().unwrap(), BTreeSet::from(["dm".to_owned()]));
        let steps = fake.asked.into_inner().unwrap();
        assert_eq!(
            steps,
            ["loop_attach", "loop_attach", "dm_create", "loop_detach", "loop_detach"]
        );
        for (n, step) in steps.iter().enumerate().take(3) {
            let (fake, made) = create_with(n, 1);
            assert_eq!(made.unwrap_err(), format!("banger-helper failed: {step} fails"));
            assert_eq!(fake.held.into_inner().unwrap(), BTreeSet::new(), "step {step}");
        }
    }

    #[test]
    fn what_cannot_be_undone_is_told_with_the_cause() {
        // dm_create fails, and of what undoes it the first verb, the first two, all.
        for (failing, left) in [(2, 0), (3, 1), (4, 2)] {
            let (fake, made) = create_with(2, failing);
            let told = made.unwrap_err();
            assert!(told.starts_with("banger-helper failed: dm_create fails"), "{told}");
            assert!(told.contains("dm_remove fails"), "{told}");
            assert_eq!(told.matches("loop_detach fails").count(), left, "{told}");
            assert_eq!(fake.held.into_inner().unwrap().len(), left);
        }
    }
}
