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

/// Decides. `busy` is the request under way, if there is one: a VM takes one
/// at a time, and only what ends it may interrupt a start.
#[must_use]
pub fn accept(state: &VmState, busy: Option<Request>, request: Request) -> Decision {
    use Decision::{Deny, Enqueue, Ignore, Preempt};
    use Request as R;
    if *state == VmState::Deleting || busy == Some(R::Delete) {
        return if request == R::Delete { Ignore } else { Deny("it is being deleted") };
    }
    if let Some(current) = busy {
        return match (current, request) {
            (R::Start | R::Restart, R::Stop | R::Kill | R::Delete) | (R::Stop, R::Kill) => Preempt,
            (current, request) if current == request => Ignore,
            (R::Kill, R::Stop) => Ignore,
            (R::Stop | R::Kill, R::Delete) => Enqueue,
            (R::Start, _) => Deny("it is being started; wait, or stop it first"),
            (R::Restart, _) => Deny("it is being restarted; wait, or stop it first"),
            (R::Stop | R::Kill, _) => Deny("it is being stopped; wait until it is"),
            (R::Delete, _) => Deny("it is being deleted"),
        };
    }
    match (state, request) {
        (VmState::Defined | VmState::Provisioning, R::Delete) => Preempt,
        (VmState::Defined | VmState::Provisioning, _) => Deny("it is being created"),
        (VmState::Failed { .. }, R::Delete) => Enqueue,
        (VmState::Failed { .. }, _) => Deny("it has failed; delete it"),
        (VmState::Stopped(_), R::Stop | R::Kill) => Ignore,
        (VmState::Stopped(_), R::Start | R::Restart | R::Delete) => Enqueue,
        (VmState::Running | VmState::Starting, R::Start) => Ignore,
        (VmState::Stopping, R::Start | R::Restart) => Deny("it is being stopped; wait until it is"),
        (VmState::Running | VmState::Starting | VmState::Stopping, _) => Enqueue,
        (VmState::Deleting, _) => Deny("it is being deleted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::StopCause;

    const REQUESTS: [Request; 5] =
        [Request::Start, Request::Stop, Request::Restart, Request::Kill, Request::Delete];

    fn states() -> Vec<VmState> {
        vec![
            VmState::Defined,
            VmState::Provisioning,
            VmState::Stopped(StopCause::Requested),
            VmState::Starting,
            VmState::Running,
            VmState::Stopping,
            VmState::Failed { cause: String::new(), cleanup_pending: false },
            VmState::Deleting,
        ]
    }

    /// The table is small: all of it is tried.
    #[test]
    fn nothing_revives_what_is_being_deleted_and_delete_is_never_refused() {
        for state in states() {
            for busy in REQUESTS.into_iter().map(Some).chain([None]) {
                for request in REQUESTS {
                    let decision = accept(&state, busy, request);
                    let deleting = state == VmState::Deleting || busy == Some(Request::Delete);
                    if request == Request::Delete {
                        assert!(!matches!(decision, Decision::Deny(_)), "{state:?} {busy:?}");
                    } else if deleting {
                        assert!(matches!(decision, Decision::Deny(_)), "{state:?} {busy:?}");
                    }
                    if decision == Decision::Preempt {
                        assert!(
                            busy.is_some()
                                || matches!(state, VmState::Defined | VmState::Provisioning),
                            "nothing to interrupt: {state:?} {request:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_so_already_is_ignored() {
        let stopped = VmState::Stopped(StopCause::New);
        assert_eq!(accept(&stopped, None, Request::Stop), Decision::Ignore);
        assert_eq!(accept(&VmState::Running, None, Request::Start), Decision::Ignore);
        assert_eq!(accept(&VmState::Running, None, Request::Restart), Decision::Enqueue);
    }
}
