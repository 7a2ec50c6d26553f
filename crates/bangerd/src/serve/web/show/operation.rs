//! Operations: how far they are, and how they ended.

use std::collections::VecDeque;

use banger_core::api::{ApiError, ErrorKind};
use banger_core::duration::duration;
use banger_core::fold::{OperationView, StageView};
use banger_core::id::OperationId;
use banger_core::operation::{EventKind, Object, Operation, OperationKind, Outcome};
use maud::{Markup, html};

use super::plain;
use crate::clock::now_ms;
use crate::engine::{Engine, store_error};
use crate::serve::web::layout::form;
use crate::serve::web::session::Session;
use crate::store::operations;

/// How many events are read at a time.
const BATCH: u32 = 512;
/// How many lines of what programs say are shown; all of them can be had as text.
const LINES: usize = 200;

/// An operation that is followed.
pub struct Followed {
    /// It as it was when it was looked at last.
    pub operation: Operation,
    /// What its events say.
    pub view: OperationView,
    /// The last lines of what its programs said.
    pub lines: VecDeque<String>,
}

/// The operation of that id.
pub async fn find(engine: &Engine, id: &str) -> Result<Operation, ApiError> {
    let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no operation {id}"));
    let wanted: OperationId = id.parse().map_err(|_| missing())?;
    let found = engine.store.read(move |db| operations::get(db, &wanted)).await;
    found.map_err(store_error)?.ok_or_else(missing)
}

impl Followed {
    /// One of which nothing is known yet.
    pub fn new(operation: Operation) -> Self {
        let (view, lines) = Default::default();
        Self { operation, view, lines }
    }

    /// Takes up what happened since.
    pub async fn advance(&mut self, engine: &Engine) -> Result<(), ApiError> {
        // Only what is durable, as for the API's streams.
        let last = *engine.store.watch().borrow();
        loop {
            let (id, after) = (self.operation.id.clone(), self.view.last_seq);
            let read = engine
                .store
                .read(move |db| operations::events_after(db, Some(&id), after, last, BATCH));
            let events = read.await.map_err(store_error)?;
            for event in &events {
                self.view.apply(event);
                if let EventKind::Log { line } = &event.kind {
                    if self.lines.len() == LINES {
                        self.lines.pop_front();
                    }
                    self.lines.push_back(plain(line));
                }
            }
            if events.len() < BATCH as usize {
                self.operation.outcome.clone_from(&self.view.outcome);
                return Ok(());
            }
        }
    }

    /// Its stages, warnings and end.
    pub fn show(&self) -> Markup {
        let view = &self.view;
        html! {
            (outcome(&self.operation))
            @for warning in &view.warnings { p.alert.warning { "Warning: " (plain(warning)) } }
            ol.stages {
                @for stage in &view.stages { (stage_line(stage, view.outcome.is_some())) }
            }
            @if view.stages.is_empty() && view.outcome.is_none() { p { "It waits for its turn." } }
        }
    }

    /// What its programs said.
    pub fn output(&self) -> Markup {
        html! {
            @if !self.lines.is_empty() {
                h2 { "Output" }
                pre #said .log tabindex="0" { @for line in &self.lines { (line) "\n" } }
                p { a href=(format!("/operations/{}/output", self.operation.id)) { "All of it, as text" } }
            }
        }
    }
}

fn stage_line(stage: &StageView, over: bool) -> Markup {
    let (class, mark, word) = match (stage.ms, over) {
        (Some(_), _) => ("done", "✓", "done"),
        (None, false) => ("now", "…", "under way"),
        (None, true) => ("broken", "✗", "not done"),
    };
    let elapsed = now_ms().saturating_sub(stage.started_at_ms) / 1000 * 1000;
    html! {
        li class=(class) {
            span aria-hidden="true" { (mark) } span.hidden { (word) ": " }
            " " strong { (stage.name) } " "
            @match (stage.ms, over) {
                (Some(ms), _) => (duration(ms)),
                (None, false) => (duration(elapsed)),
                (None, true) => {}
            }
            @if let (Some((done, Some(total))), None) = (stage.progress, stage.ms) {
                " " progress max=(total.max(1)) value=(done.min(total)) aria-label=(stage.name) {}
                " " (done * 100 / total.max(1)) " %"
            } @else if let (Some((done, None)), None) = (stage.progress, stage.ms) {
                " " (done)
            }
        }
    }
}

