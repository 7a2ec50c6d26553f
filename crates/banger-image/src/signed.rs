//! What images of a distribution's signed packages have in common, whoever signs them.

use std::path::PathBuf;

use banger_core::api::BuildStep;
use banger_core::name::Name;
use banger_core::size::Size;

use crate::build::BuildError;

/// An image of Alpine or of Void to build.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// The image's name.
    pub name: Name,
    /// The release: of Alpine as its folder on a mirror is called, of Void the date.
    pub release: String,
    /// A mirror to use instead of the distribution's own, a URL.
    pub mirror: Option<String>,
    /// Files of public keys to trust beyond the distribution's: of Alpine with the names by which a
    /// mirror signs; of Void those of minisign for the release, and those of repositories, in PEM or
    /// as xbps keeps them.
    pub keys: Vec<PathBuf>,
    /// Packages to install beyond those that every image has; of Alpine perhaps with versions:
    /// `curl`, `python3>3.12`.
    pub packages: Vec<String>,
    /// The apparent size of the root file system; none is 4 GiB, or more if there is more in it.
    pub size: Option<Size>,
    /// Whether the image gets the opencode server.
    pub opencode: bool,
    /// When it is made, seconds since 1970-01-01 00:00 UTC.
    pub created_at: u64,
    /// The step to do, if not all of them.
    pub step: Option<BuildStep>,
    /// Where steps leave their part of this image for the next.
    pub parts: PathBuf,
    /// A folder for what later builds of any image are to know.
    pub locks: PathBuf,
}

impl SignedRequest {
    /// The mirror to use, without a slash at its end.
    pub(crate) fn mirror_or<'a>(&'a self, own: &'a str) -> &'a str {
        self.mirror.as_deref().unwrap_or(own).trim_end_matches('/')
    }

    /// Whether a step is to be done.
    pub(crate) fn does(&self, step: BuildStep) -> bool {
        self.step.is_none_or(|only| only == step)
    }

    /// Fails if its mirror can be none.
    pub(crate) fn check_mirror(&self) -> Result<(), BuildError> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let known = ["http://", "https://"].iter().any(|scheme| mirror.starts_with(scheme));
        if known && !mirror.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Ok(());
        }
        refuse("mirror", mirror, "expected a URL of http or https")
    }
}

/// Says what makes no sense in a request.
pub(crate) fn refuse<T>(
    what: &'static str,
    value: &str,
    reason: &'static str,
) -> Result<T, BuildError> {
    Err(BuildError::Request { what, value: value.to_owned(), reason })
}

/// A script that finishes a root in a boot for it alone, in place of the root's init: what packages
/// would run when they are installed. It has the guest's files of a start, and removes itself.
pub(crate) fn provision(body: &str) -> String {
    format!("{PROLOGUE}{body}{EPILOGUE}")
}

const PROLOGUE: &str = r#"#!/bin/sh
# All that is said is told.
exec >&2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
umask 022
cd / || exit 1
# Scripts may want what the system's init makes.
for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    [ -e "/dev/${name%:*}" ] || ln -s "/proc/self/${name#*:}" "/dev/${name%:*}"
done
/usr/lib/banger/bootstrap || exit 1
"#;

const EPILOGUE: &str = "rm -f /usr/lib/banger/provision\n";

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::guest::{BOOTSTRAP_PATH, PROVISION_PATH};

    #[test]
    fn a_script_knows_the_paths_of_the_guest() {
        let script = provision("true\n");
        assert!(script.contains(&format!("\n/{BOOTSTRAP_PATH} || exit 1\ntrue\n")));
        assert!(script.ends_with(&format!("\nrm -f /{PROVISION_PATH}\n")));
    }
}
