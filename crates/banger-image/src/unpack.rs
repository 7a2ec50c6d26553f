//! From a tar file to a tree, with the owners that it names.

use std::path::Path;
use std::time::Duration;

use banger_exec::{ExecError, Tool};

use crate::build::{BuildEnv, BuildError};
use crate::namespace::Namespace;

const TIMEOUT: Duration = Duration::from_secs(1800);

/// Unpacks a tar file over what is in `tree`, but for paths that match `left_out`: patterns of
/// tar(1), anchored.
///
/// # Errors
/// tar fails, or was cancelled.
pub(crate) fn unpack(
    env: &BuildEnv<'_>,
    namespace: Namespace,
    archive: &Path,
    tree: &Path,
    left_out: &[&str],
) -> Result<(), BuildError> {
    let tar = namespace
        .command(Tool::Tar)
        .args(["--extract", "--same-permissions", "--same-owner", "--numeric-owner"])
        // All that a file system takes from whoever is root only in a namespace.
        .args(["--xattrs", "--xattrs-include=security.capability", "--xattrs-include=user.*"])
        // Files may come after all folders, whose times they would change.
        .args(["--delay-directory-restore", "--anchored"])
        .args(left_out.iter().map(|path| format!("--exclude={path}")))
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(tree);
    match env.runner.capture(&tar.cancel(&env.cancel).timeout(TIMEOUT)) {
        Err(ExecError::Failed { stderr, .. })
            if namespace == Namespace::User && stderr.contains("Cannot change ownership") =>
        {
            let line = stderr.lines().find(|line| line.contains("ownership")).unwrap_or_default();
            Err(BuildError::Owners(line.trim().to_owned()))
        }
        result => Ok(result.map(drop)?),
    }
}
