//! What operations do.

mod boot;
pub mod build;
mod change;
mod copy;
mod create;
mod derive;
mod first_boot;
mod identity;
mod images;
pub mod keys;
mod promote;
mod provision;
mod seed;
mod start;
mod stop;
