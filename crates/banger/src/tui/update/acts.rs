//! What a person does.

use banger_core::api::StartVm;
use banger_core::doctor::{CLEAN_UP, Check, Status};
use banger_core::operation::OperationKind;
use banger_core::size::Size;
use banger_core::vm::{RootDisk, Vm, VmState, WaitFor};
use banger_wire::Method;
use tui_input::Input;

use super::super::dialog::{Confirm, Dialog, Palette, PortList, Problem, Request};
use super::super::form::Form;
use super::super::keys::Action;
use super::super::log::LogView;
use super::super::model::{Link, Model, Ports, Tab};
use super::super::words;
use super::Effect;
use crate::cmd::doctor::FIX_LIMIT;

/// How many VMs are named in a question.
const NAMED: usize = 12;

/// What is done to VMs, each by a request of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Start,
    Stop,
    Restart,
    Kill,
    Delete,
}

impl Deed {
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Delete => "delete",
        }
    }

    /// Whether there is anything to do.
    fn fits(self, vm: &Vm) -> bool {
        match self {
            Self::Start => !vm.state.is_active() || matches!(vm.state, VmState::Paused(_)),
            Self::Stop | Self::Kill => vm.state.is_active(),
            Self::Restart | Self::Delete => true,
        }
    }

    fn request(self, vm: &Vm) -> Request {
        let (what, path) = (format!("{} {}", self.verb(), vm.name), format!("/v1/vms/{}", vm.id));
        match self {
            Self::Delete => Request::new(what, Method::DELETE, path),
            Self::Start | Self::Restart => {
                let wait = StartVm { wait: WaitFor::Ready };
                Request::new(what, Method::POST, format!("{path}/{}", self.verb())).body(&wait)
            }
            Self::Stop | Self::Kill => {
                Request::new(what, Method::POST, format!("{path}/{}", self.verb()))
            }
        }
    }
}

/// The names of VMs, as many as one reads.
fn names(vms: &[Vm]) -> String {
    let mut names: Vec<_> = vms.iter().take(NAMED).map(|vm| vm.name.to_string()).collect();
    if vms.len() > NAMED {
        names.push(format!("and {} more", vms.len() - NAMED));
    }
    names.join(", ")
}

