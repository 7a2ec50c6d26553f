//! Lists: which lines are shown, in which order, and which one the person is at.

use std::cmp::Ordering;

use banger_core::doctor::{Check, Status};
use banger_core::image::Image;
use banger_core::lists::Watched;
use banger_core::vm::Vm;
use tui_input::Input;

use super::model::{Model, Tab};
use super::words;

/// Where a person is in a list.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The key of the line: an id, or a name. A list that changes leaves the person there.
    pub key: Option<String>,
    /// The number of the line, for when that is gone.
    pub line: usize,
    /// The first line on the screen.
    pub top: usize,
    /// What lines must have.
    pub filter: Input,
}

impl Cursor {
    /// The first line of so many that is shown, so that `line` has its place among `height`.
    pub fn scroll_to(&mut self, line: usize, count: usize, height: usize) -> usize {
        let least = (line + 1).saturating_sub(height);
        self.top = self.top.min(line).max(least).min(count.saturating_sub(height));
        self.top
    }
}

/// What VMs are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Column {
    /// Their names.
    #[default]
    Name,
    /// Their states, those that run first.
    State,
    /// Their images.
    Image,
    /// Their virtual CPUs, most first.
    Vcpus,
    /// Their memory, most first.
    Memory,
    /// Their addresses, those without one last.
    Address,
    /// How long they run, longest first.
    Uptime,
    /// What they take of CPUs, most first.
    Cpu,
    /// What their VMMs take of memory, most first.
    Rss,
    /// What they take of the disk, most first.
    Disk,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Name,
        Self::State,
        Self::Image,
        Self::Vcpus,
        Self::Memory,
        Self::Address,
        Self::Uptime,
        Self::Cpu,
        Self::Rss,
        Self::Disk,
    ];

    /// Its heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::State => "STATE",
            Self::Image => "IMAGE",
            Self::Vcpus => "VCPUS",
            Self::Memory => "MEMORY",
            Self::Address => "IP",
            Self::Uptime => "UPTIME",
            Self::Cpu => "CPU",
            Self::Rss => "RSS",
            Self::Disk => "ON DISK",
        }
    }

    /// Whether the least comes first.
    fn ascends(self) -> bool {
        matches!(self, Self::Name | Self::State | Self::Image | Self::Address)
    }
}

/// The order of VMs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub column: Column,
    /// Whether the other way round.
    pub reverse: bool,
}

impl Order {
    /// By the column that is so many further.
    fn turn(&mut self, by: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.column).unwrap_or(0);
        *self = Self { column: Column::ALL[(at + by) % Column::ALL.len()], reverse: false };
    }

    /// By the next column.
    pub fn next(&mut self) {
        self.turn(1);
    }

    /// By the column before.
    pub fn previous(&mut self) {
        self.turn(Column::ALL.len() - 1);
    }

    /// Which way it goes.
    pub fn arrow(self) -> char {
        if self.column.ascends() == self.reverse { '▼' } else { '▲' }
    }
}

/// Whether a line has all words of a filter.
fn has(line: &str, filter: &str) -> bool {
    let line = line.to_lowercase();
    filter.to_lowercase().split_whitespace().all(|word| line.contains(word))
}

impl Model {
    /// The VMs that are shown, in their order.
    #[must_use]
    pub fn shown_vms(&self) -> Vec<&Vm> {
        let filter = self.cursors[Tab::Vms as usize].filter.value();
        let text = |vm: &Vm| {
            let address = vm.lease.as_ref().map(|lease| lease.address.to_string());
            let (address, state) = (address.unwrap_or_default(), words::state(&vm.state));
            format!("{} {state} {} {address}", vm.name, vm.spec.image_name)
        };
        let all = self.lists.vms.values();
        let mut vms: Vec<_> =
            all.filter(|vm| filter.is_empty() || has(&text(vm), filter)).collect();
        vms.sort_by(|a, b| {
            let order = self.compare(a, b);
            if self.order.reverse { order.reverse() } else { order }
        });
        vms
    }

    fn compare(&self, a: &Vm, b: &Vm) -> Ordering {
        let stats = |vm: &Vm| self.taken.get(&vm.id).map(|taken| &taken.stats);
        let most = |of: &dyn Fn(&Vm) -> Option<u64>| of(b).cmp(&of(a));
        let by = match self.order.column {
            Column::Name => Ordering::Equal,
            Column::State => {
                (b.state.is_active(), a.state.name()).cmp(&(a.state.is_active(), b.state.name()))
            }
            Column::Image => a.spec.image_name.cmp(&b.spec.image_name),
            Column::Vcpus => b.spec.vcpus.cmp(&a.spec.vcpus),
            Column::Memory => b.spec.memory.cmp(&a.spec.memory),
            Column::Address => {
                let of = |vm: &Vm| vm.lease.as_ref().map(|lease| lease.address);
                (of(a).is_none(), of(a)).cmp(&(of(b).is_none(), of(b)))
            }
            // To a tenth, as it is shown.
            Column::Cpu => most(&|vm| Some((stats(vm)?.cpu_percent? * 10.0) as u64)),
            Column::Rss => most(&|vm| stats(vm)?.rss_bytes),
            Column::Disk => most(&|vm| stats(vm).map(|s| s.disk.overlay_bytes + s.disk.work_bytes)),
            Column::Uptime => most(&|vm| Some(u64::MAX - vm.run.as_ref()?.started_at)),
        };
        by.then_with(|| a.name.cmp(&b.name))
    }

