//! What can be done as root: all of it by `banger-helper`, which nobody need let banger use.

use banger_core::doctor::Check;

use super::Scene;

impl Scene<'_> {
    pub(super) fn sudo(&self) -> Check {
        const NAME: &str = "sudo";
        let ready = match &self.helper {
            Ok(ready) => ready,
            Err(why) => {
                let why = why.trim();
                let detail = format!("{why}; without it root disks are qcow2 files or copies");
                let remedy = "sudo make install, then \
                    banger doctor --sudoers | sudo tee /etc/sudoers.d/banger";
                return Check::warning(NAME, detail).remedy(remedy);
            }
        };
        match &ready.no_mapper {
            None => Check::ok(NAME, "ready: root disks are snapshots by the device mapper"),
            // A host without one, or without dmsetup: the rest of the helper works.
            Some(why) => {
                Check::ok(NAME, format!("ready; no snapshots by the device mapper: {why}"))
            }
        }
    }
}
