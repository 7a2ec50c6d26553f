//! One binary for all integration tests, so that they link once and share
//! what is slow to make. They read like a transcript of somebody at work.

mod alpine;
mod api;
mod bad_client;
mod bad_guest;
mod bad_host;
mod bad_image;
mod bad_input;
mod bad_state;
mod bench;
mod build_from;
mod completions;
mod container;
mod durability;
mod fake;
mod from_vm;
mod full_disk;
mod full_disk_build;
mod harness;
mod lab;
mod lab_images;
mod load;
mod net;
mod openapi;
mod overlay;
mod registered;
mod seed;
mod structure;
mod tui;
mod vm_life;
mod vm_recovery;
mod void;
mod web;

/// A file that is not named above would never run.
#[test]
fn no_test_file_is_forgotten() {
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap_or(&name);
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "tests/it/{name} is not part of the tests"
        );
    }
}