impl Model {
    /// Does it, or asks first.
    pub(in super::super) fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Quit => return self.quit(),
            Action::QuitNow => return vec![Effect::Quit],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Help => self.dialogs.push(Dialog::Help(0)),
            Action::Palette => self.dialogs.push(Dialog::Palette(Palette::default())),
            Action::NextTab => return self.turn(1),
            Action::PreviousTab => return self.turn(Tab::ALL.len() - 1),
            Action::Tab(number) => return self.turn_to(number),
            Action::Back => return self.back(),
            Action::StartDaemon => {
                if matches!(self.link, Link::Away(_)) {
                    return vec![Effect::StartDaemon];
                }
                self.notice = Some("the daemon runs".to_owned());
            }
            Action::Up => self.scroll(-1),
            Action::Down => self.scroll(1),
            Action::PageUp => self.scroll(-self.page()),
            Action::PageDown => self.scroll(self.page()),
            Action::HalfUp => self.scroll(-self.page() / 2),
            Action::HalfDown => self.scroll(self.page() / 2),
            Action::First => self.scroll(isize::MIN / 2),
            Action::Last => self.scroll(isize::MAX / 2),
            Action::Filter => self.filtering = true,
            Action::Sort => self.order.next(),
            Action::SortBack => self.order.previous(),
            Action::Reverse => self.order.reverse = !self.order.reverse,
            Action::Mark => self.mark(),
            Action::MarkAll => self.mark_all(),
            Action::Details if self.log.is_none() => {
                self.details = if self.details.is_some() { None } else { Some(0) };
            }
            Action::Details => {}
            Action::Copy => return self.copy(),
            Action::Web => return vec![Effect::Web],
            Action::Create => self.create(),
            Action::Start => return self.each(Deed::Start),
            Action::Stop => return self.each(Deed::Stop),
            Action::Restart => return self.each(Deed::Restart),
            Action::Kill => return self.each(Deed::Kill),
            Action::Delete => return self.each(Deed::Delete),
            Action::Ssh => return self.enter(),
            Action::Logs => return self.open_log(),
            Action::Rename => self.form(Form::rename),
            Action::Resize => self.resize(),
            Action::Ports => return self.list_ports(),
            Action::PromoteVm => self.form(Form::promote),
            Action::Build => self.dialogs.push(Dialog::Form(Form::build())),
            Action::Pull => self.dialogs.push(Dialog::Form(Form::pull())),
            Action::PromoteImage => return self.promote_image(),
            Action::DeleteImage => self.delete_image(),
            Action::Cancel => return self.cancel(),
            Action::Examine => return self.examine(),
            Action::CleanUp => self.clean_up(),
            Action::Follow => {
                if let Some(log) = &mut self.log {
                    log.bottom = if log.follows() { Some(log.last()) } else { None };
                }
            }
            Action::Search => {
                if let Some(log) = &mut self.log {
                    log.search = Some(Input::default());
                }
            }
            Action::NextMatch | Action::PreviousMatch => {
                if let Some(log) = &mut self.log {
                    let found = log.find(action == Action::NextMatch);
                    self.tell_found(found);
                }
            }
        }
        Vec::new()
    }

    /// Tells what a search came to, if that is not simply the next place.
    pub(super) fn tell_found(&mut self, found: Option<bool>) {
        let Some(log) = &self.log else { return };
        self.notice = match found {
            Some(false) => None,
            Some(true) => Some("went round".to_owned()),
            None if log.needle.is_empty() => Some("search for something first, with /".to_owned()),
            None => Some(format!("'{}' is nowhere in it", log.needle)),
        };
    }

    /// How far a page goes.
    fn page(&self) -> isize {
        let lines = self.log.as_ref().map_or(usize::from(self.hits.page), |log| log.page);
        isize::try_from(lines.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn turn(&mut self, by: usize) -> Vec<Effect> {
        self.turn_to((self.tab as usize + by) % Tab::ALL.len())
    }

    pub(in super::super) fn turn_to(&mut self, number: usize) -> Vec<Effect> {
        let closed = self.log.is_some().then_some(Effect::CloseLog);
        (self.tab, self.log, self.details, self.filtering) =
            (Tab::ALL.get(number).copied().unwrap_or(Tab::Vms), None, None, false);
        let examined = if self.tab == Tab::Doctor && self.doctor.is_none() {
            self.examine()
        } else {
            Vec::new()
        };
        closed.into_iter().chain(examined).collect()
    }

    /// Leaves what is shown, or all of it; asks first if that takes something away.
    fn quit(&mut self) -> Vec<Effect> {
        if let Some(log) = &mut self.log {
            // Unlike Esc, with its search.
            log.forget_search();
        }
        if self.log.is_some() || self.details.is_some() {
            return self.back();
        }
        let ports = match self.forwards.len() {
            0 => return vec![Effect::Quit],
            1 => "a port that is forwarded here is so no longer".to_owned(),
            count => format!("{count} ports that are forwarded here are so no longer"),
        };
        let (title, typed, unmark) = ("leave banger".to_owned(), None, Vec::new());
        let confirm = Confirm { title, text: ports, typed, then: vec![Effect::Quit], unmark };
        self.dialogs.push(Dialog::Confirm(confirm));
        Vec::new()
    }

    fn back(&mut self) -> Vec<Effect> {
        if self.log.as_mut().is_some_and(LogView::forget_search) {
            return Vec::new();
        }
        if self.log.take().is_some() {
            return vec![Effect::CloseLog];
        }
        if self.details.take().is_some() {
            return Vec::new();
        }
        if self.cursor().filter.value().is_empty() {
            self.marked.clear();
        } else {
            self.cursor_mut().filter.reset();
        }
        Vec::new()
    }

    fn create(&mut self) {
        if self.dashboard.is_none() {
            self.notice = Some("the daemon was not heard yet".to_owned());
            return;
        }
        if self.lists.images.is_empty() {
            let title = "first an image: there is none to make a VM of".to_owned();
            self.dialogs.push(Dialog::Form(Form { title, ..Form::build() }));
            return;
        }
        let image = (self.tab == Tab::Images).then(|| self.image()).flatten();
        let form = Form::create(self, image.map(|image| image.name.as_str()));
        self.dialogs.push(Dialog::Form(form));
    }

    /// Copies what one needs of the line that the person is at.
    fn copy(&mut self) -> Vec<Effect> {
        let text = match self.tab {
            Tab::Vms => self.vm().map(|vm| format!("banger vm ssh {}", vm.name)),
            Tab::Images => self.image().map(|image| image.name.to_string()),
            Tab::Operations => self.operation().map(|watched| watched.operation.id.to_string()),
            Tab::Doctor => self.check().map(|check| {
                check.remedy.clone().unwrap_or_else(|| format!("{}: {}", check.name, check.detail))
            }),
        };
        text.map(Effect::Copy).into_iter().collect()
    }

    fn mark(&mut self) {
        let Some(id) = self.vm().map(|vm| vm.id.clone()) else { return };
        if !self.marked.remove(&id) {
            self.marked.insert(id);
        }
        self.scroll(1);
    }

    fn mark_all(&mut self) {
        let shown: Vec<_> = self.shown_vms().iter().map(|vm| vm.id.clone()).collect();
        if shown.iter().all(|id| self.marked.contains(id)) {
            self.marked.clear();
        } else {
            self.marked.extend(shown);
        }
    }

    /// Does something to all VMs that are meant, once it is confirmed if it takes something away
    /// or is done to several.
    fn each(&mut self, deed: Deed) -> Vec<Effect> {
        let all = self.meant();
        let meant: Vec<_> = all.iter().filter(|vm| deed.fits(vm)).map(|vm| (*vm).clone()).collect();
        let then: Vec<_> = meant.iter().map(|vm| Effect::Send(deed.request(vm))).collect();
        let hidden = self.marked.len().saturating_sub(all.len());
        let Some(first) = meant.first() else {
            self.notice = Some(match all.as_slice() {
                [] if hidden > 0 => {
                    format!("{hidden} marked, none of which is shown (Esc shows all)")
                }
                [] => "no VM is selected".to_owned(),
                [vm] => format!("nothing to {}: {} is {}", deed.verb(), vm.name, vm.state.name()),
                _ => format!("nothing to {} among those that are marked", deed.verb()),
            });
            return Vec::new();
        };
        let (mut text, word) = match deed {
            Deed::Kill => {
                ("as if its power were cut: what was not written is lost".to_owned(), None)
            }
            Deed::Delete => {
                let word = match meant.len() {
                    1 => first.name.to_string(),
                    count => format!("delete {count}"),
                };
                let text = "with all that is on the work disk; there is no way back".to_owned();
                (text, Some(word))
            }
            Deed::Stop => ("what runs in there ends".to_owned(), None),
            Deed::Restart => ("what runs in there ends, and begins anew".to_owned(), None),
            Deed::Start if self.marked.is_empty() => return then,
            Deed::Start => (self.would_take(&meant), None),
        };
        let title = match meant.len() {
            1 => format!("{} {}", deed.verb(), first.name),
            count => format!("{} {count} VMs", deed.verb()),
        };
        if meant.len() > 1 {
            text = format!("{}\n{text}", names(&meant));
        }
        let left = all.len() - meant.len();
        if left > 0 {
            text.push_str(&format!(
                "\nnot {left} more that are marked: nothing to {}",
                deed.verb()
            ));
        }
        if hidden > 0 {
            text.push_str(&format!("\nnot {hidden} more that are marked: the filter hides them"));
        }
        let typed = word.map(|word| (word, Input::default()));
        let unmark = meant.iter().map(|vm| vm.id.clone()).collect();
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed, then, unmark }));
        Vec::new()
    }

    /// What running VMs would have reserved of the host with these, too.
    fn would_take(&self, vms: &[Vm]) -> String {
        let Some(host) = &self.host else { return String::new() };
        // One that is paused has its share already.
        let new = || vms.iter().filter(|vm| !vm.state.is_active());
        let vcpus = host.vcpus + new().map(|vm| u64::from(vm.spec.vcpus)).sum::<u64>();
        let memory: u64 = new().map(|vm| vm.spec.memory.as_bytes()).sum();
        let memory = Size::bytes(host.memory.as_bytes().saturating_add(memory));
        let capacity = host.capacity;
        format!(
            "{vcpus} vcpus would run on {} CPUs, {memory} of {} would be reserved",
            capacity.cpus, capacity.memory
        )
    }

    /// Opens a form on the VM at the cursor.
    fn form(&mut self, form: fn(&Vm) -> Form) {
        match self.vm().map(form) {
            Some(form) => self.dialogs.push(Dialog::Form(form)),
            None => self.notice = Some("no VM is selected".to_owned()),
        }
    }

    fn resize(&mut self) {
        match self.vm() {
            Some(vm) if vm.state.is_active() && vm.spec.root_disk != RootDisk::Clone => {
                self.form(Form::resize_overlay);
            }
            Some(vm) if vm.state.is_active() => {
                let message = format!("'{}' is {}", vm.name, vm.state.name());
                let remedy = "stop it first (key S)".to_owned();
                self.tell(Problem::new(format!("resize {}", vm.name), message, Some(remedy)));
            }
            _ => self.form(Form::resize),
        }
    }

    /// Tells that a VM has to run for something; whether it does.
    fn must_run(&mut self, what: &str) -> Option<Vm> {
        let vm = self.vm().cloned();
        match vm {
            Some(vm) if vm.run.is_some() => return Some(vm),
            Some(vm) => {
                let message = format!("'{}' is {}", vm.name, vm.state.name());
                let remedy = Some("start it first (key s)".to_owned());
                self.tell(Problem::new(format!("{what} {}", vm.name), message, remedy));
            }
            None => self.notice = Some("no VM is selected".to_owned()),
        }
        None
    }

    fn enter(&mut self) -> Vec<Effect> {
        let Some(vm) = self.must_run("ssh") else { return Vec::new() };
        self.notice = Some(format!("entering {} … (Esc leaves it)", vm.name));
        self.entering = Some(vm.id.clone());
        vec![Effect::Ssh(vm.id)]
    }

    fn open_log(&mut self) -> Vec<Effect> {
        let Some(vm) = self.vm() else {
            self.notice = Some("no VM is selected".to_owned());
            return Vec::new();
        };
        let (id, name) = (vm.id.clone(), vm.name.to_string());
        self.streams += 1;
        self.log = Some(LogView::new(id.clone(), name, self.streams));
        vec![Effect::OpenLog(id, self.streams)]
    }

    fn list_ports(&mut self) -> Vec<Effect> {
        let Some(vm) = self.must_run("ports of") else { return Vec::new() };
        self.dialogs.push(Dialog::Ports(PortList { vm: vm.id.clone(), port: None }));
        self.ports.entry(vm.id.clone()).or_insert(Ports::Asked);
        vec![Effect::Ports(vm.id)]
    }

    fn promote_image(&mut self) -> Vec<Effect> {
        let Some(image) = self.image() else { return Vec::new() };
        if image.in_place.is_none() {
            self.notice =
                Some(format!("the files of {} are in banger's store already", image.name));
            return Vec::new();
        }
        let path = format!("/v1/images/{}/promote", image.id);
        vec![Effect::Send(Request::new(format!("promote {}", image.name), Method::POST, path))]
    }

    fn delete_image(&mut self) {
        let Some(image) = self.image() else { return };
        let (name, id, users) = (image.name.to_string(), image.id.clone(), self.users(image));
        let title = format!("delete the image {name}");
        if !users.is_empty() {
            let message = format!("it is used by {}", users.join(", "));
            return self.tell(Problem::new(
                title,
                message,
                Some("delete those VMs first".to_owned()),
            ));
        }
        let request = Request::new(&title, Method::DELETE, format!("/v1/images/{id}"));
        let text = "no VM uses it; there is no way back".to_owned();
        let typed = Some((name, Input::default()));
        let (then, unmark) = (vec![Effect::Send(request)], Vec::new());
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed, then, unmark }));
    }

    fn cancel(&mut self) -> Vec<Effect> {
        let watched = match self.tab {
            Tab::Vms => self.vm().and_then(|vm| self.under_way(&vm.id)),
            _ => self.operation(),
        };
        let Some(watched) = watched else {
            self.notice = Some("nothing is under way on it".to_owned());
            return Vec::new();
        };
        let what = words::title(&watched.operation);
        if watched.operation.outcome.is_some() {
            self.notice = Some(format!("{what} has ended"));
            return Vec::new();
        }
        let path = format!("/v1/operations/{}", watched.operation.id);
        let text = match watched.operation.kind {
            OperationKind::VmStop | OperationKind::VmRestart => {
                "what was asked of the guest may end it all the same"
            }
            OperationKind::VmKill | OperationKind::VmDelete => {
                "unless it has begun, it is not done"
            }
            _ => "what it has done is undone",
        };
        let (title, text) = (format!("cancel {what}"), text.to_owned());
        let (then, unmark) =
            (vec![Effect::Send(Request::new(&title, Method::DELETE, path))], vec![]);
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed: None, then, unmark }));
        Vec::new()
    }

    /// Releases what is the daemon's, and no VM's, once that is confirmed.
    /// What the doctor found that is left behind, if anything is.
    #[must_use]
    pub fn left_behind(&self) -> Option<&Check> {
        let report = self.doctor.iter().flat_map(|report| &report.checks);
        let mut left = report.filter(|check| check.status != Status::Ok);
        left.find(|check| check.remedy.as_deref() == Some(CLEAN_UP))
    }

    fn clean_up(&mut self) {
        let Some(left) = self.left_behind() else {
            self.notice = Some("nothing is left behind".to_owned());
            return;
        };
        let title = "release what is left behind".to_owned();
        let request = Request::new(&title, Method::POST, "/v1/leftovers/release").within(FIX_LIMIT);
        let (then, unmark) = (vec![Effect::Send(request)], Vec::new());
        let text = left.detail.clone();
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed: None, then, unmark }));
    }

    pub(super) fn examine(&mut self) -> Vec<Effect> {
        if std::mem::replace(&mut self.examining, true) {
            return Vec::new();
        }
        vec![Effect::Examine]
    }
}
