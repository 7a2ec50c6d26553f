//! Images built from another, in a VM that nobody sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::harness::{As, Sandbox};

const PLAIN: [&str; 7] =
    ["--no-opencode", "--network", "none", "--memory", "512M", "--wait", "ssh"];

/// A package of one file, in a repository of its own (deb(5), and the format of repositories in
/// Debian's wiki).
fn repository(dir: &Path) {
    let control = "Package: banger-hello\nVersion: 1.0\nArchitecture: all\n\
                   Maintainer: nobody <nobody@example.org>\nDescription: says hello\n";
    let archive = |path: &str, mode, content: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        tar.into_inner().unwrap()
    };
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", archive("./control", 0o644, control)),
        ("data.tar", archive("./usr/bin/banger-hello", 0o755, "#!/bin/sh\necho hello\n")),
    ];
    let mut deb = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let head =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len());
        deb.extend(head.bytes());
        deb.extend(&content);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    let sum: String = Sha256::digest(&deb).iter().map(|byte| format!("{byte:02x}")).collect();
    let index = format!("{control}Filename: ./hello.deb\nSize: {}\nSHA256: {sum}\n\n", deb.len());
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("hello.deb"), deb).unwrap();
    fs::write(dir.join("Packages"), index).unwrap();
}

#[test]
fn a_root_gets_copies_packages_and_what_scripts_make_of_it() {
    let banger = Sandbox::new(As::Me);
    let at = |name: &str| banger.dir().join(name).to_str().unwrap().to_owned();
    repository(&banger.dir().join("repository"));
    fs::write(at("sources"), "deb [trusted=yes] file:/opt/repository ./\n").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/tool"), "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(at("folder/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("tool", at("folder/link")).unwrap();
    fs::create_dir_all(at("private/bin")).unwrap();
    fs::write(at("private/bin/mine"), "").unwrap();
    for folder in ["private", "private/bin"] {
        fs::set_permissions(at(folder), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let script = "#!/bin/bash\nset -e\necho \"in $PWD as $(id -un)\"\nbanger-hello\nbanger-hello > /etc/made\n\
                  echo in-root > /root/kept\n";
    fs::write(at("script"), script).unwrap();

    let build = |name: &str, more: &[&str]| {
        let build = ["image", "build", "--from", "debian", "--memory", "512M", "--name", name];
        banger.run(&[&build, more].concat())
    };
    let run = at("script");
    let copies = [
        format!("{}:/opt/repository", at("repository")),
        format!("{}:/etc/apt/sources.list", at("sources")),
        format!("{}:/opt/with space/folder", at("folder")),
        format!("{}:/usr/local", at("private")),
    ];
    let copies = copies.iter().flat_map(|copy| ["--copy", copy]);
    let rest = ["--package", "banger-hello", "--run", &run, "--size", "5G"];
    let made = build("made", &copies.chain(rest).collect::<Vec<_>>());
    assert_eq!(made.code, 0, "{}", made.stderr);
    for said in ["resize", "Setting up banger-hello (1.0)", "in / as root", "tidy"] {
        assert!(made.stderr.contains(said), "{said}: {}", made.stderr);
    }
    assert_eq!(banger.json(&["vm", "list"]).as_array().unwrap().len(), 0);
    let shown = banger.json(&["image", "show", "made", "--verify"]);
    assert_eq!(shown["parent"]["name"], "debian");
    assert_eq!(shown["rootfs_size"], 5_u64 << 30);
    let id = shown["id"].as_str().unwrap();
    let packages =
        fs::read_to_string(banger.state("images").join(id).join("packages.txt")).unwrap();
    assert!(packages.contains("banger-hello 1.0 all"), "{packages}");

    banger.ok(&[&["vm", "create", "dev", "--image", "made"], &PLAIN[..]].concat());
    let exec = |script: &str| banger.ok(&["vm", "exec", "dev", "--", script]);
    assert_eq!(exec("cat /etc/made; hostname"), "hello\ndev");
    assert_eq!(
        exec("'/opt/with space/folder/link'; stat -c %U:%a '/opt/with space/folder/tool'"),
        "tool\nroot:755"
    );
    assert_eq!(
        exec("df --output=size -B1G / | tail -n 1 | tr -d ' '; ls /opt"),
        "5\nrepository\nwith space"
    );
    let modes = "stat -c %a /usr/local /usr/local/bin; ls /usr/local/bin";
    assert_eq!(exec(modes), "755\n755\nmine\nopencode");
    banger.ok(&["vm", "delete", "--yes", "dev"]);

    // What fails tells why, and leaves nothing but its log.
    fs::write(at("script"), "#!/bin/sh\necho it is broken\nexit 7\n").unwrap();
    let failed = build("broken", &["--run", &at("script")]);
    assert_eq!(failed.code, 1);
    let (_, said) = failed.stderr.split_once("\nerror: ").unwrap();
    insta::assert_snapshot!(said.replace(&at(""), "/"), @r"
    the script /script failed with exit status 7:
    it is broken
    ");
    let none = build("none", &["--package", "no-such-package"]);
    assert!(none.stderr.contains("Unable to locate package no-such-package"), "{}", none.stderr);
    assert!(build("less", &["--size", "1G"]).stderr.contains("cannot shrink"));
    assert_eq!(build("bad", &["--package", "-y"]).code, 2);
    assert_eq!(build("bad", &["--run", "/none"]).code, 2);
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}
