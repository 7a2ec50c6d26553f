//! The mouse: a click selects, the wheel scrolls.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::dialog::Dialog;
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
    /// How far the details can be scrolled, and how many lines of them are seen, if they have the
    /// whole screen.
    pub details: Option<(u16, usize)>,
    /// The fields of the form, or the lines of the palette or the ports.
    pub dialog: Vec<(Rect, usize)>,
}

impl Model {
    /// Takes what the mouse did.
    pub(super) fn mouse(&mut self, event: MouseEvent) -> Vec<Effect> {
        let at = Position::new(event.column, event.row);
        match event.kind {
            MouseEventKind::ScrollUp => self.scroll(-NOTCH),
            MouseEventKind::ScrollDown => self.scroll(NOTCH),
            MouseEventKind::Down(MouseButton::Left) => return self.click(at),
            _ => {}
        }
        Vec::new()
    }

    /// Moves what is on top by so many lines.
    pub(super) fn scroll(&mut self, by: isize) {
        let moved = |at: usize| at.saturating_add_signed(by);
        match self.dialogs.last_mut() {
            Some(Dialog::Help(line) | Dialog::Problem(_, line)) => {
                *line =
                    u16::try_from(usize::from(*line).saturating_add_signed(by)).unwrap_or(*line);
            }
            Some(Dialog::Palette(palette)) => palette.at = moved(palette.at),
            Some(Dialog::Ports(ports)) => ports.at = moved(ports.at),
            Some(_) => {}
            None => match (&mut self.log, &mut self.details) {
                (Some(log), _) => log.scroll(by),
                (None, Some(line)) => {
                    *line = u16::try_from(usize::from(*line).saturating_add_signed(by))
                        .unwrap_or(u16::MAX);
                }
                (None, None) => {
                    let line = self.settle().unwrap_or(0);
                    self.go_to(line.saturating_add_signed(by));
                }
            },
        }
    }

    fn click(&mut self, at: Position) -> Vec<Effect> {
        if let Some(dialog) = self.dialogs.last_mut() {
            let hit = self.hits.dialog.iter().find(|(area, _)| area.contains(at));
            match (dialog, hit.map(|(_, line)| *line)) {
                (Dialog::Form(form), Some(field)) => form.focus = field,
                (Dialog::Palette(palette), Some(line)) => palette.at = line,
                (Dialog::Ports(ports), Some(line)) => ports.at = line,
                _ => {}
            }
            return Vec::new();
        }
        if let Some((_, tab)) = self.hits.tabs.iter().find(|(area, _)| area.contains(at)) {
            return self.turn_to(*tab as usize);
        } else if let Some((_, column)) =
            self.hits.columns.iter().find(|(area, _)| area.contains(at))
        {
            let again = self.order.column == *column;
            self.order = Order { column: *column, reverse: again && !self.order.reverse };
        } else if self.log.is_none() && self.hits.list.contains(at) {
            let line = self.cursor().top + usize::from(at.y - self.hits.list.y);
            if line < self.lines().len() {
                self.go_to(line);
            }
        }
        Vec::new()
    }
}
