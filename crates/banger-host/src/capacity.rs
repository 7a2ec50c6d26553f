//! How much this host has.

use std::path::Path;
use std::thread::available_parallelism;

use banger_core::dashboard::Capacity;
use banger_core::size::Size;
use rustix::fs::statvfs;
use rustix::system::sysinfo;

use crate::{At as _, HostError};

/// What this host has: its CPUs, as far as we may use them, its memory, and the file system that
/// `folder` is on.
///
/// # Errors
/// The folder cannot be looked at.
pub fn capacity(folder: &Path) -> Result<Capacity, HostError> {
    let file_system = statvfs(folder).at("look at", folder)?;
    let blocks = |count: u64| Size::bytes(count.saturating_mul(file_system.f_frsize));
    let system = sysinfo();
    // In units of mem_unit bytes (sysinfo(2)).
    let memory = system.totalram.saturating_mul(u64::from(system.mem_unit));
    Ok(Capacity {
        cpus: available_parallelism().map_or(1, |n| n.get() as u64),
        memory: Size::bytes(memory),
        disk: blocks(file_system.f_blocks),
        disk_free: blocks(file_system.f_bavail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        let found = capacity(dir.path()).unwrap();
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(found.memory.as_bytes() >> 10, kib);
        assert!(found.cpus >= 1, "{found:?}");
        assert!(found.disk_free < found.disk, "{found:?}");
        assert!(capacity(&dir.path().join("none")).is_err());
    }
}
