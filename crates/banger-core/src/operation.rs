//! Operations: long work that is begun, watched and cancelled.
//!
//! An operation appends events to one log. Every reader (bars, TUI, web)
//! folds them with [`crate::fold`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{ImageId, OperationId, VmId};
use crate::image::Image;
use crate::size::Size;
use crate::vm::{Vm, VmState};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum OperationKind {
    /// Makes a VM.
    #[serde(rename = "vm.create")]
    VmCreate,
    /// Starts a VM.
    #[serde(rename = "vm.start")]
    VmStart,
    /// Stops a VM.
    #[serde(rename = "vm.stop")]
    VmStop,
    /// Stops a VM and starts it.
    #[serde(rename = "vm.restart")]
    VmRestart,
    /// Ends a VM's VMM at once.
    #[serde(rename = "vm.kill")]
    VmKill,
    /// Deletes a VM.
    #[serde(rename = "vm.delete")]
    VmDelete,
    /// Builds an image.
    #[serde(rename = "image.build")]
    ImageBuild,
    /// Makes an image of files that stay where they lie.
    #[serde(rename = "image.register")]
    ImageRegister,
    /// Copies the files of a registered image into banger's store.
    #[serde(rename = "image.promote")]
    ImagePromote,
    /// Makes an image of one for containers, from a registry.
    #[serde(rename = "image.pull")]
    ImagePull,
    /// Makes an image of one for containers, from a file or folder.
    #[serde(rename = "image.import")]
    ImageImport,
}

/// An operation, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The name of what it works on.
    pub target: String,
    /// The VM it works on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// When it began, milliseconds since 1970-01-01 00:00 UTC.
    pub started_at_ms: u64,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It did its work.
    Succeeded {
        /// What it made or changed, whole; none for what is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<AnyObject>)]
        object: Option<Box<Object>>,
    },
    /// It failed and was unwound.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// It was cancelled and unwound.
    Cancelled,
}

/// To `ToSchema` the word `Object` means any object at all.
type AnyObject = Object;

/// What an operation worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// A VM.
    Vm(Vm),
    /// An image.
    Image(Image),
}

/// Why an operation failed, for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What failed, with its causes, outermost first.
    pub message: String,
    /// What could not be undone, one a resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollback: Vec<String>,
    /// The end of the guest's console, where it tells something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub console: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the log: grows, over all operations.
    pub seq: u64,
    /// The operation it belongs to; none for what happened by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// When, milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The operation began. The first event of each.
    Begun {
        /// The operation.
        what: Box<Operation>,
    },
    /// A stage began.
    StageStarted {
        /// Its name.
        stage: String,
    },
    /// A stage is done.
    StageDone {
        /// Its name.
        stage: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A stage goes on.
    Progress {
        /// Its name.
        stage: String,
        /// Units done: bytes or steps.
        done: u64,
        /// Units in all, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A line of a program's output.
    Log {
        /// The line.
        line: String,
    },
    /// Something to know that does not stop the work.
    Warning {
        /// What.
        message: String,
    },
    /// A VM changed its state.
    StateChanged {
        /// The VM.
        vm: VmId,
        /// The new state.
        #[serde(flatten)]
        state: VmState,
    },
    /// A VM's root overlay takes much of what it may: the VM will be paused.
    OverlayFilling {
        /// The VM.
        vm: VmId,
        /// What it takes, in bytes.
        used: Size,
        /// What it may, in bytes.
        limit: Size,
    },
    /// A VM was made, or something of it changed beside its state.
    VmChanged {
        /// The VM as it is now.
        vm: Box<Vm>,
    },
    /// A VM is gone.
    VmDeleted {
        /// The VM that it was.
        vm: VmId,
    },
    /// An image was made, or what is known of it changed.
    ImageChanged {
        /// The image as it is now.
        image: Box<Image>,
    },
    /// An image is gone.
    ImageDeleted {
        /// The image that it was.
        image: ImageId,
    },
    /// The operation ended. The last event of each.
    Finished {
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
    },
}
