//! The daemon of banger: state, operations, lifecycle, API.
#![forbid(unsafe_code)]

pub mod clock;
pub mod daemon;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod guest;
pub mod ops;
pub mod serve;
pub mod store;
pub mod vmm;
