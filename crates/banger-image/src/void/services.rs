//! What runs in a VM of Void.
//!
//! Source: Void's repository `void-linux/void-runit`, and `srcpkgs/runit-void/INSTALL` of
//! `void-linux/void-packages`.

/// The services that are enabled; the rest is in the packages, for people to link to.
pub(super) const ENABLED: &str = "etc/runit/runsvdir/default";
/// What runit is told to run (`/etc/runit/2`).
pub(super) const CURRENT: &str = "etc/runit/runsvdir/current";

/// Consoles to log in at. Where such a service has this file, `runit-void` does not enable it again
/// when it is configured.
pub(super) const DOWN: [&str; 6] = [
    "etc/sv/agetty-tty1/down",
    "etc/sv/agetty-tty2/down",
    "etc/sv/agetty-tty3/down",
    "etc/sv/agetty-tty4/down",
    "etc/sv/agetty-tty5/down",
    "etc/sv/agetty-tty6/down",
];

/// The folder that sshd is confined to before somebody is logged in, which the script of the package
/// would make (`srcpkgs/openssh/template`, `make_dirs`).
pub(super) const SSHD: &str = "var/chroot/ssh";

/// Where the server of opencode is.
pub(super) const OPENCODE: &str = "usr/local/bin/opencode";
pub(super) const OPENCODE_SERVICE: &str = "etc/runit/runsvdir/default/opencode/run";

/// It takes much processor time to start: others come first.
pub(super) const OPENCODE_RUN: &str = r"#!/bin/sh
# Off where this VM has no password for it.
[ -s /etc/banger/opencode.env ] || exec sv down .
until [ -e /run/banger-bootstrapped ]; do sleep 0.1 || exit 1; done
set -a
. /etc/banger/opencode.env
HOME=/root
cd /root || exit 1
exec nice -n 5 /usr/local/bin/opencode serve --hostname 0.0.0.0 --port 4096 2>&1
";

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::guest::{OPENCODE_ENV, services::RUNIT_AWAIT_BOOTSTRAP};

    #[test]
    fn the_service_names_the_paths_that_the_host_writes() {
        assert!(OPENCODE_RUN.contains(&format!("[ -s /{OPENCODE_ENV} ]")));
        assert!(OPENCODE_RUN.contains(&format!("\n{RUNIT_AWAIT_BOOTSTRAP}\n")));
        assert!(OPENCODE_RUN.contains(&format!("\n. /{OPENCODE_ENV}\n")));
        assert!(OPENCODE_RUN.contains(&format!(" /{OPENCODE} serve ")));
        assert!(OPENCODE_SERVICE.starts_with(ENABLED));
    }
}
