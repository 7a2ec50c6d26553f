//! What is shown: the daemon's lists, what VMs take, and where the person is in all that.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use banger_core::agent::Port;
use banger_core::api::{ImageInfo, Stats};
use banger_core::config::Config;
use banger_core::dashboard::{Dashboard, HostUse, Tick};
use banger_core::doctor::DoctorReport;
use banger_core::id::{ImageId, OperationId, VmId};
use banger_core::lists::{Lists, Watched};
use banger_core::operation::{Event, EventKind, Operation, Outcome};
use banger_core::vm::Vm;

use super::dialog::{Dialog, Problem};
use super::form::Form;
use super::keys::Scope;
use super::list::{Cursor, Order};
use super::log::LogView;
use super::{plain, words};
use crate::output::duration;

/// How many looks a sparkline goes back.
pub const PAST: usize = 60;
/// How many events are remembered.
const EVENTS: usize = 500;

/// What the daemon was asked for when the connection was made.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The daemon and its host.
    pub dashboard: Dashboard,
    /// All VMs.
    pub vms: Vec<Vm>,
    /// All images.
    pub images: Vec<ImageInfo>,
    /// The operations under way.
    pub operations: Vec<Operation>,
}

/// How the daemon is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not yet.
    Connecting,
    /// It answers.
    Up,
    /// It does not, and why.
    Away(String),
}

/// One of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    /// VMs.
    Vms,
    /// Images.
    Images,
    /// Operations.
    Operations,
    /// What the doctor found.
    Doctor,
}

impl Tab {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Vms, Self::Images, Self::Operations, Self::Doctor];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vms => "VMs",
            Self::Images => "Images",
            Self::Operations => "Operations",
            Self::Doctor => "Doctor",
        }
    }
}

/// What a VM takes, now and in the last minute.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Now.
    pub stats: Stats,
    /// Its share of CPUs, 100 for each.
    pub cpu: VecDeque<u64>,
    /// Its VMM's memory, in MiB.
    pub memory: VecDeque<u64>,
}

impl Taken {
    /// The full height of the memory's sparkline: the guest's, or what its VMM takes beyond that.
    pub(super) fn most_memory(&self, vm: &Vm) -> u64 {
        self.memory.iter().copied().max().unwrap_or(0).max(vm.spec.memory.as_mib())
    }
}

/// What listens in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// It was asked.
    Asked,
    /// This.
    Known(Vec<Port>),
    /// It cannot be told.
    Unknown(String),
}

impl Ports {
    /// The same in plain text: a guest gives its programs any name it likes.
    #[must_use]
    pub fn plain(self) -> Self {
        match self {
            Self::Asked => Self::Asked,
            Self::Known(ports) => Self::Known(plain::all(ports)),
            Self::Unknown(why) => Self::Unknown(plain::text(&why)),
        }
    }
}

/// Whether something is being asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Asked {
    /// It is not.
    #[default]
    No,
    /// It is.
    Once,
    /// It is, and the answer will be old.
    Again,
}

/// A line of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: u64,
    /// To which VM.
    pub vm: Option<VmId>,
    /// What.
    pub text: String,
}

/// All of it.
#[derive(Debug)]
pub struct Model {
    /// The lists.
    pub lists: Lists,
    /// How the daemon is reached.
    pub link: Link,
    /// The daemon and its host, as they were at the last connect.
    pub dashboard: Option<Dashboard>,
    /// What VMs take of the host.
    pub host: Option<HostUse>,
    /// What each VM takes.
    pub taken: HashMap<VmId, Taken>,
    /// What each image takes on the disk, and whether it is damaged.
    pub images: HashMap<ImageId, ImageInfo>,
    /// Whether that is being asked.
    pub images_asked: Asked,
    /// What happened, the latest last.
    pub happened: VecDeque<Happened>,
    /// What listens in guests.
    pub ports: HashMap<VmId, Ports>,
    /// The VM that was asked last.
    pub ports_of: Option<VmId>,
    /// The guest ports that are forwarded here, and where; those that were asked for, nowhere yet.
    pub forwards: BTreeMap<(VmId, u16), Option<SocketAddr>>,
    /// The VM that is being entered by SSH.
    pub entering: Option<VmId>,
    /// What the doctor found.
    pub doctor: Option<DoctorReport>,
    /// Whether it is being asked.
    pub examining: bool,
    /// The operations that were begun here, whose failures are told.
    pub ours: HashSet<OperationId>,
    /// Which list is shown.
    pub tab: Tab,
    /// Where the person is in each list.
    pub cursors: [Cursor; 4],
    /// The VM that the cursor goes to once it is there.
    pub awaited: Option<String>,
    /// The order of the VMs.
    pub order: Order,
    /// The marked VMs.
    pub marked: BTreeSet<VmId>,
    /// Whether the details have the whole screen, and how far they are scrolled.
    pub details: Option<u16>,
    /// How far the details beside the list are scrolled, and of which line.
    pub beside: (Option<String>, u16),
    /// Whether the filter is being written.
    pub filtering: bool,
    /// The log that is shown.
    pub log: Option<LogView>,
    /// How many streams of consoles were opened.
    pub streams: u64,
    /// What is asked or told, the last on top.
    pub dialogs: Vec<Dialog>,
    /// A word in the last line, until the next key.
    pub notice: Option<String>,
    /// The configuration, for the defaults of forms.
    pub config: Config,
    /// The folder of Docker's configuration, if the person has named one.
    pub docker_config: Option<String>,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub now_ms: u64,
    /// Where the mouse meets what: written by the view.
    pub hits: super::mouse::Hits,
    /// Whether the screen has no room for anything: written by the view.
    pub too_small: bool,
}

