//! What `/root` of a new VM starts with.

use crate::harness::{As, Sandbox};

/// The stages that `banger` printed.
fn stages(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn new_vms_start_with_the_home_folder_as_it_is_then() {
    // Only the owners of an ordinary user's files have to change.
    let who = if rustix::process::geteuid().is_root() { As::User } else { As::Me };
    let banger = Sandbox::new(who);
    let create = |name: &str, more: &[&str]| {
        let args = ["vm", "create", name, "--no-opencode", "--network", "none"];
        let ran = banger.run(&[&args, more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    banger.write_home(".bashrc", "export GREETING=hello\n", 0o600);
    banger.write_home(".config/opencode/opencode.json", "{\"theme\": \"system\"}\n", 0o644);

    let said = create("one", &["--wait", "ssh"]);
    assert_eq!(stages(&said)[..2], ["seed", "disks"]);
    insta::assert_snapshot!(banger.ok(&["vm", "ssh", "one", "--", "cd; stat -c '%n %a %U:%G' . .bashrc .config/opencode/opencode.json; \
         cat .config/opencode/opencode.json; echo $GREETING"]), @r#"
    . 700 root:root
    .bashrc 600 root:root
    .config/opencode/opencode.json 644 root:root
    {"theme": "system"}
    hello
    "#);

    banger.write_home(".bashrc", "export GREETING=goodbye\n", 0o600);
    let said = create("two", &["--wait", "ssh"]);
    assert_eq!(stages(&said)[..2], ["seed", "disks"]);
    assert_eq!(banger.ok(&["vm", "ssh", "two", "--", "echo $GREETING"]), "goodbye");
    assert_eq!(banger.ok(&["vm", "ssh", "one", "--", "echo $GREETING"]), "hello");

    assert_eq!(stages(&create("three", &["--no-start"])), ["disks"]);

    // What cannot be is explained, and no VM of it stays.
    let refused = || banger.run(&["vm", "create", "four", "--no-start"]).stderr;
    banger.write_home("large", "", 0o644);
    let large = std::fs::File::options().write(true).open(banger.home().join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    insta::assert_snapshot!(refused().replace(banger.home().to_str().unwrap(), "HOME"), @r"
    error: the home of the VM could not be made: HOME holds more than 128 MiB
    hint: what is in it is copied to /root of each new VM: keep only small files in it
    ");
    assert_eq!(banger.run(&["vm", "show", "four"]).code, 3);
}
