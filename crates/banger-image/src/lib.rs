//! Making managed images: a root file system and the boot set that boots it.
//!
//! The pure parts (archives, kernels, module order, package lists) take bytes
//! and give bytes; [`debian`], [`alpine`] and [`container`] put them together, and run every program
//! through [`banger_exec::Runner`]. All of it is synchronous.
#![forbid(unsafe_code)]

pub mod alpine;
pub mod apk;
mod archive;
mod assemble;
pub mod build;
mod cache;
mod checksum;
pub mod container;
pub mod cpio;
pub mod debian;
pub mod decompress;
mod der;
mod durable;
pub mod elf;
pub mod ext4;
pub mod fetch;
pub mod from_root;
pub mod initramfs;
mod kernel;
pub mod manifest;
pub mod minisign;
pub mod modules;
pub mod namespace;
pub mod oci;
pub mod opencode;
pub mod parts;
pub mod register;
pub mod seed;
pub mod signed;
pub mod steps;
pub mod superblock;
mod unpack;
pub mod vmlinux;
pub mod void;
pub mod xbps;
