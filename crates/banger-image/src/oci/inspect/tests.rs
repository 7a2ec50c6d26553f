use super::super::testing::{Item, file, layer, link, symlink};
use super::super::{Digest, Layer, Limits, Root};
use super::*;
use banger_exec::Cancel;

fn facts_of(layers: &[&[Item]]) -> Facts {
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<_> = layers
        .iter()
        .enumerate()
        .map(|(number, items)| {
            let (bytes, path) = (layer(items), dir.path().join(number.to_string()));
            std::fs::write(&path, &bytes).unwrap();
            let digest = Digest::of(&bytes);
            Layer { path, media_type: String::new(), digest, size: 0, diff_id: digest }
        })
        .collect();
    Root::read(&layers, &Limits::default(), &Cancel::default()).unwrap().facts()
}

#[test]
fn what_a_root_has_is_found_by_its_paths() {
    let debian = facts_of(&[
        &[
            symlink("lib", "usr/lib"),
            symlink("sbin", "usr/sbin"),
            symlink("bin", "usr/bin"),
            symlink("etc/os-release", "../usr/lib/os-release"),
            file("usr/lib/os-release", "ID=old\n"),
            file("etc/ssh/sshd_config", "UsePAM yes\n"),
        ],
        &[
            file(
                "usr/lib/os-release",
                "# x\nPRETTY_NAME=\"Debian \\\"12\\\"\"\nID=debian\nHOME_URL='x y'\n\nnonsense",
            ),
            file("lib/systemd/systemd", ""),
            file("usr/sbin/sshd", ""),
            file("bin/ip", ""),
        ],
    ]);
    assert_eq!(debian.system.as_deref(), Some("Debian \"12\""));
    assert_eq!(debian.init, Some(Init::Systemd));
    assert!(debian.sshd && debian.ip);
    assert_eq!(debian.sshd_config.as_deref(), Some("UsePAM yes\n"));

    let alpine = facts_of(&[&[
        file("usr/lib/os-release", "PRETTY_NAME='Alpine\x1b[2J'"),
        file("bin/busybox", ""),
        file("sbin/openrc", ""),
        symlink("sbin/ip", "/bin/busybox"),
        symlink("usr/sbin/sshd", "missing"),
    ]]);
    assert_eq!((alpine.system.as_deref(), alpine.init), (Some("Alpine[2J"), Some(Init::OpenRc)));
    assert_eq!((alpine.ip, alpine.sshd), (true, false));

    let void = facts_of(&[&[file("usr/bin/runit-init", "")]]);
    assert_eq!((void.system, void.init), (None, Some(Init::Runit)));

    let nothing = facts_of(&[&[file("app", ""), symlink("etc/os-release", "os-release")]]);
    assert_eq!((nothing.init, nothing.system, nothing.ip), (None, None, false));
}

#[test]
fn a_file_that_is_gone_says_nothing() {
    let gone = facts_of(&[
        &[file("etc/os-release", "PRETTY_NAME=x"), file("sbin/openrc", "")],
        &[file("etc/.wh.os-release", ""), file("sbin/.wh.openrc", "")],
    ]);
    assert_eq!((gone.system, gone.init), (None, None));
}

#[test]
fn what_starts_a_system_is_its_first_program_or_below_it() {
    let both = [file("usr/lib/systemd/systemd", ""), file("sbin/openrc", "")];
    let init = |more: &[Item]| facts_of(&[&both, more]).init;
    assert_eq!(init(&[symlink("sbin/init", "/usr/lib/systemd/systemd")]), Some(Init::Systemd));
    assert_eq!(
        init(&[file("bin/busybox", ""), symlink("sbin/init", "/bin/busybox")]),
        Some(Init::OpenRc)
    );
    assert_eq!(init(&[]), Some(Init::Systemd));
    let other = facts_of(&[&[both[0].clone(), file("sbin/init", "")]]);
    // It may be a script that starts it.
    assert_eq!(other.init, Some(Init::Systemd));
}

#[test]
fn a_configuration_of_sshd_is_found_through_links() {
    let config = |items: &[Item]| facts_of(&[items]).sshd_config;
    assert_eq!(config(&[]).as_deref(), Some(""));
    let vendor = file("usr/etc/ssh/sshd_config", "V");
    assert_eq!(config(std::slice::from_ref(&vendor)).as_deref(), Some("V"));
    let linked = [vendor, symlink("etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config")];
    assert_eq!(config(&linked).as_deref(), Some("V"));
    let hard = [file("a/sshd_config", "H"), link("etc/ssh/sshd_config", "a/sshd_config")];
    assert_eq!(config(&hard).as_deref(), Some("H"));
    assert_eq!(config(&[file("etc/ssh/sshd_config", vec![b'#'; 70_000])]), None);
}
