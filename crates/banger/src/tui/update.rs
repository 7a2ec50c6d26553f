//! What happens: one function takes all that comes in, changes the model, and says what is to be
//! done outside.

mod acts;
mod dialogs;

use std::ffi::OsString;
use std::net::SocketAddr;

use banger_core::api::ImageInfo;
use banger_core::dashboard::Tick;
use banger_core::doctor::DoctorReport;
use banger_core::id::VmId;
use banger_core::operation::{Event, EventKind, Operation, OperationKind};
use banger_core::vm::VmState;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent};

use super::dialog::{Dialog, Problem, Request};
use super::form::{Form, key_in, type_in};
use super::keys;
use super::model::{Asked, Link, Model, Ports, Snapshot, Tab};
use super::{plain, words};

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// A key.
    Key(KeyEvent),
    /// The mouse.
    Mouse(MouseEvent),
    /// A text that was pasted.
    Paste(String),
    /// The terminal has another size, or was somebody else's for a while.
    Redraw,
    /// The time, milliseconds since 1970-01-01 00:00 UTC.
    Clock(u64),
    /// The daemon answers: all its lists.
    Loaded(Box<Snapshot>),
    /// The daemon does not answer, and why.
    Away(String),
    /// An event of the daemon's.
    Event(Box<Event>),
    /// What VMs take.
    Tick(Box<Tick>),
    /// What was asked for has begun.
    Begun(Operation),
    /// What was asked for is done.
    Done(String),
    /// The password of a VM's opencode, for the clipboard.
    Password(String),
    /// What was asked for failed.
    Failed(Problem),
    /// What a form asked for was refused.
    Refused(Problem, Box<Form>),
    /// What listens in a guest.
    Ports(VmId, Ports),
    /// A port of a guest is forwarded, and what was to be done with its address.
    Forwarded(VmId, u16, SocketAddr, Then),
    /// It is not, or no longer.
    NotForwarded(VmId, u16, Problem),
    /// With which arguments SSH enters a VM.
    Entrance(VmId, Result<Vec<OsString>, Problem>),
    /// What the doctor found.
    Doctor(Result<DoctorReport, Problem>),
    /// The images with what they take.
    Images(Result<Vec<ImageInfo>, Problem>),
    /// What a guest wrote to its console, and in which stream that came.
    Log(u64, Vec<u8>),
    /// No more of it comes.
    LogEnded(u64),
}

/// What is to be done with the address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// A browser shows it.
    Open,
    /// The terminal's clipboard takes it.
    Copy,
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ends the TUI.
    Quit,
    /// Stops the TUI, until its shell lets it go on.
    Suspend,
    /// Asks the daemon for something.
    Send(Request),
    /// Asks what listens in a guest.
    Ports(VmId),
    /// Forwards a port of a guest, then shows where.
    Forward(VmId, u16, Then),
    /// Forwards it no longer.
    EndForward(VmId, u16),
    /// Asks the doctor.
    Examine,
    /// Asks what images take.
    Images,
    /// Reads a VM's console from now on, and no other's; the number of the stream.
    OpenLog(VmId, u64),
    /// Reads no console any more.
    CloseLog,
    /// Asks how SSH enters a VM.
    Ssh(VmId),
    /// Lends the terminal to SSH, into the VM of that name, with these arguments.
    Enter(String, Vec<OsString>),
    /// Shows an address in a browser.
    Open(String),
    /// Puts a text into the terminal's clipboard.
    Copy(String),
    /// The same with one that is not shown.
    CopySecret(String),
    /// Asks for the password of a VM's opencode.
    Password(VmId),
    /// Shows the web console in a browser.
    Web,
    /// Starts the daemon.
    StartDaemon,
}

/// Takes what comes in.
pub fn update(model: &mut Model, input: Input) -> Vec<Effect> {
    // Not for each line that the cursor passes.
    let rests = matches!(input, Input::Tick(_));
    let mut effects = take(model, input);
    model.settle();
    effects.extend(model.end_forwards());
    if rests {
        effects.extend(model.ask_for_ports());
    }
    effects
}

