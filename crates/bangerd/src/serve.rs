//! What the daemon serves.

pub mod api;
mod events;
pub mod socket;