    /// The images that are shown, by name.
    #[must_use]
    pub fn shown_images(&self) -> Vec<&Image> {
        let filter = self.cursors[Tab::Images as usize].filter.value();
        let text = |image: &Image| format!("{} {}", image.name, words::source(image));
        let all = self.lists.images.values();
        let mut images: Vec<_> = all.filter(|image| has(&text(image), filter)).collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images
    }

    /// The names of the VMs that use an image.
    #[must_use]
    pub fn users(&self, image: &Image) -> Vec<String> {
        let users = self.lists.vms.values().filter(|vm| vm.spec.image == image.id);
        let mut names: Vec<_> = users.map(|vm| vm.name.to_string()).collect();
        names.sort();
        names
    }

    /// The operations that are shown: those under way, then the latest.
    #[must_use]
    pub fn shown_operations(&self) -> Vec<&Watched> {
        let filter = self.cursors[Tab::Operations as usize].filter.value();
        let text = |watched: &Watched| {
            let outcome = watched.operation.outcome.as_ref().map(words::outcome);
            format!("{} {}", words::title(&watched.operation), outcome.unwrap_or_default())
        };
        let all = self.lists.operations.values();
        let mut operations: Vec<_> = all.filter(|watched| has(&text(watched), filter)).collect();
        operations.sort_by_key(|watched| {
            let Watched { operation, .. } = watched;
            (operation.outcome.is_some(), u64::MAX - operation.started_at_ms)
        });
        operations
    }

    /// The keys of the lines of the list that is shown.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self.tab {
            Tab::Vms => self.shown_vms().iter().map(|vm| vm.id.to_string()).collect(),
            Tab::Images => self.shown_images().iter().map(|image| image.id.to_string()).collect(),
            Tab::Operations => {
                self.shown_operations().iter().map(|w| w.operation.id.to_string()).collect()
            }
            Tab::Doctor => self.shown_checks().iter().map(|check| check.name.clone()).collect(),
        }
    }

    /// What the doctor found, as far as it is shown: first what is wrong.
    #[must_use]
    pub fn shown_checks(&self) -> Vec<&Check> {
        let filter = self.cursors[Tab::Doctor as usize].filter.value();
        let all = self.doctor.iter().flat_map(|report| &report.checks);
        let text = |check: &Check| format!("{} {}", check.name, check.detail);
        let mut checks: Vec<_> = all.filter(|check| has(&text(check), filter)).collect();
        checks.sort_by_key(|check| match check.status {
            Status::Missing => 0,
            Status::Warning => 1,
            Status::Ok => 2,
        });
        checks
    }

    /// Brings the cursor to a line that is there, and returns its number.
    pub fn settle(&mut self) -> Option<usize> {
        let lines = self.lines();
        if self.tab == Tab::Vms
            && let Some(awaited) = self.awaited.take_if(|id| lines.contains(id))
        {
            self.cursor_mut().key = Some(awaited);
        }
        let cursor = self.cursor_mut();
        let found = cursor.key.as_ref().and_then(|key| lines.iter().position(|line| line == key));
        let line = found.unwrap_or(cursor.line).min(lines.len().saturating_sub(1));
        cursor.line = line;
        cursor.key = lines.get(line).cloned();
        cursor.key.as_ref().map(|_| line)
    }

    /// Moves the cursor to a line, or the nearest there is.
    pub fn go_to(&mut self, line: usize) {
        let lines = self.lines();
        let line = line.min(lines.len().saturating_sub(1));
        let cursor = self.cursor_mut();
        (cursor.line, cursor.key) = (line, lines.get(line).cloned());
    }

    /// The VM at the cursor.
    #[must_use]
    pub fn vm(&self) -> Option<&Vm> {
        let key = self.cursors[Tab::Vms as usize].key.as_ref()?;
        self.lists.vms.get(&key.parse().ok()?)
    }

    /// The image at the cursor.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        let key = self.cursors[Tab::Images as usize].key.as_ref()?;
        self.lists.images.get(&key.parse().ok()?)
    }

    /// The operation at the cursor.
    #[must_use]
    pub fn operation(&self) -> Option<&Watched> {
        let key = self.cursors[Tab::Operations as usize].key.as_ref()?;
        self.lists.operations.get(&key.parse().ok()?)
    }

    /// What the doctor found at the cursor.
    #[must_use]
    pub fn check(&self) -> Option<&Check> {
        let key = self.cursors[Tab::Doctor as usize].key.as_ref()?;
        self.doctor.as_ref()?.checks.iter().find(|check| check.name == *key)
    }

    /// The VMs that an act is for: those that are marked, else the one at the cursor.
    #[must_use]
    pub fn meant(&self) -> Vec<&Vm> {
        if self.marked.is_empty() {
            return self.vm().into_iter().collect();
        }
        self.shown_vms().into_iter().filter(|vm| self.marked.contains(&vm.id)).collect()
    }
}
