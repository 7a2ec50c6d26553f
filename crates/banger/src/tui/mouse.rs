//! The mouse: a click selects, the wheel scrolls.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::dialog::Dialog;
use super::keys::Action;
use super::list::{Column, Order};
use super::model::{Model, Tab};
use super::update::Effect;

/// How far the wheel goes, in lines.
const NOTCH: isize = 3;

/// Where things were drawn.
#[derive(Debug, Default)]
pub struct Hits {
    /// The tabs.
    pub tabs: Vec<(Rect, Tab)>,
    /// The lines of the list, one each.
    pub list: Rect,
    /// The headings of the VMs' columns.
    pub columns: Vec<(Rect, Column)>,
    /// How far the details can be scrolled, if they have the whole screen.
    pub end: Option<u16>,
    /// The fields of the form, or the lines of the palette or the ports.
    pub dialog: Vec<(Rect, usize)>,
    /// The keys that a dialog names.
    pub keys: Vec<(Rect, KeyCode)>,
    /// What the last line offers.
    pub hints: Vec<(Rect, Action)>,
    /// The details beside the list.
    pub details: Rect,
    /// How many lines a page of what is shown has.
    pub page: u16,
}

impl Model {
    /// Takes what the mouse did.
    pub(super) fn mouse(&mut self, event: MouseEvent) -> Vec<Effect> {
        let at = Position::new(event.column, event.row);
        match event.kind {
            MouseEventKind::ScrollUp => self.wheel(at, -NOTCH),
            MouseEventKind::ScrollDown => self.wheel(at, NOTCH),
            MouseEventKind::Down(MouseButton::Left) => return self.click(at),
            _ => {}
        }
        Vec::new()
    }

    /// Moves what the mouse is over by so many lines.
    fn wheel(&mut self, at: Position, by: isize) {
        if self.dialogs.is_empty() && self.hits.details.contains(at) {
            self.beside.1 = scrolled(self.beside.1, by);
        } else {
            self.scroll(by);
        }
    }

    /// Moves what is on top by so many lines.
    pub(super) fn scroll(&mut self, by: isize) {
        let moved = |at: usize| at.saturating_add_signed(by);
        let typing = self.is_typing();
        match self.dialogs.last_mut().filter(|_| !typing) {
            Some(Dialog::Help(line) | Dialog::Problem(_, line)) => {
                *line = scrolled(*line, by);
            }
            Some(Dialog::Palette(palette)) => palette.at = moved(palette.at),
            Some(Dialog::Ports(ports)) => {
                let vm = ports.vm.clone();
                let known = self.known_ports(&vm);
                if let Some(Dialog::Ports(ports)) = self.dialogs.last_mut() {
                    let line = ports.line(&known).saturating_add_signed(by.signum());
                    ports.port = known.get(line).map_or(ports.port, |port| Some(port.port));
                }
            }
            Some(_) => {}
            None => match (&mut self.log, &mut self.details) {
                (Some(log), _) => log.scroll(by),
                (None, Some(line)) => *line = scrolled(*line, by),
                (None, None) => {
                    let line = self.settle().unwrap_or(0);
                    self.go_to(line.saturating_add_signed(by));
                }
            },
        }
    }

    fn click(&mut self, at: Position) -> Vec<Effect> {
        self.notice = None;
        let key = self.hits.keys.iter().find(|(area, _)| area.contains(at));
        if let Some((_, code)) = key {
            return self.dialog_key(KeyEvent::new(*code, KeyModifiers::NONE));
        }
        if !self.dialogs.is_empty() && !self.is_typing() {
            let hit = self.hits.dialog.iter().find(|(area, _)| area.contains(at));
            return hit.map(|(_, line)| *line).map_or_else(Vec::new, |line| self.click_in(line));
        }
        if let Some((_, tab)) = self.hits.tabs.iter().find(|(area, _)| area.contains(at)) {
            return self.turn_to(*tab as usize);
        } else if let Some((_, action)) = self.hits.hints.iter().find(|(area, _)| area.contains(at))
        {
            return self.act(*action);
        } else if let Some((_, column)) =
            self.hits.columns.iter().find(|(area, _)| area.contains(at))
        {
            let again = self.order.column == *column;
            self.order = Order { column: *column, reverse: again && !self.order.reverse };
        } else if self.log.is_none() && self.hits.list.contains(at) {
            let line = self.cursor().top + usize::from(at.y - self.hits.list.y);
            // Where the person is already, one goes on into it.
            if line < self.lines().len() {
                if self.settle() == Some(line) {
                    return self.act(Action::Details);
                }
                self.go_to(line);
            }
        }
        Vec::new()
    }

    /// Takes a click on a line of the dialog.
    fn click_in(&mut self, line: usize) -> Vec<Effect> {
        match self.dialogs.last_mut() {
            Some(Dialog::Form(form)) => form.focus = line,
            Some(Dialog::Palette(palette)) => {
                let chosen = palette.clone();
                let found = chosen.found(self.scopes());
                if let Some(binding) = found.get(line) {
                    self.dialogs.pop();
                    return self.perform(binding);
                }
            }
            Some(Dialog::Ports(ports)) => {
                let vm = ports.vm.clone();
                let port = self.known_ports(&vm).get(line).map(|port| port.port);
                if let Some(Dialog::Ports(ports)) = self.dialogs.last_mut() {
                    ports.port = port;
                }
            }
            _ => {}
        }
        Vec::new()
    }
}

/// A line that is so many further.
fn scrolled(line: u16, by: isize) -> u16 {
    let to = usize::from(line).saturating_add_signed(by);
    u16::try_from(to).unwrap_or(u16::MAX)
}
