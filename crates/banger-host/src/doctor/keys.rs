//! The key that enters VMs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_core::doctor::Check;
use banger_exec::quote;

use super::Scene;

const NAME: &str = "SSH key";

impl Scene<'_> {
    pub(super) fn ssh_key(&self) -> Check {
        let configured = self.config.as_ref().ok().and_then(|config| config.ssh_key.clone());
        let own = configured.is_none();
        let path = configured.unwrap_or_else(|| self.dirs.ssh_key());
        let (shown, word) = (path.display(), quote(&path.to_string_lossy()));
        let Ok(metadata) = path.metadata() else {
            if own {
                return Check::ok(NAME, format!("{shown}: made with the first VM"));
            }
            return Check::missing(
                NAME,
                format!("{shown} is not there, but named in the configuration"),
            )
            .remedy(format!("ssh-keygen -t ed25519 -f {word}"));
        };
        if !path.with_added_extension("pub").exists() {
            return Check::missing(NAME, format!("{shown}.pub is not there: it goes into VMs"))
                .remedy(format!("ssh-keygen -y -f {word} > {word}.pub"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Check::missing(NAME, format!("{shown} is open to others: ssh refuses it"))
                .remedy(format!("chmod 600 {word}"));
        }
        Check::ok(NAME, describe(&path, own))
    }
}

fn describe(path: &Path, own: bool) -> String {
    let whose = if own { "made by banger" } else { "named in the configuration" };
    format!("{} ({whose})", path.display())
}
