//! What happens to a request that arrives while a VM is in some state and
//! another request may be under way. Pure, so that it can be tested whole.

use crate::vm::VmState;

/// What a client asks of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Start it.
    Start,
    /// Shut it down in an orderly way.
    Stop,
    /// Stop it, then start it.
    Restart,
    /// End its VMM at once.
    Kill,
    /// Remove it with its disks.
    Delete,
    /// Make an image of its root.
    Copy,
}

/// What a VM's task is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Making it, up to its first start.
    Create,
    /// A client's request.
    Request(Request),
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do it next.
    Enqueue,
    /// Cancel what is under way, then do it.
    Preempt,
    /// It is so already: succeed without doing anything.
    Ignore,
    /// Refuse.
    Deny(&'static str),
}

/// Decides. `busy` is what is under way or queued last, if anything is: a VM
/// takes one request at a time, and only what ends it may interrupt a start.
#[must_use]
pub fn accept(state: &VmState, busy: Option<Busy>, request: Request) -> Decision {
    use Decision::{Deny, Enqueue, Ignore, Preempt};
    use Request as R;
    match busy {
        // The same again: whoever asks waits for the end of both.
        Some(Busy::Request(current)) if current == request => return Enqueue,
        Some(Busy::Request(R::Delete)) => return Deny("it is being deleted"),
        Some(Busy::Create) => {
            // To interrupt a create undoes it, disks and all: only a delete may.
            return if request == R::Delete {
                Preempt
            } else {
                Deny("it is being created; wait, or delete it")
            };
        }
        Some(Busy::Request(current)) => {
            return match (current, request) {
                (R::Start | R::Restart, R::Stop | R::Kill | R::Delete) | (R::Stop, R::Kill) => {
                    Preempt
                }
                (R::Copy, R::Delete) => Preempt,
                (R::Kill, R::Stop) | (R::Stop | R::Kill, R::Delete) => Enqueue,
                (R::Start, _) => Deny("it is being started; wait, or stop it first"),
                (R::Restart, _) => Deny("it is being restarted; wait, or stop it first"),
                (R::Copy, _) => Deny("an image is being made of it; wait until it is"),
                (R::Stop | R::Kill | R::Delete, _) => Deny("it is being stopped; wait until it is"),
            };
        }
        None => {}
    }
    match (state, request) {
        (_, R::Delete) => Enqueue,
        (VmState::Deleting | VmState::Failed { removing: true, .. }, _) => {
            Deny("it is half deleted; delete it again")
        }
        (VmState::Defined | VmState::Provisioning, _) => Deny("it is not complete; delete it"),
        (VmState::Stopped(_), R::Stop | R::Kill) => Ignore,
        (VmState::Stopped(_), R::Copy) => Enqueue,
        (_, R::Copy) => Deny("it must be stopped"),
        // A daemon that failed to write may leave a VM in the middle: every request first
        // brings it to one end.
        _ => Enqueue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;
    use crate::vm::{PauseCause, StopCause};

    const REQUESTS: [Request; 6] = [
        Request::Start,
        Request::Stop,
        Request::Restart,
        Request::Kill,
        Request::Delete,
        Request::Copy,
    ];

    fn states() -> Vec<VmState> {
        vec![
            VmState::Defined,
            VmState::Provisioning,
            VmState::Stopped(StopCause::Requested),
            VmState::Starting,
            VmState::Running,
            VmState::Paused(PauseCause::DiskFull { free: Size::mib(1) }),
            VmState::Stopping,
            VmState::Failed { cause: String::new(), removing: false },
            VmState::Failed { cause: String::new(), removing: true },
            VmState::Deleting,
        ]
    }

    fn busy() -> impl Iterator<Item = Option<Busy>> {
        let requests = REQUESTS.map(Busy::Request);
        requests.into_iter().chain([Busy::Create]).map(Some).chain([None])
    }

    /// The table is small: all of it is tried.
    #[test]
    fn delete_is_never_refused_and_nothing_but_it_undoes_a_create() {
        for state in states() {
            for busy in busy() {
                for request in REQUESTS {
                    let decision = accept(&state, busy, request);
                    let refused = matches!(decision, Decision::Deny(_));
                    if request == Request::Delete {
                        assert!(!refused && decision != Decision::Ignore, "{state:?} {busy:?}");
                    } else if [Some(Busy::Create), Some(Busy::Request(Request::Delete))]
                        .contains(&busy)
                    {
                        assert!(refused, "{state:?} {busy:?} {request:?}");
                    }
                    if decision == Decision::Preempt {
                        assert!(busy.is_some(), "nothing to interrupt: {state:?} {request:?}");
                    }
                    // Whoever is told that it is so already must find it so.
                    if decision == Decision::Ignore {
                        assert!(busy.is_none(), "{state:?} {busy:?} {request:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_state_has_a_way_out() {
        for state in states() {
            let ways = REQUESTS.iter().filter(|r| accept(&state, None, **r) == Decision::Enqueue);
            assert!(ways.count() > 0, "{state:?}");
        }
    }

    #[test]
    fn what_is_so_already_is_ignored() {
        let stopped = VmState::Stopped(StopCause::New);
        assert_eq!(accept(&stopped, None, Request::Stop), Decision::Ignore);
        // It may be asked to be readier than it is.
        assert_eq!(accept(&VmState::Running, None, Request::Start), Decision::Enqueue);
        assert_eq!(accept(&VmState::Running, None, Request::Restart), Decision::Enqueue);
    }
}
