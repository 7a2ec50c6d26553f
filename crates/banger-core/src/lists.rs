//! The daemon's lists as a client has them: asked for once, then kept by events.

use std::collections::BTreeMap;

use crate::fold::OperationView;
use crate::id::{ImageId, OperationId, VmId};
use crate::image::Image;
use crate::operation::{Event, EventKind, Operation};
use crate::tail::Tail;
use crate::vm::Vm;

/// How many operations that have ended are kept.
const KEPT: usize = 200;
/// Of how many of them the output is.
const OUTPUTS: usize = 20;

/// An operation and what is seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The operation.
    pub operation: Operation,
    /// How it goes.
    pub view: OperationView,
    /// The end of what its programs said.
    pub output: Tail,
    /// When it ended, if that was seen: milliseconds since 1970-01-01 00:00 UTC.
    pub ended_at_ms: Option<u64>,
}

impl Watched {
    /// One of which no event was seen.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        let view = OperationView { outcome: operation.outcome.clone(), ..OperationView::default() };
        Self { operation, view, output: Tail::default(), ended_at_ms: None }
    }
}

/// All VMs, all images, and the latest operations.
///
/// To begin: ask for the daemon's status, open the stream of events, ask for the lists. Then apply
/// every event of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// The VMs.
    pub vms: BTreeMap<VmId, Vm>,
    /// The images.
    pub images: BTreeMap<ImageId, Image>,
    /// The operations.
    pub operations: BTreeMap<OperationId, Watched>,
    /// The last event applied: where to go on after the stream broke.
    pub last_seq: u64,
    /// The last event whose effects are in the lists.
    listed: u64,
}

impl Lists {
    /// That of lists which were asked for after the event `listed`.
    #[must_use]
    pub fn new(listed: u64, vms: Vec<Vm>, images: Vec<Image>, operations: Vec<Operation>) -> Self {
        let mut lists = Self::default();
        lists.renew(listed, vms, images, operations);
        lists
    }

    /// Takes other lists, as after a broken connection; of the operations, those under way will do.
    /// What was seen of them stays, and the stream goes on after [`Self::last_seq`]; from its begin,
    /// if it is another database's.
    pub fn renew(
        &mut self,
        listed: u64,
        vms: Vec<Vm>,
        images: Vec<Image>,
        operations: Vec<Operation>,
    ) {
        if listed < self.last_seq {
            *self = Self::default();
        }
        self.listed = listed;
        self.vms = vms.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
        self.images = images.into_iter().map(|image| (image.id.clone(), image)).collect();
        for operation in operations {
            let id = operation.id.clone();
            self.operations.entry(id).or_insert_with(|| Watched::new(operation));
        }
        self.forget();
    }

    /// Whether an event tells what the lists do not have yet.
    #[must_use]
    pub fn is_news(&self, event: &Event) -> bool {
        event.seq > self.last_seq.max(self.listed)
    }

