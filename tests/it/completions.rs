//! What the shell is told when a person presses Tab.

use crate::harness::{As, Sandbox};

#[test]
fn shells_are_offered_the_names_of_vms_and_images() {
    let mut banger = Sandbox::new(As::Me);
    for (shell, sign) in [
        ("bash", "BANGER_COMPLETE=\"bash\""),
        ("zsh", "#compdef banger"),
        ("fish", "BANGER_COMPLETE=fish"),
        ("elvish", "BANGER_COMPLETE=\"elvish\""),
    ] {
        let script = banger.ok(&["completions", shell]);
        assert!(script.contains(sign), "{shell}: {script}");
    }

    // A daemon is not started for it.
    banger.set("BANGER_COMPLETE", "fish");
    let offered = |banger: &Sandbox, words: &[&str]| {
        let words = [&["--", "banger"], words].concat();
        let lines = banger.ok(&words);
        lines.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!offered(&banger, &["vm", "show", ""]).contains(&"dev".to_owned()));
    assert!(!banger.socket().exists());

    banger.unset("BANGER_COMPLETE");
    banger.ok(&["vm", "create", "dev", "--no-start"]);
    banger.ok(&["vm", "create", "other", "--no-start"]);
    banger.set("BANGER_COMPLETE", "fish");
    for command in ["show", "start", "stop", "delete", "ssh", "logs", "ports", "rename"] {
        let names = offered(&banger, &["vm", command, ""]);
        assert!(names.contains(&"dev".to_owned()), "{command}: {names:?}");
        assert!(names.contains(&"other".to_owned()), "{command}: {names:?}");
    }
    let of = offered(&banger, &["vm", "show", "de"]);
    assert_eq!(of, ["dev"]);
    assert_eq!(offered(&banger, &["image", "show", "d"]), ["debian"]);
    assert!(offered(&banger, &["vm", ""]).contains(&"create".to_owned()));
    banger.unset("BANGER_COMPLETE");
}
