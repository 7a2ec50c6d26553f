//! From tar files to a tree, with the owners that they name.

use std::path::{Path, PathBuf};

use super::{Build, contents};
use crate::build::BuildError;
use crate::unpack::unpack;

/// What the packages leave behind that no image needs, or that every guest
/// must have of its own. Device nodes come from devtmpfs, and an ordinary user
/// could not make them.
const LEFT_OUT: &[&str] = &[
    "./boot/*",
    "./dev/*",
    "./etc/hostname",
    "./etc/machine-id",
    "./etc/resolv.conf",
    "./etc/ssh/ssh_host_*",
    "./run/*",
    "./tmp/*",
    "./var/cache/apt/*.bin",
    "./var/cache/debconf/*-old",
    "./var/lib/apt/lists/*",
    "./var/lib/dbus/machine-id",
    "./var/log/*.log",
    "./var/log/apt/*",
];

impl Build<'_> {
    /// Writes banger's own files into a tar file.
    pub(super) fn contents(
        &self,
        agent: &[u8],
        opencode: Option<&Path>,
    ) -> Result<PathBuf, BuildError> {
        let out = self.to.scratch.join("banger.tar");
        contents::write(&out, agent, opencode, self.request.created_at)?;
        Ok(out)
    }

    /// Unpacks tar files over each other.
    pub(super) fn unpack(&self, archives: &[&Path]) -> Result<PathBuf, BuildError> {
        let tree = self.to.scratch.join("root");
        std::fs::create_dir(&tree).map_err(BuildError::io("make the folder", &tree))?;
        for archive in archives {
            unpack(self.to.env, self.to.namespace, archive, &tree, LEFT_OUT)?;
        }
        Ok(tree)
    }
}