    /// Applies an event. One that was applied before changes nothing.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.last_seq {
            return;
        }
        self.last_seq = event.seq;
        self.watch(event);
        if event.seq > self.listed {
            self.change(&event.kind);
        }
    }

    fn watch(&mut self, event: &Event) {
        if let EventKind::Begun { what } = &event.kind {
            let begun = || Watched::new(Operation::clone(what));
            self.operations.entry(what.id.clone()).or_insert_with(begun);
        }
        let known = event.operation.as_ref().and_then(|id| self.operations.get_mut(id));
        let Some(watched) = known else { return };
        watched.view.apply(event);
        match &event.kind {
            EventKind::Log { line } => watched.output.push(line),
            EventKind::Finished { outcome } => {
                watched.operation.outcome = Some(outcome.clone());
                watched.ended_at_ms = Some(event.at_ms);
                self.forget();
            }
            _ => {}
        }
    }

    fn change(&mut self, kind: &EventKind) {
        match kind {
            EventKind::VmChanged { vm } => {
                self.vms.insert(vm.id.clone(), Vm::clone(vm));
            }
            EventKind::StateChanged { vm, state } => {
                if let Some(vm) = self.vms.get_mut(vm) {
                    vm.state = state.clone();
                }
            }
            EventKind::VmDeleted { vm } => {
                self.vms.remove(vm);
            }
            EventKind::ImageChanged { image } => {
                self.images.insert(image.id.clone(), Image::clone(image));
            }
            EventKind::ImageDeleted { image } => {
                self.images.remove(image);
            }
            _ => {}
        }
    }

    /// Forgets the operations that ended first, and before that what their programs said.
    fn forget(&mut self) {
        let ended = self.operations.values().filter(|watched| watched.operation.outcome.is_some());
        // Its last event was its end. One that was listed as ended had it before all of these.
        let end = |watched: &Watched| (watched.view.last_seq, watched.operation.started_at_ms);
        let mut ended: Vec<_> = ended.map(|w| (end(w), w.operation.id.clone())).collect();
        ended.sort();
        for (_, id) in ended.iter().rev().skip(OUTPUTS) {
            if let Some(watched) = self.operations.get_mut(id) {
                watched.output.forget();
            }
        }
        for (_, id) in ended.iter().rev().skip(KEPT) {
            self.operations.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{OperationKind, Outcome};

    fn operation(bits: u64) -> Operation {
        Operation {
            id: OperationId::from_bits(bits),
            kind: OperationKind::VmStart,
            target: "dev".to_owned(),
            vm: None,
            started_at_ms: bits,
            outcome: None,
        }
    }

    fn event(seq: u64, of: &Operation, kind: EventKind) -> Event {
        Event { seq, operation: Some(of.id.clone()), at_ms: 0, kind }
    }

    #[test]
    fn an_operation_is_known_from_its_first_event_to_its_last() {
        let mut lists = Lists::default();
        let one = operation(1);
        let stage = || "boot".to_owned();
        lists.apply(&event(1, &one, EventKind::Begun { what: Box::new(one.clone()) }));
        lists.apply(&event(2, &one, EventKind::StageStarted { stage: stage() }));
        let seen = |lists: &Lists| lists.operations[&one.id].clone();
        assert_eq!(seen(&lists).view.current().unwrap().name, "boot");
        // Again, as after a reconnect.
        lists.apply(&event(2, &one, EventKind::StageStarted { stage: stage() }));
        assert_eq!(seen(&lists).view.stages.len(), 1);
        lists.apply(&event(3, &one, EventKind::Finished { outcome: Outcome::Cancelled }));
        assert_eq!(seen(&lists).operation.outcome, Some(Outcome::Cancelled));
    }

    #[test]
    fn a_broken_connection_loses_nothing_that_was_seen() {
        let one = operation(1);
        let mut lists = Lists::new(5, vec![], vec![], vec![one.clone()]);
        lists.apply(&event(6, &one, EventKind::StageStarted { stage: "boot".to_owned() }));
        lists.renew(8, vec![], vec![], vec![one.clone()]);
        lists.apply(&event(7, &one, EventKind::StageDone { stage: "boot".to_owned(), ms: 3 }));
        assert_eq!(lists.operations[&one.id].view.stages[0].ms, Some(3));
        // Another database: nothing of it was seen.
        lists.renew(2, vec![], vec![], vec![one.clone()]);
        assert_eq!((lists.last_seq, lists.operations[&one.id].view.stages.len()), (0, 0));
    }

    #[test]
    fn the_output_of_the_last_that_ended_is_kept() {
        let mut lists = Lists::default();
        let log = || EventKind::Log { line: "unpacking".to_owned() };
        for bits in 1..=OUTPUTS as u64 + 2 {
            let one = operation(bits);
            lists.apply(&event(3 * bits, &one, EventKind::Begun { what: Box::new(one.clone()) }));
            lists.apply(&event(3 * bits + 1, &one, log()));
            // The first goes on.
            if bits > 1 {
                let end = EventKind::Finished { outcome: Outcome::Cancelled };
                lists.apply(&event(3 * bits + 2, &one, end));
            }
        }
        let seen = |bits| &lists.operations[&OperationId::from_bits(bits)];
        let lines = [1, 2, 3].map(|bits| seen(bits).output.lines().len());
        assert_eq!((lines, seen(2).output.forgotten()), ([1, 0, 1], 1));
        assert_eq!((seen(1).ended_at_ms, seen(2).ended_at_ms), (None, Some(0)));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let mut lists = Lists::default();
        for bits in 1..1000 {
            let one = operation(bits);
            lists.apply(&event(2 * bits, &one, EventKind::Begun { what: Box::new(one.clone()) }));
            let end = EventKind::Finished { outcome: Outcome::Cancelled };
            lists.apply(&event(2 * bits + 1, &one, end));
        }
        assert_eq!(lists.operations.len(), KEPT);
        assert!(lists.operations.contains_key(&OperationId::from_bits(999)));
    }

    #[test]
    fn what_took_longest_is_not_forgotten_when_it_ends() {
        let mut lists = Lists::default();
        let end = || EventKind::Finished { outcome: Outcome::Cancelled };
        let long = operation(1);
        lists.apply(&event(1, &long, EventKind::Begun { what: Box::new(long.clone()) }));
        for bits in 2..500 {
            let one = operation(bits);
            lists.apply(&event(2 * bits, &one, EventKind::Begun { what: Box::new(one.clone()) }));
            lists.apply(&event(2 * bits + 1, &one, end()));
        }
        lists.apply(&event(2000, &long, end()));
        assert_eq!(lists.operations.len(), KEPT);
        assert!(lists.operations[&long.id].operation.outcome.is_some());
        assert!(!lists.operations.contains_key(&OperationId::from_bits(2)));
    }
}
