//! The scripts of packages, which wait in the root for a boot of the image's own.

use banger_core::guest::PROVISION_PATH;

use crate::apk::installed::Installed;
use crate::apk::package::Script;
use crate::archive::{Archive, Item};
use crate::build::BuildError;
use crate::signed::provision;

/// Where the scripts lie, and the list of them.
const FOLDER: &str = "usr/lib/banger/provision.d";

/// Runs the scripts of all packages, in the order of a list and as apk does (apk-package(5),
/// "scripts"): in `/`, with the version as argument, or, for a trigger, the folders that are there of
/// those that it is about. Then it removes them. It fails if one of them did, and says which.
const PROVISION: &str = r#"folder=/usr/lib/banger/provision.d
failed=
while read -r script arguments; do
    set --
    for argument in $arguments; do
        case "$argument" in
            /*) [ -d "$argument" ] || continue ;;
        esac
        set -- "$@" "$argument"
    done
    [ $# -gt 0 ] || continue
    "$folder/$script" "$@" </dev/null || failed="$failed $script"
done <"$folder/list"
rm -rf "$folder"
[ -z "$failed" ] || { echo "scripts of packages failed:$failed"; exit 1; }
"#;

/// A script to run.
struct Step<'a> {
    /// Its file below [`FOLDER`].
    name: String,
    /// What comes behind it in the list.
    arguments: String,
    content: &'a [u8],
}

/// What apk would run for an installation, in its order: the triggers last.
fn steps<'a>(installed: &[Installed<'a>]) -> Vec<Step<'a>> {
    let (mut steps, mut triggers) = (Vec::new(), Vec::new());
    for (n, Installed { record, package }) in installed.iter().enumerate() {
        let Some(package) = package else { continue };
        let name = |script: Script| {
            format!("{n:03}-{}-{}.{}", record.name, record.version, script.as_str())
        };
        for script in [Script::PreInstall, Script::PostInstall] {
            if let Some(content) = package.scripts.get(&script) {
                let (name, arguments) = (name(script), record.version.to_string());
                steps.push(Step { name, arguments, content });
            }
        }
        if let Some(content) = package.scripts.get(&Script::Trigger) {
            let (name, arguments) = (name(Script::Trigger), package.info.triggers.join(" "));
            triggers.push(Step { name, arguments, content });
        }
    }
    steps.append(&mut triggers);
    steps
}

/// Adds the scripts, and what runs them.
pub(super) fn add(archive: &mut Archive, installed: &[Installed<'_>]) -> Result<(), BuildError> {
    let steps = steps(installed);
    let list: String =
        steps.iter().map(|step| format!("{} {}\n", step.name, step.arguments)).collect();
    let provision = provision(PROVISION);
    let content = provision.as_bytes();
    archive.add(&Item::File { path: PROVISION_PATH, mode: 0o755, content })?;
    let path = &format!("{FOLDER}/list");
    archive.add(&Item::File { path, mode: 0o644, content: list.as_bytes() })?;
    for Step { name, content, .. } in steps {
        let path = &format!("{FOLDER}/{name}");
        archive.add(&Item::File { path, mode: 0o755, content })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::package::Package;
    use crate::apk::pkginfo::PkgInfo;
    use crate::apk::testing::record;

    #[test]
    fn scripts_are_in_the_order_of_apk() {
        let package = |scripts: &[Script], triggers: &str| {
            let hash = "0".repeat(64);
            let info =
                format!("pkgname = x\npkgver = 1\ndatahash = {hash}\ntriggers = {triggers}\n");
            Package {
                info: PkgInfo::parse(info.as_bytes()).unwrap(),
                scripts: scripts.iter().map(|script| (*script, b"#!".to_vec())).collect(),
                files: Vec::new(),
            }
        };
        let records = ["P:a\nV:1-r0", "P:virtual\nV:0", "P:b-c\nV:2_git3-r1"].map(record);
        let a =
            package(&[Script::Trigger, Script::PostInstall, Script::PostUpgrade], "/bin /usr/*");
        let b = package(&[Script::PreInstall, Script::PostInstall, Script::PreDeinstall], "");
        let packages = [Some(&a), None, Some(&b)];
        let installed: Vec<_> = records
            .iter()
            .zip(packages)
            .map(|(record, package)| Installed { record, package })
            .collect();
        let list = steps(&installed);
        let list: Vec<_> = list.iter().map(|s| format!("{} {}", s.name, s.arguments)).collect();
        insta::assert_snapshot!(list.join("\n"), @"
        000-a-1-r0.post-install 1-r0
        002-b-c-2_git3-r1.pre-install 2_git3-r1
        002-b-c-2_git3-r1.post-install 2_git3-r1
        000-a-1-r0.trigger /bin /usr/*
        ");
        assert!(PROVISION.contains(&format!("folder=/{FOLDER}\n")));
    }
}
