//! A host for the tests of the engine.
//!
//! A [`World`] is what outlives a daemon: files in a folder of its own, and
//! processes that are tasks, with the sockets of a VMM and of a guest's agent.
//! A [`Life`] is one daemon's: it can end at any of its steps, as by `kill -9`.
//! [`Host`] and [`Programs`] are how that daemon touches the world; they can be
//! made to fail.
//!
//! A [`Registry`] is a real one, of images for containers; a [`Mirror`] serves the packages of a
//! distribution; an [`ApkRepository`] is what one of Alpine has, and a [`VoidMirror`] one of Void
//! Linux.

mod faults;
mod guest;
mod host;
mod life;
mod mirror;
mod programs;
mod registry;
mod void_mirror;
mod world;

pub use faults::{Fault, Faults};
pub use host::{Host, Root};
pub use life::Life;
pub use mirror::alpine::{Apk, ApkFile, ApkRepository};
pub use mirror::{Mirror, Trouble};
pub use programs::Programs;
pub use registry::{Registry, others};
pub use void_mirror::VoidMirror;
pub use world::World;
