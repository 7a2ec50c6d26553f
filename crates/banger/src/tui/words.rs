//! How things are called on the screen.

use banger_core::operation::{Operation, OperationKind, Outcome};

pub use crate::cmd::image::source;
pub use crate::cmd::vm::state;

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

/// So many lines.
pub fn lines(count: usize) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

/// The first line of a text.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
