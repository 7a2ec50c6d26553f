//! What can be done as root: all of it by `banger-helper`, which nobody need let banger use.

use banger_core::doctor::Check;
use banger_core::net::bridge;

use super::Scene;

/// The rule that keeps udev from looking into root disks, and where it may be (udev(7)).
const RULE: &str = "12-banger.rules";
const RULES: [&str; 3] = ["etc/udev/rules.d", "usr/local/lib/udev/rules.d", "usr/lib/udev/rules.d"];

impl Scene<'_> {
    pub(super) fn sudo(&self) -> Check {
        const NAME: &str = "sudo";
        let ready = match &self.helper {
            Ok(ready) => ready,
            Err(why) => {
                let why = why.trim();
                let detail = format!(
                    "{why}; without it root disks are qcow2 files or copies, and there is no network nat"
                );
                let remedy = "sudo make install, then \
                    banger doctor --sudoers | sudo tee /etc/sudoers.d/banger";
                return Check::warning(NAME, detail).remedy(remedy);
            }
        };
        // A host without a device mapper, or without dmsetup: the rest of the helper works.
        let disks = match &ready.no_mapper {
            None => "ready: root disks are snapshots by the device mapper".to_owned(),
            Some(why) => format!("ready; no snapshots by the device mapper: {why}"),
        };
        // Without it udev looks into what guests have written.
        let rule = RULES.iter().any(|folder| self.at(folder).join(RULE).exists());
        if ready.no_mapper.is_none() && !rule {
            let detail = format!("{disks}, but udev has no rule for them ({RULE})");
            return Check::warning(NAME, detail).remedy("sudo make install");
        }
        if !ready.drops.is_empty() {
            let detail = format!(
                "{disks}; with the network nat guests reach nothing outside: {} drops what it forwards",
                ready.drops.join(", ")
            );
            let bridge = bridge(self.user.uid);
            let remedy = if ready.drops.iter().any(|chain| chain.contains("firewalld")) {
                self.as_root(&format!("firewall-cmd --zone=trusted --add-interface={bridge}"))
            } else {
                format!("let what comes from and goes to {bridge} pass there")
            };
            return Check::warning(NAME, detail).remedy(remedy);
        }
        match &ready.no_net {
            None => Check::ok(NAME, format!("{disks}; the network nat can be had")),
            Some(why) => Check::ok(NAME, format!("{disks}; no network nat: {why}")),
        }
    }
}
