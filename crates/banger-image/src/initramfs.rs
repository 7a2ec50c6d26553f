//! The initramfs of a boot set, and the segment that a VM appends to it.

use banger_core::guest::{BOOT_CONFIG, BootConfig, GuestFile, MODULE_LIST, OVERLAY_DIR};

use crate::cpio::{CpioError, Writer};

/// Something that an initramfs cannot hold.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A path or size that the format cannot say.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// The boot configuration cannot be written as JSON.
    #[error("cannot write the boot configuration")]
    Config(#[from] serde_json::Error),
}

/// The initramfs of a boot set: the agent as its init, and the modules (name
/// and uncompressed content) in the order to load them.
///
/// # Errors
/// A name or size that an archive cannot hold.
pub fn build(agent: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>, InitramfsError> {
    let mut writer = Writer::new();
    for folder in ["dev", "proc", "sys", "newroot"] {
        writer.dir(folder, 0o755)?;
    }
    // Without a console Rust's start-up opens it, and aborts if it is missing.
    writer.device("dev/null", 0o666, (1, 3))?;
    writer.file("init", 0o755, agent)?;
    let mut list = String::new();
    for (name, content) in modules {
        let path = format!("lib/modules/{name}");
        writer.file(&path, 0o644, content)?;
        list.push_str(&format!("/{path}\n"));
    }
    writer.file(MODULE_LIST, 0o644, list.as_bytes())?;
    Ok(writer.finish())
}

/// What one VM appends to the initramfs: its boot configuration and the files
/// that its init copies over the root.
///
/// # Errors
/// A path or size that an archive cannot hold.
pub fn segment(config: &BootConfig, files: &[GuestFile]) -> Result<Vec<u8>, InitramfsError> {
    let mut writer = Writer::new();
    writer.file(BOOT_CONFIG, 0o600, &serde_json::to_vec(config)?)?;
    writer.dir(OVERLAY_DIR, 0o755)?;
    for file in files {
        writer.file(&format!("{OVERLAY_DIR}/{}", file.path), file.mode, &file.content)?;
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpio;

    #[test]
    fn a_segment_follows_the_initramfs() {
        let modules = [("virtio.ko".to_owned(), b"M".to_vec()), ("blk.ko".to_owned(), vec![])];
        let mut archive = build(b"AGENT", &modules).unwrap();
        let files = [
            GuestFile::new("etc/hostname", 0o644, "dev\n"),
            GuestFile::new("etc/ssh/key", 0o600, "K"),
        ];
        let config = BootConfig { work: Some("/dev/vdb".to_owned()), ..BootConfig::default() };
        archive.extend(segment(&config, &files).unwrap());
        let line = |e: &cpio::Entry<'_>| {
            let text = String::from_utf8_lossy(e.content);
            format!("{:o} {} {}", e.mode, e.path, text.trim_end().replace('\n', ", "))
        };
        let lines: Vec<_> = cpio::read(&archive).unwrap().iter().map(line).collect();
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        40755 dev
        40755 proc
        40755 sys
        40755 newroot
        20666 dev/null
        100755 init AGENT
        40755 lib
        40755 lib/modules
        100644 lib/modules/virtio.ko M
        100644 lib/modules/blk.ko
        40755 banger
        100644 banger/modules /lib/modules/virtio.ko, /lib/modules/blk.ko
        40755 banger
        100600 banger/boot.json {"root":"/dev/vda","work":"/dev/vdb"}
        40755 banger/overlay
        40755 banger/overlay/etc
        100644 banger/overlay/etc/hostname dev
        40755 banger/overlay/etc/ssh
        100600 banger/overlay/etc/ssh/key K
        "#);
    }

    #[test]
    fn a_file_outside_the_overlay_is_refused() {
        let file = GuestFile::new("../init", 0o755, "");
        assert!(segment(&BootConfig::default(), &[file]).is_err());
    }
}
