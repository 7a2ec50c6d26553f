//! How things are called on the screen.

use banger_core::image::Source;
use banger_core::operation::{Operation, OperationKind, Outcome};
use banger_core::vm::{StopCause, VmState};

/// What an operation does.
pub fn kind(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::VmCreate => "create",
        OperationKind::VmStart => "start",
        OperationKind::VmStop => "stop",
        OperationKind::VmRestart => "restart",
        OperationKind::VmKill => "kill",
        OperationKind::VmDelete => "delete",
        OperationKind::ImageBuild => "build image",
        OperationKind::ImageRegister => "register image",
        OperationKind::ImagePromote => "promote image",
        OperationKind::ImagePull => "pull image",
        OperationKind::ImageImport => "import image",
    }
}

/// An operation in a word or two.
pub fn title(operation: &Operation) -> String {
    format!("{} {}", kind(operation.kind), operation.target)
}

/// How an operation ended.
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { .. } => "is done".to_owned(),
        Outcome::Failed { failure } => format!("failed: {}", first_line(&failure.message)),
        Outcome::Cancelled => "was cancelled".to_owned(),
    }
}

/// The first line of a text.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A VM's state, and why.
pub fn state(state: &VmState) -> String {
    let why = match state {
        VmState::Stopped(StopCause::New) => "never started",
        VmState::Stopped(StopCause::Requested) => "on request",
        VmState::Stopped(StopCause::Killed) => "killed",
        VmState::Stopped(StopCause::GuestShutdown) => "the guest shut down",
        VmState::Stopped(StopCause::HostRebooted) => "the host was restarted",
        VmState::Stopped(StopCause::Crashed { detail }) => &format!("crashed: {detail}"),
        VmState::Stopped(StopCause::StartFailed { detail }) => {
            &format!("its start failed: {detail}")
        }
        VmState::Failed { cause, .. } => cause,
        VmState::Paused(cause) => &cause.to_string(),
        _ => return state.name().to_owned(),
    };
    format!("{} ({why})", state.name())
}

/// What an image was made of.
pub fn source(source: &Source) -> String {
    match source {
        Source::Debian { suite } => format!("Debian {suite}"),
        Source::Alpine { release } => format!("Alpine {release}"),
        Source::Void { release } => format!("Void {release}"),
        Source::Registered => "files of yours".to_owned(),
        Source::Image => "another image".to_owned(),
        Source::Vm { vm } => format!("the VM {vm}"),
        Source::Oci { reference, .. } => reference.clone(),
    }
}
