//! What is shown of an operation while it goes on: bars on a terminal, lines
//! when piped, events with `--json`.

mod bars;
mod plain;

use std::io::IsTerminal as _;

use banger_core::fold::OperationView;
use banger_core::operation::Event;

use crate::output;
use bars::Bars;
use plain::Plain;

/// One of the three ways.
pub enum Renderer {
    /// On a terminal.
    Bars(Bars),
    /// Piped.
    Plain(Plain),
    /// An event a line, on standard output.
    Json,
}

impl Renderer {
    /// The way that fits where the output goes.
    pub fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Bars(Bars::new())
        } else {
            Self::Plain(Plain)
        }
    }

    /// Shows an event, which the view has taken up.
    pub fn show(&mut self, event: &Event, view: &OperationView) {
        match self {
            Self::Bars(bars) => bars.show(view),
            Self::Plain(plain) => {
                plain.lines(event, view).iter().for_each(|line| output::note(line))
            }
            Self::Json => output::line(&serde_json::to_string(event).unwrap_or_default()),
        }
    }

    /// Leaves the terminal as it was.
    pub fn end(&mut self) {
        if let Self::Bars(bars) = self {
            bars.end();
        }
    }
}
