//! Keys in dialogs.

use banger_core::agent::Port;
use banger_core::id::VmId;
use banger_core::vm::SSH_PORT;
use crossterm::event::{KeyCode, KeyEvent};

use super::super::dialog::{Dialog, PortList, Problem, Request};
use super::super::form::key_in;
use super::super::keys::Binding;
use super::super::model::{Model, Ports};
use super::{Effect, Then};

impl Model {
    /// Gives a key to the dialog on top.
    pub(in super::super) fn dialog_key(&mut self, event: KeyEvent) -> Vec<Effect> {
        let Some(dialog) = self.dialogs.pop() else { return Vec::new() };
        if event.code == KeyCode::Esc {
            return Vec::new();
        }
        match dialog {
            // Read, then dismissed: any other key was meant for something else.
            Dialog::Problem(..) if event.code == KeyCode::Enter => {}
            Dialog::Problem(..) if event.code == KeyCode::Char('a') && self.problems() > 0 => {
                self.dialogs.retain(|dialog| !matches!(dialog, Dialog::Problem(..)));
            }
            Dialog::Problem(problem, line) if event.code == KeyCode::Char('y') => {
                let Problem { copied, remedy, message, .. } = &problem;
                let text = copied.as_ref().or(remedy.as_ref()).unwrap_or(message).clone();
                self.dialogs.push(Dialog::Problem(problem, line));
                return vec![Effect::Copy(text)];
            }
            Dialog::Problem(problem, line) => {
                self.dialogs.push(Dialog::Problem(problem, scrolled(line, event.code)));
            }
            Dialog::Help(_) if matches!(event.code, KeyCode::Char('?' | 'q') | KeyCode::Enter) => {}
            Dialog::Help(line) => self.dialogs.push(Dialog::Help(scrolled(line, event.code))),
            Dialog::Palette(mut palette) => {
                let found = palette.found(self.scopes());
                palette.at = palette.at.min(found.len().saturating_sub(1));
                match event.code {
                    KeyCode::Enter => {
                        return found.get(palette.at).map_or_else(Vec::new, |b| self.perform(b));
                    }
                    KeyCode::Up => palette.at = palette.at.saturating_sub(1),
                    KeyCode::Down => palette.at += 1,
                    _ => {
                        palette.at = 0;
                        key_in(&mut palette.typed, event);
                    }
                }
                self.dialogs.push(Dialog::Palette(palette));
            }
            Dialog::Confirm(mut confirm) => {
                let go = match (&mut confirm.typed, event.code) {
                    (None, KeyCode::Char('n' | 'N')) => return Vec::new(),
                    (None, code) => matches!(code, KeyCode::Char('y' | 'Y')),
                    (Some(_), KeyCode::Enter) => confirm.is_met(),
                    (Some((_, typed)), _) => {
                        key_in(typed, event);
                        false
                    }
                };
                if go {
                    self.marked.retain(|vm| !confirm.unmark.contains(vm));
                    return confirm.then;
                }
                self.dialogs.push(Dialog::Confirm(confirm));
            }
            Dialog::Form(mut form) => {
                if form.key(event) {
                    if let Some(request) = form.request(self) {
                        let form = Some(Box::new(form));
                        return vec![Effect::Send(Request { form, ..request })];
                    }
                    let Some(wrong) = form.errors(self).iter().position(Option::is_some) else {
                        self.notice = Some(form.no_request(self));
                        return Vec::new();
                    };
                    (form.focus, form.tried) = (wrong, true);
                }
                self.dialogs.push(Dialog::Form(form));
            }
            Dialog::Ports(ports) => return self.port_key(ports, event),
        }
        Vec::new()
    }

    /// Does what was chosen by name, on the tab that it belongs to.
    pub(in super::super) fn perform(&mut self, binding: &Binding) -> Vec<Effect> {
        let elsewhere = !self.scopes().contains(&binding.scope);
        let tab = binding.scope.tab().filter(|_| elsewhere);
        let mut effects = tab.map_or_else(Vec::new, |tab| self.turn_to(tab as usize));
        // Of what stands there now.
        self.settle();
        effects.extend(self.act(binding.action));
        effects
    }

