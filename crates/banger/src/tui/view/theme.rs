//! Colours: the terminal's own sixteen, so that they fit a dark and a light one; none if they are
//! not wanted.

use banger_core::dashboard::Pressure;
use banger_core::doctor::Status;
use banger_core::operation::Outcome;
use banger_core::vm::{StopCause, VmState};
use ratatui::style::{Color, Modifier, Style};

/// Whether a VM is so because something went wrong.
pub fn is_bad(state: &VmState) -> bool {
    matches!(
        state,
        VmState::Stopped(StopCause::Crashed { .. } | StopCause::StartFailed { .. })
            | VmState::Failed { .. }
    )
}

/// How things look.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether there are colours.
    pub colours: bool,
}

impl Theme {
    fn in_colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// What matters less.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Headings.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The line that the person is at.
    pub fn chosen(self) -> Style {
        let plain = Modifier::DIM | Modifier::BOLD;
        // As one: colours turned round would make a patchwork of it.
        Style::new()
            .fg(Color::Reset)
            .bg(Color::Reset)
            .remove_modifier(plain)
            .add_modifier(Modifier::REVERSED)
    }

    /// What can be typed or pressed.
    pub fn key(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is well.
    pub fn good(self) -> Style {
        self.in_colour(Color::Green)
    }

    /// What goes on.
    pub fn busy(self) -> Style {
        self.in_colour(Color::Cyan)
    }

    /// What is to be watched.
    pub fn warning(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    /// What is wrong.
    pub fn bad(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What was searched for.
    pub fn found(self) -> Style {
        self.in_colour(Color::Yellow).add_modifier(Modifier::REVERSED)
    }

    /// The place of it that the person is at.
    pub fn found_here(self) -> Style {
        let marks = Modifier::REVERSED | Modifier::BOLD | Modifier::UNDERLINED;
        self.in_colour(Color::Cyan).add_modifier(marks)
    }

    /// How near something is to its end.
    pub fn pressure(self, pressure: Pressure) -> Style {
        match pressure {
            Pressure::Green => self.good(),
            Pressure::Yellow => self.warning(),
            Pressure::Red => self.bad(),
        }
    }

    /// What a check found.
    pub fn status(self, status: Status) -> Style {
        match status {
            Status::Ok => self.good(),
            Status::Warning => self.warning(),
            Status::Missing => self.bad(),
        }
    }

    /// A VM's state.
    pub fn state(self, state: &VmState) -> Style {
        match state {
            VmState::Running => self.good(),
            state if is_bad(state) => self.bad(),
            VmState::Stopped(_) => self.faint(),
            VmState::Paused(_) => self.warning(),
            _ => self.busy(),
        }
    }

    /// How an operation ended, if it has.
    pub fn outcome(self, outcome: Option<&Outcome>) -> Style {
        match outcome {
            None => self.busy(),
            Some(Outcome::Succeeded { .. }) => self.good(),
            Some(Outcome::Failed { .. }) => self.bad(),
            Some(Outcome::Cancelled) => self.warning(),
        }
    }
}
