//! What the daemon serves.

pub mod api;
mod console;
mod events;
mod inspect;
pub mod socket;
