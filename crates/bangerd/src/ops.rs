//! What operations do.

pub mod build;
mod create;
pub mod keys;
mod start;
mod stop;
