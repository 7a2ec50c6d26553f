//! The scripts of packages, which wait in the root for a boot of the image's own.

use std::borrow::Cow;

use banger_core::guest::PROVISION_PATH;
use banger_core::ssh::quote;

use crate::apk::installed::Installed;
use crate::apk::package::{File, Script};
use crate::archive::{Archive, Item};
use crate::build::BuildError;
use crate::signed::provision;

/// Where the scripts lie, and the list of them.
const FOLDER: &str = "usr/lib/banger/provision.d";

/// Runs the scripts of all packages, in the order of a list and as apk does (apk-package(5),
/// "scripts"): in `/`, with the version as argument, or, for a trigger, the folders that are there of
/// those that it is about. Then it removes them. It fails if one of them did, and says which.
const PROVISION: &str = r#"# Alpine's root has an empty password. With '!' sshd would let nobody in without PAM.
sed -i 's/^root::/root:*:/' /etc/shadow || exit 1
folder=/usr/lib/banger/provision.d
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
    content: Cow<'a, [u8]>,
}

/// A script that gives files to who has the names that the package says; as in apk, those that
/// nobody has leave the numbers.
fn owners(files: &[File]) -> Option<String> {
    let mut script = String::new();
    for File { path, user, group, mode, .. } in files {
        let Ok(path) = std::str::from_utf8(path) else { continue };
        let path = quote(&format!("/{path}"));
        let lines = [("chown", user), ("chgrp", group)]
            .into_iter()
            .filter_map(|(command, name)| Some((command, name.as_ref()?)));
        let before = script.len();
        script.extend(lines.map(|(command, name)| format!("{command} -h {name} {path}\n")));
        // The kernel takes these away from who is given a file.
        if script.len() > before && mode & 0o6000 != 0 {
            script.push_str(&format!("chmod {mode:o} {path}\n"));
        }
    }
    (!script.is_empty()).then(|| format!("#!/bin/sh\nexec 2>/dev/null\n{script}exit 0\n"))
}

/// What apk would run for an installation, in its order: the triggers last.
fn steps<'a>(installed: &[Installed<'a>]) -> Vec<Step<'a>> {
    let (mut steps, mut triggers) = (Vec::new(), Vec::new());
    for (n, Installed { record, package }) in installed.iter().enumerate() {
        let Some(package) = package else { continue };
        let step = |what: &str, arguments: &str, content| Step {
            name: format!("{n:03}-{}-{}.{what}", record.name, record.version),
            arguments: arguments.to_owned(),
            content,
        };
        let version = record.version.to_string();
        let script = |script: Script, arguments: &str| {
            let content = package.scripts.get(&script)?;
            Some(step(script.as_str(), arguments, Cow::Borrowed(&**content)))
        };
        steps.extend(script(Script::PreInstall, &version));
        // apk unpacks when that has made the users.
        let owners = owners(&package.files);
        steps.extend(owners.map(|owners| step("owners", &version, Cow::Owned(owners.into()))));
        steps.extend(script(Script::PostInstall, &version));
        triggers.extend(script(Script::Trigger, &package.info.triggers.join(" ")));
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
        archive.add(&Item::File { path, mode: 0o755, content: &content })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::package::{Kind, Package};
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
        let file = |path: &str, user: Option<&str>, mode| File {
            path: path.into(),
            kind: Kind::Other,
            uid: 100,
            gid: 101,
            user: user.map(str::to_owned),
            group: Some("b".to_owned()),
            mode,
            sha1: None,
            xattrs: None,
        };
        let records = ["P:a\nV:1-r0", "P:virtual\nV:0", "P:b-c\nV:2_git3-r1"].map(record);
        let a =
            package(&[Script::Trigger, Script::PostInstall, Script::PostUpgrade], "/bin /usr/*");
        let mut b = package(&[Script::PreInstall, Script::PostInstall, Script::PreDeinstall], "");
        b.files = vec![file("var/b's", Some("b"), 0o755), file("usr/bin/b", None, 0o2755)];
        let packages = [Some(&a), None, Some(&b)];
        let installed: Vec<_> = records
            .iter()
            .zip(packages)
            .map(|(record, package)| Installed { record, package })
            .collect();
        let list = steps(&installed);
        let owners = list.iter().find(|step| step.name.ends_with(".owners")).unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&owners.content), @r"
        #!/bin/sh
        exec 2>/dev/null
        chown -h b '/var/b'\''s'
        chgrp -h b '/var/b'\''s'
        chgrp -h b /usr/bin/b
        chmod 2755 /usr/bin/b
        exit 0
        ");
        let list: Vec<_> = list.iter().map(|s| format!("{} {}", s.name, s.arguments)).collect();
        insta::assert_snapshot!(list.join("\n"), @"
        000-a-1-r0.post-install 1-r0
        002-b-c-2_git3-r1.pre-install 2_git3-r1
        002-b-c-2_git3-r1.owners 2_git3-r1
        002-b-c-2_git3-r1.post-install 2_git3-r1
        000-a-1-r0.trigger /bin /usr/*
        ");
        assert!(PROVISION.contains(&format!("folder=/{FOLDER}\n")));
    }
}