impl Model {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: Config, now_ms: u64) -> Self {
        Self {
            lists: Lists::default(),
            link: Link::Connecting,
            dashboard: None,
            host: None,
            taken: HashMap::new(),
            images: HashMap::new(),
            images_asked: Asked::No,
            happened: VecDeque::new(),
            ports: HashMap::new(),
            ports_of: None,
            forwards: BTreeMap::new(),
            entering: None,
            doctor: None,
            examining: false,
            ours: HashSet::new(),
            tab: Tab::Vms,
            cursors: Default::default(),
            awaited: None,
            order: Order::default(),
            marked: BTreeSet::new(),
            details: None,
            beside: (None, 0),
            filtering: false,
            log: None,
            streams: 0,
            dialogs: Vec::new(),
            notice: None,
            config,
            docker_config: None,
            now_ms,
            hits: super::mouse::Hits::default(),
            too_small: false,
        }
    }

    /// Takes the lists as the daemon has them.
    pub fn load(&mut self, snapshot: Snapshot) {
        let Snapshot { dashboard, vms, images, operations } = snapshot;
        let (vms, operations) = (plain::all(vms), plain::all(operations));
        let (dashboard, images) = (plain::all(dashboard), plain::all(images));
        let rows = images.iter().map(|info| info.image.clone()).collect();
        self.lists.renew(dashboard.daemon.last_event, vms, rows, operations);
        self.host = Some(dashboard.host);
        self.dashboard = Some(dashboard);
        self.images = images.into_iter().map(|info| (info.image.id.clone(), info)).collect();
        self.ports.clear();
        self.link = Link::Up;
        self.forget_what_is_gone();
    }

    /// Takes an event.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.lists.last_seq {
            return;
        }
        let event = &plain::all(event.clone());
        self.lists.apply(event);
        if let Some((vm, text)) = self.told(event) {
            self.happened.push_back(Happened { at_ms: event.at_ms, vm, text });
            if self.happened.len() > EVENTS {
                self.happened.pop_front();
            }
        }
        match &event.kind {
            EventKind::VmDeleted { .. } | EventKind::ImageDeleted { .. } => {
                self.forget_what_is_gone()
            }
            EventKind::StateChanged { vm, .. } => drop(self.ports.remove(vm)),
            EventKind::Finished { outcome } => {
                if let Some(watched) =
                    event.operation.as_ref().and_then(|id| self.lists.operations.get(id))
                    && self.ours.remove(&watched.operation.id)
                {
                    let operation = watched.operation.clone();
                    self.tell_end(&operation, outcome, event.at_ms);
                }
            }
            _ => {}
        }
    }

    /// Takes what VMs take.
    pub fn tick(&mut self, tick: Tick) {
        self.now_ms = tick.at_ms;
        self.host = Some(tick.host);
        for row in tick.vms {
            let cpu = row.stats.cpu_percent.map(|percent| percent.round() as u64);
            let memory = row.stats.rss_bytes.map(|bytes| bytes >> 20);
            let new = || Taken {
                stats: row.stats.clone(),
                cpu: VecDeque::new(),
                memory: VecDeque::new(),
            };
            let taken = self.taken.entry(row.vm).or_insert_with(new);
            for (past, now) in [(&mut taken.cpu, cpu), (&mut taken.memory, memory)] {
                match now {
                    Some(now) => past.push_back(now),
                    // It begins anew with its next run.
                    None if row.stats.cpu_ms.is_none() => past.clear(),
                    None => {}
                }
                if past.len() > PAST {
                    past.pop_front();
                }
            }
            taken.stats = row.stats;
        }
    }

    /// Tells how an operation ended that was begun here.
    pub fn tell_end(&mut self, operation: &Operation, outcome: &Outcome, at_ms: u64) {
        let title = words::title(operation);
        match outcome {
            Outcome::Failed { failure } => self.tell(Problem::of_failure(&title, failure)),
            outcome => {
                let took = duration(at_ms.saturating_sub(operation.started_at_ms));
                self.notice = Some(format!("{title} {} ({took})", words::outcome(outcome)));
            }
        }
    }

    /// Shows a problem until it is dismissed; the same one once.
    pub fn tell(&mut self, problem: Problem) {
        let known =
            |dialog: &Dialog| matches!(dialog, Dialog::Problem(known, _) if *known == problem);
        if !self.dialogs.iter().any(known) {
            self.put([Dialog::Problem(problem, 0)]);
        }
    }

    /// Tells why a form was refused, and shows it again once that is read.
    pub fn refused(&mut self, problem: Problem, form: Form) {
        self.put([Dialog::Form(form), Dialog::Problem(problem, 0)]);
    }

    /// Puts dialogs on top, but beneath what is being filled in, which keeps the keys, and what is
    /// being read.
    fn put(&mut self, dialogs: impl IntoIterator<Item = Dialog>) {
        let filled = self.dialogs.pop_if(|dialog| dialog.is_filled_in());
        // The one that is being read stays; the others follow as they came.
        let problem = |dialog: &Dialog| matches!(dialog, Dialog::Problem(..));
        let read = self.dialogs.iter().rev().take_while(|dialog| problem(dialog)).count();
        let beneath = self.dialogs.len() - read;
        self.dialogs.splice(beneath..beneath, dialogs);
        self.dialogs.extend(filled);
    }

    /// Whether a filter or a search is being written: it keeps the keys.
    #[must_use]
    pub fn is_typing(&self) -> bool {
        self.filtering || self.log.as_ref().is_some_and(|log| log.search.is_some())
    }

    /// How many problems there are to be dismissed.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.dialogs.iter().filter(|dialog| matches!(dialog, Dialog::Problem(..))).count()
    }

    /// Whether a problem waits for what is being filled in.
    #[must_use]
    pub fn problem_waits(&self) -> bool {
        let keeps = self.is_typing() || self.dialogs.last().is_some_and(Dialog::is_filled_in);
        keeps && self.problems() > 0
    }

    /// Who is known goes on; who is gone takes its marks and numbers along.
    fn forget_what_is_gone(&mut self) {
        let there = |id: &VmId| self.lists.vms.contains_key(id);
        self.marked.retain(there);
        self.taken.retain(|id, _| there(id));
        self.ports.retain(|id, _| there(id));
        self.images.retain(|id, _| self.lists.images.contains_key(id));
    }

    /// What an event says to a person, and of which VM.
    fn told(&self, event: &Event) -> Option<(Option<VmId>, String)> {
        let operation = event.operation.as_ref().and_then(|id| self.lists.operations.get(id));
        let of = operation.and_then(|watched| watched.operation.vm.clone());
        let (vm, text) = match &event.kind {
            EventKind::StateChanged { vm, state } => (Some(vm.clone()), words::state(state)),
            EventKind::OverlayFilling { vm, used, limit } => {
                (Some(vm.clone()), format!("its root overlay takes {used} and may take {limit}"))
            }
            EventKind::Warning { message } => (of, format!("warning: {message}")),
            EventKind::Begun { what } => (of, format!("{} began", words::kind(what.kind))),
            EventKind::Finished { outcome } => {
                let kind = operation.map(|watched| words::kind(watched.operation.kind))?;
                (of, format!("{kind} {}", words::outcome(outcome)))
            }
            EventKind::ImageDeleted { .. } => (None, "an image was deleted".to_owned()),
            _ => return None,
        };
        Some((vm, text))
    }

    /// Where a key is looked up, the nearest first.
    #[must_use]
    pub fn scopes(&self) -> &'static [Scope] {
        if self.log.is_some() {
            return &[Scope::Log, Scope::List, Scope::All];
        }
        match self.tab {
            Tab::Vms => &[Scope::Vms, Scope::List, Scope::All],
            Tab::Images => &[Scope::Images, Scope::List, Scope::All],
            Tab::Operations => &[Scope::Operations, Scope::List, Scope::All],
            Tab::Doctor => &[Scope::Doctor, Scope::List, Scope::All],
        }
    }

    /// The cursor in the list that is shown.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursors[self.tab as usize]
    }

    /// The same, to be changed.
    pub fn cursor_mut(&mut self) -> &mut Cursor {
        &mut self.cursors[self.tab as usize]
    }

    /// The operation under way on a VM, if there is one.
    #[must_use]
    pub fn under_way(&self, vm: &VmId) -> Option<&Watched> {
        self.active().find(|watched| watched.operation.vm.as_ref() == Some(vm))
    }

    /// The operations under way.
    pub fn active(&self) -> impl Iterator<Item = &Watched> {
        self.lists.operations.values().filter(|watched| watched.operation.outcome.is_none())
    }
}
