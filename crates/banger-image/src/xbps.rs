//! Void Linux: its repositories, its packages, its releases, and what its package manager xbps
//! knows of what is installed.
//!
//! [`sums`] and [`trust`] vouch for a root file system that Void releases; [`repodata`], [`keys`],
//! [`resolve`] and [`package`] choose, check and unpack packages; [`pkgdb`] and [`files`] let the
//! xbps of the guest go on from there. Everything takes bytes and gives bytes.
//!
//! Sources: xbps(7) and the pages that it names, proplib(3), and Void's repositories
//! `void-linux/xbps` and `void-linux/void-packages`.

mod archive;
pub mod files;
pub mod keys;
pub mod package;
mod pattern;
pub mod pkgdb;
mod plist;
pub mod repodata;
pub mod resolve;
pub mod sums;
pub mod trust;
pub mod version;

pub use plist::PlistError;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
