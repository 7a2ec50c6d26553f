//! `cargo xtask agent`: the guest's companion binary, static.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

use banger_exec::{Command, Interactive, Tool, Tools};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "agent";
const NAME: &str = "banger-agent";
/// Program header type of a dynamic loader's name (elf(5)).
const PT_INTERP: u32 = 3;

pub(crate) fn build() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent")?;
    let target = root.join("target");
    let own = target.join("agent-build");
    // Its own target folder: other flags would rebuild everything each time.
    let command = Command::new(Tool::Cargo)
        .args(["build", "--quiet", "--locked", "-p", NAME, "--features", "static-bin"])
        .args(["--profile", PROFILE, "--target", TARGET, "--target-dir"])
        .arg(&own)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .dir(root);
    let status = Interactive::start(&Tools::discover(), &command)?.wait()?;
    if !status.success() {
        return Err(format!("'{command}' failed with {status}").into());
    }
    let built = fs::read(own.join(TARGET).join(PROFILE).join(NAME))?;
    if !is_static(&built).ok_or("the agent is not a 64-bit ELF file")? {
        return Err("the agent is not static: it asks for a dynamic loader".into());
    }
    for folder in [PROFILE, "debug", "release"] {
        install(&target.join(folder), &built)?;
    }
    Ok(())
}

/// Whether an ELF file runs without a dynamic loader; none if it is no ELF file.
fn is_static(elf: &[u8]) -> Option<bool> {
    let bytes = |at: usize, length: usize| elf.get(at..at.checked_add(length)?);
    let half = |at| Some(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?));
    let word = |at| Some(u32::from_le_bytes(bytes(at, 4)?.try_into().ok()?));
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let start = usize::try_from(u64::from_le_bytes(bytes(32, 8)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count {
        if word(start.checked_add(index * size)?)? == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

/// Puts the program into `folder`, unless the same one is there.
fn install(folder: &Path, program: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(NAME);
    if fs::read(&path).is_ok_and(|old| old == program) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".{NAME}.{}", std::process::id()));
    fs::write(&new, program)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_test_program_is_dynamic_and_text_is_no_program() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_static(&own), Some(false));
        assert_eq!(is_static(b"#!/bin/sh"), None);
        assert_eq!(is_static(b"\x7fELF\x02\x01"), None);
    }
}
