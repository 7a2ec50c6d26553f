//! What is measured is there, and nothing of the measuring stays.

use crate::harness::{As, Sandbox};

#[test]
fn starts_are_measured_against_boots_by_hand() {
    let banger = Sandbox::new(As::Me);
    let report = banger.json(&["bench", "start", "--runs", "1"]);
    let stages = report["waterfall"].as_array().unwrap();
    let stages: Vec<_> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["prepare", "boot", "agent", "ssh"]);
    let median = |what: &str| {
        let value = what.split('.').fold(&report, |value, key| &value[key])["median"].as_f64();
        value.unwrap_or_else(|| panic!("no {what}: {report}"))
    };
    let (own, whole) = (median("own_share_ms.start"), median("total_ms"));
    assert!(0.0 < own && own < whole, "{own} of {whole}");
    let of_both = median("time_to_ssh_ms.banger") / median("time_to_ssh_ms.bare");
    assert!((of_both - median("ssh_ratio_to_bare")).abs() < 0.01, "{report}");
    assert!(median("kill_and_delete_ms") > 0.0);
    assert_eq!(report["machine"]["kvm"], banger.json(&["daemon", "status"])["kvm"]);
    assert_eq!(banger.leftovers(), Vec::<String>::new());
}

#[test]
fn creates_and_lists_are_measured_and_ended_by_a_signal_without_a_trace() {
    let banger = Sandbox::new(As::Me);
    let report = banger.json(&["bench", "create", "--runs", "1"]);
    for share in ["create", "start", "create_and_start"] {
        assert!(report["own_share_ms"][share]["median"].as_f64().unwrap() > 0.0, "{report}");
    }
    banger.ok(&["vm", "create", "mine", "--no-start"]);
    let list = ["bench", "list", "--runs", "2", "--rest", "1", "--records", "3", "--records", "2"];
    let report = banger.json(&list);
    for records in ["2", "3"] {
        assert_eq!(report["list_ms"][records]["runs"], 2, "{report}");
    }
    assert!(report["idle"]["rss_bytes"].as_u64().unwrap() > 1 << 20, "{report}");
    let few = banger.run(&["bench", "list", "--records", "0"]);
    assert_eq!(few.code, 1);
    insta::assert_snapshot!(few.stderr, @r"
    error: there are 1 VMs already, more than 0
    hint: measure with more --records
    ");

    let bench = banger.start(&["bench", "start"]);
    let vms = || banger.ok(&["vm", "list"]);
    banger.until("it has made a VM", || vms().contains("bench-"));
    banger.interrupt(bench);
    let stat = || std::fs::read_to_string(format!("/proc/{bench}/stat")).unwrap_or_default();
    // Ours, so it stays a zombie.
    banger.until("it has ended", || stat().contains(") Z "));
    assert!(vms().contains("mine") && !vms().contains("bench-"), "{}", vms());
    let run = banger.socket().parent().unwrap().to_owned();
    let left = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("bench-")));
}
