//! `banger tui`: everything on one screen.
//!
//! A pure heart and a thin shell. [`Model`] is what is known and where the person is; [`update`]
//! takes what comes in and says what is to be done outside; [`view`] draws. [`shell`] has the
//! terminal and the daemon, and decides nothing.

mod dialog;
mod form;
mod keys;
mod list;
mod log;
mod model;
mod mouse;
mod plain;
mod shell;
mod update;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use model::{Model, Snapshot};
pub use shell::run;
pub use update::{Effect, Input, update};
pub use view::{Theme, view};
