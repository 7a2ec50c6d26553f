//! What a VM's root has beyond a container's, as one more layer: so names are followed within the
//! root, whatever links a stranger put there.

use std::fs::File;
use std::path::Path;

use banger_core::guest::services::companion;
use banger_core::image::Init;

use crate::archive::{Archive, Item};
use crate::build::BuildError;
use crate::ext4::Copied;
use crate::oci::Root;

/// What sshd needs in its configuration to read ours (sshd_config(5), "Include").
const INCLUDE: &str = "Include /etc/ssh/sshd_config.d/*.conf";

/// What a root gets.
pub(crate) struct Additions<'a> {
    /// What starts its services.
    pub init: Init,
    /// The agent's binary.
    pub agent: &'a [u8],
    /// The release of its kernel, and that one's modules if the root has not got them itself.
    pub modules: (&'a str, &'a [Copied]),
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
}

impl Additions<'_> {
    /// Writes a layer for `root` into the new file `out`.
    pub(super) fn write(&self, out: &Path, root: &Root) -> Result<(), BuildError> {
        let mut archive = Archive::create(out, self.created_at)?;
        for file in companion(self.init, self.agent.to_vec()) {
            let (path, mode) = (file.path.as_str(), file.mode);
            archive.add(&Item::File { path, mode, content: &file.content })?;
        }
        archive.add(&Item::File { path: "etc/machine-id", mode: 0o444, content: b"" })?;
        // One that cannot be looked at is left as it is.
        if let Some(config) = root.facts().sshd_config.filter(|config| !includes(config)) {
            // The first value of a keyword counts, so ours come first.
            let config = format!("{INCLUDE}\n{config}");
            let path = "etc/ssh/sshd_config";
            archive.add(&Item::File { path, mode: 0o644, content: config.as_bytes() })?;
        }
        for item in commands(self.init, &|path| root.has(path)) {
            archive.add(&item)?;
        }
        let (release, modules) = self.modules;
        let folder = Path::new("lib/modules").join(release);
        for Copied { path, mode, copy } in modules {
            let read = BuildError::io("read", copy);
            // A name that is not UTF-8 is no module's.
            let Some(path) = folder.join(path).to_str().map(str::to_owned) else { continue };
            let file = File::open(copy).map_err(&read)?;
            let size = file.metadata().map_err(&read)?.len();
            archive.file(&path, *mode, size, file).map_err(BuildError::io("write", out))?;
        }
        archive.finish()
    }
}

/// The commands that start and end a system, where its init has them by other names only.
fn commands(init: Init, has: &dyn Fn(&str) -> bool) -> Vec<Item<'static>> {
    let mut items = Vec::new();
    let first = init.programs().iter().find(|program| has(program));
    if let Some(first) = first.filter(|first| !has("/sbin/init") && **first != "/sbin/openrc") {
        items.push(Item::Link { path: "sbin/init".to_owned(), target: (*first).to_owned() });
    }
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let any = |name: &str| folders.iter().any(|folder| has(&format!("{folder}/{name}")));
    if init == Init::OpenRc && any("openrc-shutdown") && !any("reboot") {
        let content = b"#!/bin/sh\nexec openrc-shutdown --reboot now\n";
        items.push(Item::File { path: "sbin/reboot", mode: 0o755, content });
    }
    items
}

/// Whether a configuration of sshd reads the folder with ours before all else.
fn includes(config: &str) -> bool {
    let mut lines = config.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let mut words = first.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("include"))
        && words.next() == INCLUDE.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_and_ends_a_system_has_its_usual_name() {
        let of = |init, there: &[&str]| {
            let name = |item: &Item<'_>| match item {
                Item::Link { path, target } => format!("{path} -> {target}"),
                Item::File { path, .. } | Item::Folder(path) => (*path).to_owned(),
            };
            commands(init, &|path| there.contains(&path)).iter().map(name).collect::<Vec<_>>()
        };
        let systemd = "/usr/lib/systemd/systemd";
        assert_eq!(of(Init::Systemd, &[systemd]), [format!("sbin/init -> {systemd}")]);
        assert!(of(Init::Systemd, &[systemd, "/sbin/init"]).is_empty());
        assert_eq!(
            of(Init::OpenRc, &["/sbin/openrc-init", "/sbin/openrc-shutdown"]),
            ["sbin/init -> /sbin/openrc-init", "sbin/reboot"]
        );
        let busybox = ["/sbin/openrc", "/sbin/init", "/sbin/openrc-shutdown", "/sbin/reboot"];
        assert!(of(Init::OpenRc, &busybox).is_empty());
    }

    #[test]
    fn a_configuration_of_sshd_includes_ours() {
        assert!(includes("# x\n\ninclude  /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n"));
        assert!(!includes("UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf"));
        assert!(!includes("#Include /etc/ssh/sshd_config.d/*.conf\nIncludes x"));
    }
}
