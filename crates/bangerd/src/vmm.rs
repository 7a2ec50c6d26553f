//! What runs machines.

pub mod qemu;
pub mod qmp;
