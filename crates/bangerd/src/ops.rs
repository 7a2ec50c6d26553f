//! What operations do.

mod boot;
pub mod build;
mod change;
mod create;
pub mod keys;
mod seed;
mod start;
mod stop;
