//! Things to fill in, checked as one types.

mod fields;
mod requests;

use banger_core::dashboard::Pressure;
use banger_core::id::VmId;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler as _;

use super::dialog::Request;
use super::model::Model;

pub use fields::{Field, Id, Value};

/// What a form is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A new VM.
    Create,
    /// Another name of a VM.
    Rename(VmId),
    /// Other sizes of a VM.
    Resize(VmId),
    /// What a VM's root overlay may take.
    ResizeOverlay(VmId),
    /// An image of a VM's root.
    Promote(VmId),
    /// An image of a distribution's packages.
    Build,
    /// An image of a container's.
    Pull,
}

/// A form.
#[derive(Debug, Clone)]
pub struct Form {
    /// What it is for.
    pub purpose: Purpose,
    /// Its heading.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// The field that is typed into.
    pub focus: usize,
    /// Whether it was to be sent: then all that is wrong is told.
    pub tried: bool,
}

/// Forms are alike that ask for the same.
impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        let texts = |form: &Self| {
            form.fields.iter().map(|f| (f.id, f.value.text().to_owned())).collect::<Vec<_>>()
        };
        self.purpose == other.purpose && texts(self) == texts(other)
    }
}

/// A line of what the host will bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// How near its end that brings the host.
    pub pressure: Pressure,
    /// What is shown.
    pub text: String,
}

impl Form {
    /// The text of a field; a choice's is the chosen.
    #[must_use]
    pub fn text(&self, id: Id) -> &str {
        let field = self.fields.iter().find(|field| field.id == id);
        field.map_or("", |field| field.value.text())
    }

    /// What is wrong with each field.
    #[must_use]
    pub fn errors(&self, model: &Model) -> Vec<Option<String>> {
        self.fields.iter().map(|field| self.error(field, model)).collect()
    }

    /// What is asked of the daemon, if nothing is wrong.
    #[must_use]
    pub fn request(&self, model: &Model) -> Option<Request> {
        let fine = self.errors(model).iter().all(Option::is_none);
        fine.then(|| self.asked(model)).flatten()
    }

    /// Takes a key; whether the form is to be sent.
    pub fn key(&mut self, event: KeyEvent) -> bool {
        let last = self.fields.len().saturating_sub(1);
        let back = event.code == KeyCode::BackTab || event.modifiers.contains(KeyModifiers::SHIFT);
        match event.code {
            KeyCode::Enter => return true,
            KeyCode::Tab | KeyCode::BackTab if back => {
                self.focus = self.focus.checked_sub(1).unwrap_or(last);
            }
            KeyCode::Up => self.focus = self.focus.saturating_sub(1),
            KeyCode::Tab => self.focus = if self.focus == last { 0 } else { self.focus + 1 },
            KeyCode::Down => self.focus = (self.focus + 1).min(last),
            _ => {
                if let Some(field) = self.fields.get_mut(self.focus) {
                    field.key(event);
                }
            }
        }
        false
    }

    /// Types a text that was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.fields.get_mut(self.focus) {
            field.paste(text);
        }
    }
}

/// Types a text as keys would.
pub fn type_in(input: &mut Input, text: &str) {
    for c in text.chars().filter(|c| !c.is_control()) {
        input.handle(tui_input::InputRequest::InsertChar(c));
    }
}

/// Gives a key to an input.
pub fn key_in(input: &mut Input, event: KeyEvent) {
    input.handle_event(&Event::Key(event));
}

#[cfg(test)]
mod tests;
