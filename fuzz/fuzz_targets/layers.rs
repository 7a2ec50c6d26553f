//! Layers of images for containers, laid over each other: tar files, compressed or not, with
//! whiteouts and links.
#![no_main]

use banger_exec::Cancel;
use banger_image::oci::{Digest, Layer, Limits, Root};
use libfuzzer_sys::fuzz_target;

/// Makes a block that begins like a name one of a header, which nobody guesses: it has a checksum.
fn make_header(block: &mut [u8]) {
    if block[0].is_ascii_graphic() {
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut rest = rest.to_vec();
    rest.chunks_exact_mut(512).for_each(make_header);
    let (low, high) = rest.split_at(rest.len() / 512 * usize::from(*first) / 256 * 512);
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let layer = |(name, content): (&str, &[u8])| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        // What is compressed has another one, and ends there: the other reader sees that.
        let digest = Digest::of(content);
        let (media_type, size) = (String::new(), content.len() as u64);
        Layer { path, media_type, digest, size, diff_id: digest }
    };
    let layers = [("low", low), ("high", high)].map(layer);
    let limits = Limits { bytes: 1 << 20, entries: 1000, names: 1 << 16 };
    let Ok(root) = Root::read(&layers, &limits, &Cancel::default()) else { return };
    let _ = root.facts();
    let mut out = Vec::new();
    root.write(&mut out, &Cancel::default()).unwrap();
    // Whatever came in, what goes out stays within the root.
    for entry in tar::Archive::new(&*out).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path_bytes();
        assert!(path.starts_with(b"./"), "{path:?}");
        assert!(!path.split(|byte| *byte == b'/').any(|part| part == b".."), "{path:?}");
    }
});