fn take(model: &mut Model, input: Input) -> Vec<Effect> {
    match input {
        Input::Key(event) if event.kind != KeyEventKind::Release => return model.key(event),
        Input::Key(_) | Input::Redraw => {}
        // Where nothing is drawn, nothing is meant.
        Input::Mouse(_) | Input::Paste(_) if model.too_small => {}
        Input::Mouse(event) => return model.mouse(event),
        Input::Paste(text) => model.paste(&text),
        Input::Clock(now_ms) => model.now_ms = now_ms,
        Input::Loaded(snapshot) => {
            if matches!(model.link, Link::Away(_)) {
                model.notice = Some("the daemon is back".to_owned());
            } else if model.link == Link::Connecting {
                model.notice = None;
            }
            model.load(*snapshot);
            // The stream of a console broke, too.
            if let Some(log) = &mut model.log {
                model.streams += 1;
                log.go_on(model.streams);
                return vec![Effect::OpenLog(log.vm.clone(), log.stream)];
            }
        }
        Input::Away(why) => {
            model.link = Link::Away(why);
            model.host = None;
        }
        Input::Event(event) => {
            let news = model.lists.is_news(&event);
            model.apply(&event);
            if news && matches!(event.kind, EventKind::ImageChanged { .. }) {
                return model.ask_for_images();
            }
        }
        Input::Tick(tick) => model.tick(*tick),
        Input::Begun(operation) => {
            let operation = plain::all(operation);
            // It may have ended before we were told that it began.
            let known = model.lists.operations.get(&operation.id);
            let ended = known.and_then(|watched| watched.operation.outcome.clone());
            if operation.kind == OperationKind::VmCreate {
                model.awaited = operation.vm.as_ref().map(ToString::to_string);
            }
            match ended {
                None => {
                    model.notice = Some(format!("{} …", words::title(&operation)));
                    model.ours.insert(operation.id);
                }
                Some(outcome) => model.tell_end(&operation, &outcome, model.now_ms),
            }
        }
        Input::Done(what) => {
            model.notice = Some(what);
            // It may have put right what is shown.
            if model.tab == Tab::Doctor {
                return model.examine();
            }
        }
        Input::Password(password) => return vec![Effect::CopySecret(password)],
        Input::Failed(problem) => model.tell(problem),
        Input::Refused(problem, form) => model.refused(problem, *form),
        Input::Ports(vm, ports) => drop(model.ports.insert(vm, ports.plain())),
        Input::Forwarded(vm, port, at, then) => {
            model.forwards.insert((vm.clone(), port), Some(at));
            return model.lead_to(&vm, port, then).into_iter().collect();
        }
        Input::NotForwarded(vm, port, problem) => {
            model.forwards.remove(&(vm, port));
            model.tell(problem);
        }
        Input::Entrance(vm, found) => {
            // Unless it was cancelled.
            if model.entering.take_if(|entering| *entering == vm).is_some() {
                model.notice = None;
                match found {
                    Ok(arguments) => {
                        let vm = model.lists.vms.get(&vm);
                        let name = vm.map(|vm| vm.name.to_string()).unwrap_or_default();
                        return vec![Effect::Enter(name, arguments)];
                    }
                    Err(problem) => model.tell(problem),
                }
            }
        }
        Input::Doctor(found) => {
            model.examining = false;
            match found {
                Ok(report) => {
                    let report = plain::all(report);
                    // The head shows two of them, too.
                    if let Some(head) = &mut model.dashboard {
                        for shown in [&mut head.sudo, &mut head.kvm] {
                            let new = report.checks.iter().find(|check| check.name == shown.name);
                            *shown = new.unwrap_or(shown).clone();
                        }
                    }
                    model.doctor = Some(report);
                }
                Err(problem) => model.tell(problem),
            }
        }
        Input::Images(found) => {
            let again = std::mem::take(&mut model.images_asked) == Asked::Again;
            // Nobody has asked to be told of a failure, and the next connection lists them.
            if let Ok(list) = found {
                let row = |info: ImageInfo| (info.image.id.clone(), info);
                model.images = plain::all(list).into_iter().map(row).collect();
            }
            if again {
                return model.ask_for_images();
            }
        }
        Input::Log(stream, bytes) => {
            if let Some(log) = model.log.as_mut().filter(|log| log.stream == stream) {
                log.push(&bytes);
            }
        }
        Input::LogEnded(stream) => {
            if let Some(log) = model.log.as_mut().filter(|log| log.stream == stream) {
                log.end();
            }
        }
    }
    Vec::new()
}