/// What it does, for a person.
pub fn title(operation: &Operation) -> String {
    let verb = match operation.kind {
        OperationKind::VmCreate => "Create VM",
        OperationKind::VmStart => "Start VM",
        OperationKind::VmStop => "Stop VM",
        OperationKind::VmRestart => "Restart VM",
        OperationKind::VmKill => "Kill VM",
        OperationKind::VmDelete => "Delete VM",
        OperationKind::ImageBuild => "Build image",
        OperationKind::ImageRegister => "Register image",
        OperationKind::ImagePromote => "Promote image",
        OperationKind::ImagePull => "Pull image",
        OperationKind::ImageImport => "Import image",
    };
    format!("{verb} {}", operation.target)
}

fn outcome(operation: &Operation) -> Markup {
    match &operation.outcome {
        None => html! { p role="status" { "Under way." } },
        Some(Outcome::Succeeded { object }) => html! {
            p.good role="status" { "Done." }
            @match object.as_deref() {
                Some(Object::Vm(vm)) => p {
                    a.button href=(format!("/vms/{}", vm.name)) { "Go to the VM " (vm.name.as_str()) }
                },
                Some(Object::Image(image)) => p {
                    a.button href=(format!("/images/{}", image.name)) {
                        "Go to the image " (image.name.as_str())
                    }
                },
                None => {}
            }
        },
        Some(Outcome::Cancelled) => html! {
            p.alert.warning role="status" { "Cancelled: what it had made is undone." }
        },
        Some(Outcome::Failed { failure }) => html! {
            div.alert role="alert" {
                p { "It failed: " (plain(&failure.message)) }
                @for left in &failure.rollback { p { "Not undone: " (plain(left)) } }
                @if let Some(remedy) = &failure.remedy { p.remedy { "What to do: " (plain(remedy)) } }
            }
            @if !failure.console.is_empty() {
                h2 { "The end of the guest's console" }
                pre.log tabindex="0" { (plain(&failure.console)) }
            }
        },
    }
}

/// A way to cancel it.
pub fn cancel(session: &Session, operation: &Operation) -> Markup {
    let button = html! {
        button.danger id=(format!("cancel-{}", operation.id)) {
            "Cancel" span.hidden { " " (title(operation)) }
        }
    };
    form(session, &format!("/operations/{}/cancel", operation.id), &button)
}

/// How it stands, in a word.
pub fn badge(operation: &Operation) -> Markup {
    let (class, word) = match &operation.outcome {
        None => ("blue", "under way"),
        Some(Outcome::Succeeded { .. }) => ("green", "done"),
        Some(Outcome::Failed { .. }) => ("red", "failed"),
        Some(Outcome::Cancelled) => ("grey", "cancelled"),
    };
    html! { span class=(format!("badge {class}")) { (word) } }
}

/// A row an operation, each with a way to cancel it while it goes on.
pub fn table(session: &Session, list: &[Operation]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Operations" {
            table {
                thead { tr {
                    th scope="col" { "What" } th scope="col" { "State" }
                    th scope="col" { "Began" } th scope="col" { span.hidden { "Cancel" } }
                } }
                tbody {
                    @for operation in list {
                        tr {
                            td {
                                a id=(format!("o-{}", operation.id))
                                    href=(format!("/operations/{}", operation.id)) {
                                    (title(operation))
                                }
                            }
                            td { (badge(operation)) }
                            td { (super::since(operation.started_at_ms / 1000, now_ms() / 1000)) " ago" }
                            td { @if operation.outcome.is_none() { (cancel(session, operation)) } }
                        }
                    }
                }
            }
        }
    }
}
