//! What an ordinary user needs to build images: a range of ids, and user
//! namespaces that map it (subuid(5), user_namespaces(7)).

use std::path::Path;

use banger_core::doctor::Check;

use super::Scene;

/// Ids below are for the system and for people (login.defs(5)).
const FIRST: u64 = 100_000;
/// What a root file system needs.
const COUNT: u64 = 65_536;

/// Who runs VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub uid: u32,
    /// The name; the id again if there is none.
    pub name: String,
}

/// The user that we run as, by the accounts below `root`.
#[must_use]
pub fn user(root: &Path) -> User {
    let uid = rustix::process::geteuid().as_raw();
    let accounts = std::fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    User { uid, name: name(&accounts, uid).unwrap_or_else(|| uid.to_string()) }
}

fn name(accounts: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = accounts.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    Some(line.split(':').next()?.to_owned())
}

/// The ranges of a file such as `/etc/subuid`: whose, first, how many.
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (whose, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some((whose, first.trim().parse().ok()?, count.trim().parse().ok()?))
    })
}

impl Scene<'_> {
    /// Nothing if it is root: root owns any file without them.
    pub(super) fn without_root(&self) -> Vec<Check> {
        if self.user.uid == 0 { vec![] } else { vec![self.ranges(), self.namespaces()] }
    }

    fn ranges(&self) -> Check {
        const NAME: &str = "subordinate ids";
        let (users, groups) = (self.text("etc/subuid"), self.text("etc/subgid"));
        let uid = self.user.uid.to_string();
        let mine = |text: &str| {
            let mut all = ranges(text)
                .filter(|(whose, ..)| [&self.user.name, &uid].contains(&&(*whose).to_owned()));
            all.find(|(_, _, count)| *count > 0)
                .map(|(_, first, count)| format!("{count} from {first}"))
        };
        let lack = match (mine(&users), mine(&groups)) {
            (Some(range), Some(_)) => return Check::ok(NAME, range),
            (None, Some(_)) => "/etc/subuid",
            (Some(_), None) => "/etc/subgid",
            (None, None) => "/etc/subuid and /etc/subgid",
        };
        let used = ranges(&users).chain(ranges(&groups));
        let first = used.map(|(_, first, count)| first.saturating_add(count)).fold(FIRST, u64::max);
        let range = format!("{first}-{}", first.saturating_add(COUNT - 1));
        let name = &self.user.name;
        let command = format!("usermod --add-subuids {range} --add-subgids {range} {name}");
        let detail =
            format!("no range for {name} in {lack}: needed for building images without root");
        Check::missing(NAME, detail).remedy(self.as_root(&command))
    }

    fn namespaces(&self) -> Check {
        const NAME: &str = "user namespaces";
        let value = |path: &str| self.text(path).trim().parse::<u64>().ok();
        let off = |setting: &str, on: &str| {
            let detail =
                format!("switched off by {setting}: needed for building images without root");
            Check::missing(NAME, detail).remedy(self.as_root(&format!("sysctl -w {setting}={on}")))
        };
        if value("proc/sys/user/max_user_namespaces") == Some(0) {
            return off("user.max_user_namespaces", "15000");
        }
        // Debian's kernels have this one.
        if value("proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
            return off("kernel.unprivileged_userns_clone", "1");
        }
        let restricted = "kernel.apparmor_restrict_unprivileged_userns";
        if value("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
            let detail =
                format!("restricted by {restricted}: building images without root can fail");
            let remedy = self.as_root(&format!("sysctl -w {restricted}=0"));
            return Check::warning(NAME, detail).remedy(remedy);
        }
        Check::ok(NAME, "allowed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_of_its_id() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/bash\n";
        assert_eq!(name(accounts, 1000).unwrap(), "me");
        assert_eq!(name(accounts, 100), None);
    }

    #[test]
    fn a_broken_line_is_no_range() {
        let text = "me:100000:65536\n\nyou:x:1\nyou:5\n# no\nyou:165536:65536\n";
        assert_eq!(
            ranges(text).collect::<Vec<_>>(),
            [("me", 100_000, 65_536), ("you", 165_536, 65_536)]
        );
    }
}
