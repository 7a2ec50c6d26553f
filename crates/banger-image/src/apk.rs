//! Packages of Alpine, and the repositories that have them, in the format that apk-tools calls v2.
//!
//! What is read is checked: [`index`] against the [`keys`] that are trusted, a [`package`] against
//! its record in the index. [`resolve`] says what has to be installed and in which order, and
//! [`installed`] writes what apk in the guest has to know to go on from there. Nothing here fetches
//! or runs anything, or writes elsewhere than to a writer that is given.
//!
//! Sources: apk-v2(5), apk-package(5), apk-world(5) and apk-keys(5) of apk-tools, and, where those
//! are silent, what apk-tools 2.14 and 3.0 do.

pub mod dependency;
pub mod identity;
pub mod index;
pub mod installed;
pub mod keys;
pub mod package;
pub mod pkginfo;
pub mod resolve;
pub mod stream;
pub mod version;

#[cfg(test)]
pub(crate) mod testing;
