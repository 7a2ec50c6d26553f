//! Kernels and archives of an initramfs.
#![no_main]

use banger_image::{cpio, elf, vmlinux};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = cpio::begins(bytes);
    let _ = cpio::read(bytes);
    let _ = vmlinux::extract(bytes);
    let _ = elf::check_static(bytes);
});