    fn port_key(&mut self, mut list: PortList, event: KeyEvent) -> Vec<Effect> {
        let known = self.known_ports(&list.vm);
        let at = list.line(&known);
        let move_to = |at: usize| known.get(at.min(known.len().saturating_sub(1))).map(|p| p.port);
        let then = match event.code {
            KeyCode::Enter | KeyCode::Char('o') => Some(Then::Open),
            KeyCode::Char('c' | 'y') => Some(Then::Copy),
            KeyCode::Char('p') => {
                let vm = list.vm.clone();
                self.dialogs.push(Dialog::Ports(list));
                return vec![Effect::Password(vm)];
            }
            KeyCode::Char('x') => {
                let key = known.get(at).map(|port| (list.vm.clone(), port.port));
                let ended = key.filter(|key| self.forwards.remove(key).is_some());
                self.dialogs.push(Dialog::Ports(list));
                return ended.map(|(vm, port)| Effect::EndForward(vm, port)).into_iter().collect();
            }
            KeyCode::Char('q') => return Vec::new(),
            code => {
                match code {
                    KeyCode::Up | KeyCode::Char('k') => list.port = move_to(at.saturating_sub(1)),
                    KeyCode::Down | KeyCode::Char('j') => list.port = move_to(at + 1),
                    _ => {}
                }
                None
            }
        };
        let effect = then
            .zip(known.get(at))
            .and_then(|(then, port)| self.lead_to(&list.vm, port.port, then));
        self.dialogs.push(Dialog::Ports(list));
        effect.into_iter().collect()
    }

    /// Opens or copies the address of a port; forwards it first if it has none here.
    pub(super) fn lead_to(&mut self, vm: &VmId, port: u16, then: Then) -> Option<Effect> {
        if (port, then) == (SSH_PORT, Then::Open) {
            let told = "no browser reads that: e enters it, c copies the address";
            self.notice = Some(told.to_owned());
            return None;
        }
        match (self.address(vm, port), then) {
            (Some(address), Then::Copy) => Some(Effect::Copy(address)),
            (Some(address), Then::Open) => Some(Effect::Open(address)),
            (None, then) => self.forward(vm, port, then),
        }
    }

    /// Forwards a port, unless that was asked for already.
    fn forward(&mut self, vm: &VmId, port: u16, then: Then) -> Option<Effect> {
        let key = (vm.clone(), port);
        if self.forwards.contains_key(&key) {
            self.notice = Some(format!("port {port} is being forwarded"));
            return None;
        }
        self.forwards.insert(key, None);
        Some(Effect::Forward(vm.clone(), port, then))
    }

    /// The ports of a guest that are known, each once.
    #[must_use]
    pub fn known_ports(&self, vm: &VmId) -> Vec<Port> {
        let Some(Ports::Known(ports)) = self.ports.get(vm) else { return Vec::new() };
        let mut ports = ports.clone();
        ports.sort();
        ports.dedup_by_key(|port| port.port);
        ports
    }

    /// Where a port of a guest is reached from here, if it is: as a URL, but for SSH's.
    #[must_use]
    pub fn address(&self, vm: &VmId, port: u16) -> Option<String> {
        let scheme = if port == SSH_PORT { "" } else { "http://" };
        if let Some(Some(at)) = self.forwards.get(&(vm.clone(), port)) {
            return Some(format!("{scheme}{at}"));
        }
        let lease = self.lists.vms.get(vm)?.lease.as_ref()?;
        // One that listens on the guest's loopback only is reached by forwarding.
        let Ports::Known(ports) = self.ports.get(vm)? else { return None };
        let open = ports
            .iter()
            .any(|p| p.port == port && !p.address.starts_with("127.") && p.address != "::1");
        open.then(|| format!("{scheme}{}:{port}", lease.address))
    }
}

/// The first line that is shown of a long text, after a key.
fn scrolled(line: u16, key: KeyCode) -> u16 {
    match key {
        KeyCode::Up | KeyCode::Char('k') => line.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => line.saturating_add(1),
        KeyCode::PageUp => line.saturating_sub(10),
        KeyCode::PageDown | KeyCode::Char(' ') => line.saturating_add(10),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => u16::MAX,
        _ => line,
    }
}