impl Model {
    fn key(&mut self, event: KeyEvent) -> Vec<Effect> {
        if event.modifiers.contains(KeyModifiers::CONTROL) {
            match event.code {
                KeyCode::Char('c') => return vec![Effect::Quit],
                KeyCode::Char('z') => return vec![Effect::Suspend],
                _ => {}
            }
        }
        if self.too_small {
            let quits = event.code == KeyCode::Char('q');
            return if quits { vec![Effect::Quit] } else { Vec::new() };
        }
        if self.entering.is_some() {
            if event.code == KeyCode::Esc {
                (self.entering, self.notice) = (None, None);
            }
            return Vec::new();
        }
        // Who does something else meanwhile stays there.
        (self.notice, self.awaited) = (None, None);
        // What fails while one types waits until that is done.
        if self.filtering {
            match event.code {
                KeyCode::Enter => self.filtering = false,
                KeyCode::Esc => {
                    self.filtering = false;
                    self.cursor_mut().filter.reset();
                }
                KeyCode::Up => self.scroll(-1),
                KeyCode::Down => self.scroll(1),
                _ => key_in(&mut self.cursor_mut().filter, event),
            }
            return Vec::new();
        }
        if self.search_key(event) {
            return Vec::new();
        }
        if !self.dialogs.is_empty() {
            return self.dialog_key(event);
        }
        match keys::action(self.scopes(), &event) {
            Some(action) => self.act(action),
            None => Vec::new(),
        }
    }

    /// Asks what images take; once more after the answer, if it was asked already.
    fn ask_for_images(&mut self) -> Vec<Effect> {
        if self.images_asked == Asked::No {
            self.images_asked = Asked::Once;
            return vec![Effect::Images];
        }
        self.images_asked = Asked::Again;
        Vec::new()
    }

    /// Ends the forwards of VMs that are gone.
    fn end_forwards(&mut self) -> Vec<Effect> {
        let gone = |(vm, _): &&(VmId, u16)| !self.lists.vms.contains_key(vm);
        let gone: Vec<_> = self.forwards.keys().filter(gone).cloned().collect();
        for key in &gone {
            self.forwards.remove(key);
        }
        gone.into_iter().map(|(vm, port)| Effect::EndForward(vm, port)).collect()
    }

    /// Asks what listens in the VM at the cursor, each time that the person comes to it.
    fn ask_for_ports(&mut self) -> Option<Effect> {
        let vm = self.vm().filter(|vm| vm.state == VmState::Running)?.id.clone();
        let stays = self.ports_of.as_ref() == Some(&vm) && self.ports.contains_key(&vm);
        if self.tab != Tab::Vms || stays {
            return None;
        }
        self.ports_of = Some(vm.clone());
        self.ports.entry(vm.clone()).or_insert(Ports::Asked);
        Some(Effect::Ports(vm))
    }

    /// Gives a key to the search of the log; whether one is being written.
    fn search_key(&mut self, event: KeyEvent) -> bool {
        let Some(log) = &mut self.log else { return false };
        let Some(search) = &mut log.search else { return false };
        match event.code {
            KeyCode::Esc => log.search = None,
            KeyCode::Enter => {
                let needle = search.value().to_owned();
                log.search = None;
                let found = log.search_for(&needle);
                if !needle.is_empty() {
                    self.tell_found(found);
                }
            }
            _ => key_in(search, event),
        }
        true
    }

    fn paste(&mut self, text: &str) {
        let typing = self.is_typing();
        match self.dialogs.last_mut().filter(|_| !typing) {
            Some(Dialog::Form(form)) => form.paste(text),
            Some(Dialog::Confirm(confirm)) => {
                if let Some((_, typed)) = &mut confirm.typed {
                    type_in(typed, text);
                }
            }
            Some(Dialog::Palette(palette)) => type_in(&mut palette.typed, text),
            Some(_) => {}
            None if self.filtering => type_in(&mut self.cursor_mut().filter, text),
            None => {
                let search = self.log.as_mut().and_then(|log| log.search.as_mut());
                if let Some(search) = search {
                    type_in(search, text);
                }
            }
        }
    }
}
