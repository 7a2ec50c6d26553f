//! What the daemon serves.

pub mod api;
mod console;
mod daemon;
mod events;
mod images;
mod inspect;
pub mod openapi;
mod operations;
pub mod socket;
mod vms;
pub mod web;
