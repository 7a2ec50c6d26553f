//! What a person does.

use banger_core::api::StartVm;
use banger_core::vm::{Vm, VmState, WaitFor};
use banger_wire::Method;
use tui_input::Input;

use super::super::dialog::{Confirm, Dialog, Palette, PortList, Problem, Request};
use super::super::form::Form;
use super::super::keys::Action;
use super::super::log::LogView;
use super::super::model::{Link, Model, Ports, Tab};
use super::super::words;
use super::Effect;

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
    pub(super) fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Quit => return vec![Effect::Quit],
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
            Action::First => self.scroll(isize::MIN / 2),
            Action::Last => self.scroll(isize::MAX / 2),
            Action::Filter => self.filtering = true,
            Action::Sort => self.order.next(),
            Action::Reverse => self.order.reverse = !self.order.reverse,
            Action::Mark => self.mark(),
            Action::MarkAll => self.mark_all(),
            Action::Details if self.log.is_none() => {
                self.details = if self.details.is_some() { None } else { Some(0) };
            }
            Action::Details => {}
            Action::Create => {
                let image = (self.tab == Tab::Images).then(|| self.image()).flatten();
                let form = Form::create(self, image.map(|image| image.name.as_str()));
                self.dialogs.push(Dialog::Form(form));
            }
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
        let lines = self.log.as_ref().map_or(usize::from(self.hits.list.height), |log| log.page);
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

    /// Does something to all VMs that are meant, once it is confirmed if it takes something away.
    fn each(&mut self, deed: Deed) -> Vec<Effect> {
        let meant: Vec<_> = self.meant().into_iter().filter(|vm| deed.fits(vm)).cloned().collect();
        let requests: Vec<_> = meant.iter().map(|vm| deed.request(vm)).collect();
        let Some(first) = meant.first() else {
            self.notice = Some(match self.meant().as_slice() {
                [] => "no VM is selected".to_owned(),
                [vm] => format!("nothing to {}: {} is {}", deed.verb(), vm.name, vm.state.name()),
                _ => format!("nothing to {} among those that are marked", deed.verb()),
            });
            return Vec::new();
        };
        let (text, word) = match deed {
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
            Deed::Start => {
                self.marked.clear();
                return requests.into_iter().map(Effect::Send).collect();
            }
        };
        let title = match meant.len() {
            1 => format!("{} {}", deed.verb(), first.name),
            count => format!("{} {count} VMs", deed.verb()),
        };
        let text = if meant.len() == 1 { text } else { format!("{}\n{text}", names(&meant)) };
        let typed = word.map(|word| (word, Input::default()));
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed, requests }));
        Vec::new()
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
        self.ports.insert(vm.id.clone(), Ports::Asked);
        self.dialogs.push(Dialog::Ports(PortList { vm: vm.id.clone(), at: 0 }));
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
        let requests = vec![Request::new(&title, Method::DELETE, format!("/v1/images/{id}"))];
        let text = "no VM uses it; there is no way back".to_owned();
        let typed = Some((name, Input::default()));
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed, requests }));
    }

    fn cancel(&mut self) -> Vec<Effect> {
        let Some(watched) = self.operation() else { return Vec::new() };
        let what = words::title(&watched.operation);
        if watched.operation.outcome.is_some() {
            self.notice = Some(format!("{what} has ended"));
            return Vec::new();
        }
        let path = format!("/v1/operations/{}", watched.operation.id);
        let requests = vec![Request::new(format!("cancel {what}"), Method::DELETE, path)];
        let (title, text) = (format!("cancel {what}"), "what it has done is undone".to_owned());
        self.dialogs.push(Dialog::Confirm(Confirm { title, text, typed: None, requests }));
        Vec::new()
    }

    fn examine(&mut self) -> Vec<Effect> {
        if std::mem::replace(&mut self.examining, true) {
            return Vec::new();
        }
        vec![Effect::Examine]
    }
}
