//! The engine on a host that can be killed and can fail.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by a panic, and may talk"
)]

mod clients;
mod crash;
mod data;
mod faults;
mod scene;
mod watch;
mod web;
