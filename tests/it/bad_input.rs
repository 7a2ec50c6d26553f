//! What people mistype: each is refused with what it should be, and nothing is made.

use crate::harness::{As, Sandbox};

fn said(banger: &Sandbox, args: &[&str]) -> String {
    // Of clap's errors the first line tells.
    let said = banger.fails(args);
    said.lines().next().unwrap().to_owned()
}

#[test]
fn names_and_sizes_that_cannot_be_are_refused() {
    let banger = Sandbox::new(As::Me);
    let long = "n".repeat(300);
    let mut lines = Vec::new();
    for name in ["a/b", "../../etc", "a b", "", "Dev", "a--b", "dev-", "ä", "a\nb", &long] {
        lines.push(said(&banger, &["vm", "create", name, "--no-start"]));
        lines.push(said(&banger, &["image", "build", "debian", "--name", name]));
    }
    for args in [
        &["vm", "create", "-dev"][..],
        &["vm", "create", "--", "-dev"],
        &["vm", "create", "--memory", "0"],
        &["vm", "create", "--memory", "10T"],
        &["vm", "create", "--memory", "-1"],
        &["vm", "create", "--memory", "lots"],
        &["vm", "create", "--memory", "99999999999999999999"],
        &["vm", "create", "--vcpus", "0"],
        &["vm", "create", "--vcpus", "1000"],
        &["vm", "create", "--vcpus", "99999999999"],
        &["vm", "create", "--vcpus", "-1"],
        &["vm", "create", "--disk", "1"],
        &["vm", "create", "--disk", "100T"],
        &["vm", "create", "--image", "../debian"],
        &["vm", "show", "a/b"],
        &["vm", "delete", "--yes", "a b"],
        &["vm", "start", "%2e%2e"],
        &["vm", "stop", ""],
        &["vm", "show", &long],
        &["image", "delete", "../../state"],
        &["image", "build", "debian", "--name", "other", "--size", "1"],
        &["image", "build", "debian", "--name", "other", "--suite", "../x"],
        &["image", "build", "debian", "--name", "other", "--package", "a;b"],
    ] {
        lines.push(said(&banger, args));
    }
    let lines = lines.join("\n").replace(&long, "nnn…");
    insta::assert_snapshot!(lines, @r"
    2 error: invalid value 'a/b' for '[NAME]': 'a/b' is not a valid name: use only letters, digits and '-'
    2 error: invalid value 'a/b' for '--name <NAME>': 'a/b' is not a valid name: use only letters, digits and '-'
    2 error: invalid value '../../etc' for '[NAME]': '../../etc' is not a valid name: use only letters, digits and '-'
    2 error: invalid value '../../etc' for '--name <NAME>': '../../etc' is not a valid name: use only letters, digits and '-'
    2 error: invalid value 'a b' for '[NAME]': 'a b' is not a valid name: use only letters, digits and '-'
    2 error: invalid value 'a b' for '--name <NAME>': 'a b' is not a valid name: use only letters, digits and '-'
    2 error: invalid value '' for '[NAME]': '' is not a valid name: it is empty
    2 error: invalid value '' for '--name <NAME>': '' is not a valid name: it is empty
    2 error: invalid value 'Dev' for '[NAME]': 'Dev' is not a valid name: use lowercase letters only
    2 error: invalid value 'Dev' for '--name <NAME>': 'Dev' is not a valid name: use lowercase letters only
    2 error: invalid value 'a--b' for '[NAME]': 'a--b' is not a valid name: it must not contain '--'
    2 error: invalid value 'a--b' for '--name <NAME>': 'a--b' is not a valid name: it must not contain '--'
    2 error: invalid value 'dev-' for '[NAME]': 'dev-' is not a valid name: it must not start or end with '-'
    2 error: invalid value 'dev-' for '--name <NAME>': 'dev-' is not a valid name: it must not start or end with '-'
    2 error: invalid value 'ä' for '[NAME]': 'ä' is not a valid name: use only letters, digits and '-'
    2 error: invalid value 'ä' for '--name <NAME>': 'ä' is not a valid name: use only letters, digits and '-'
    2 error: invalid value 'a
    2 error: invalid value 'a
    2 error: invalid value 'nnn…' for '[NAME]': 'nnn…' is not a valid name: it is longer than 40 characters
    2 error: invalid value 'nnn…' for '--name <NAME>': 'nnn…' is not a valid name: it is longer than 40 characters
    2 error: unexpected argument '-d' found
    2 error: invalid value '-dev' for '[NAME]': '-dev' is not a valid name: it must not start or end with '-'
    2 error: 0 B of memory is not possible: choose 256 MiB to 1 TiB
    2 error: 10 TiB of memory is not possible: choose 256 MiB to 1 TiB
    2 error: unexpected argument '-1' found
    2 error: invalid value 'lots' for '--memory <SIZE>': 'lots' is not a size: write a number with K, M, G or T (powers of 1024), such as 512M or 8G
    2 error: invalid value '99999999999999999999' for '--memory <SIZE>': '99999999999999999999' is not a size: write a number with K, M, G or T (powers of 1024), such as 512M or 8G
    2 error: 0 vcpus is not possible: choose 1 to 32
    2 error: 1000 vcpus is not possible: choose 1 to 32
    2 error: invalid value '99999999999' for '--vcpus <N>': 99999999999 is not in 0..=4294967295
    2 error: unexpected argument '-1' found
    2 error: a work disk of 1 B is not possible: choose 256 MiB to 64 TiB
    2 error: a work disk of 100 TiB is not possible: choose 256 MiB to 64 TiB
    2 error: invalid value '../debian' for '--image <IMAGE>': neither a name nor an id: those are of lowercase letters, digits and '-'
    2 error: invalid value 'a/b' for '<VM>': neither a name nor an id: those are of lowercase letters, digits and '-'
    2 error: invalid value 'a b' for '<VMS>...': neither a name nor an id: those are of lowercase letters, digits and '-'
    2 error: invalid value '%2e%2e' for '<VM>': neither a name nor an id: those are of lowercase letters, digits and '-'
    2 error: invalid value '' for '<VMS>...': neither a name nor an id: those are of lowercase letters, digits and '-'
    3 error: there is no VM 'nnn…'
    2 error: invalid value '../../state' for '<IMAGE>': neither a name nor an id: those are of lowercase letters, digits and '-'
    2 error: a root file system of 1 B is not possible: choose 512 MiB to 4 TiB
    1 error: the image could not be made: '../x' is not a suite: expected a name such as bookworm or trixie
    1 error: the image could not be made: 'a;b' is not a package: expected a name as apt knows it
    ");
    assert_eq!(banger.json(&["vm", "list"]).as_array().unwrap().len(), 0);
    assert_eq!(banger.json(&["image", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(banger.leftovers(), Vec::<String>::new());

    // Twice the same: taken, or done once.
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    let taken = said(&banger, &["vm", "create", "dev", "--no-start"]);
    assert_eq!(taken, "4 error: the name 'dev' is taken");
    banger.ok(&["vm", "create", "other", "--no-start"]);
    let taken = said(&banger, &["vm", "rename", "other", "dev"]);
    assert_eq!(taken, "4 error: the name 'dev' is taken");
    assert!(said(&banger, &["vm", "show", "DEV"]).contains("lowercase letters"));
    banger.ok(&["vm", "stop", "dev", "dev"]);
    assert_eq!(
        banger.ok(&["vm", "delete", "--yes", "dev", "dev", "other"]),
        "dev is deleted\nother is deleted"
    );
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

/// A file of settings is input too.
#[test]
fn a_configuration_that_cannot_be_read_is_told_with_its_place() {
    let banger = Sandbox::bare(As::Me);
    for text in ["memory = ", "memory = 1", "colour = \"red\"", "vcpus = \"two\"", "\u{0}"] {
        banger.configure(text);
        let said = banger.fails(&["vm", "list"]);
        assert!(
            said.starts_with("5 error: the daemon ended at once:\nthe configuration "),
            "{said}"
        );
        assert!(said.contains("\nhint: correct /config/banger/config.toml"), "{said}");
    }
    banger.configure("vcpus = 1");
    banger.ok(&["vm", "list"]);
}
