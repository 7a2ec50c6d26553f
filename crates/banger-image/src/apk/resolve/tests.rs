use std::collections::HashSet;

use super::super::testing::record;
use super::*;
use proptest::prelude::*;

/// Packages, each `name version` and more lines of an index with bars in between.
fn index(lines: &[&str]) -> Vec<Record> {
    let one = |line: &&str| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (version, rest) = rest.split_once('|').unwrap_or((rest, ""));
        let rest = rest.replace('|', "\n");
        record(&format!("P:{name}\nV:{version}\n{rest}\n"))
    };
    lines.iter().map(one).collect()
}

fn wanted(wanted: &str) -> Vec<Dependency> {
    wanted.split(' ').map(|name| name.parse().unwrap()).collect()
}

/// What is installed, in its order.
fn solve(packages: &[&str], names: &str) -> String {
    let index = index(packages);
    match resolve(&index, "x86_64", &wanted(names)) {
        Ok(order) => {
            let shown = |n: &usize| format!("{}-{}", index[*n].name, index[*n].version);
            order.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn what_is_needed_comes_first() {
    let packages = [
        "app 1|D:lib so:libc.so.1 cmd:sh",
        "lib 2|D:so:libc.so.1",
        "musl 1.2|p:so:libc.so.1=1",
        "busybox 1|D:musl|p:cmd:sh=1",
        "unused 1",
    ];
    assert_eq!(solve(&packages, "app"), "musl-1.2 lib-2 busybox-1 app-1");
    assert_eq!(solve(&packages, "busybox app"), "musl-1.2 busybox-1 lib-2 app-1");
}

#[test]
fn circles_are_installed_too() {
    assert_eq!(solve(&["a 1|D:b", "b 1|D:c", "c 1|D:a"], "a"), "c-1 b-1 a-1");
    assert_eq!(solve(&["a 1|D:a x|p:x"], "a"), "a-1");
}

#[test]
fn the_best_version_that_fits_is_taken() {
    let packages = ["a 1.9", "a 1.10", "a 2_rc1", "b 1|D:a<2_rc1", "c 1|D:a~1.9", "d 1|A:riscv64"];
    assert_eq!(solve(&packages, "a"), "a-2_rc1");
    assert_eq!(solve(&packages, "b"), "a-1.10 b-1");
    assert_eq!(solve(&packages, "a b"), "a-1.10 b-1");
    assert_eq!(solve(&packages, "a b c"), "a-1.9 b-1 c-1");
    insta::assert_snapshot!(solve(&packages, "a>1.9 c"), @"error: a-2_rc1 cannot be installed: c-1 says 'a~1.9'");
    insta::assert_snapshot!(solve(&packages, "a>3"), @"error: no package provides 'a>3': there is only a-2_rc1, a-1.10, a-1.9");
    insta::assert_snapshot!(solve(&packages, "d"), @"error: no package provides 'd': there is only d-1 for riscv64");
}

#[test]
fn of_equal_packages_the_first_is_taken() {
    let index = index(&["b 1", "a 1|T:first", "a 1|T:second", "a 1|T:third"]);
    assert_eq!(resolve(&index, "x86_64", &wanted("a")), Ok(vec![1]));
}

#[test]
fn what_is_missing_is_named_with_what_needs_it() {
    let packages = ["a 1|D:b", "b 2|D:c", "c 3|D:so:none.so.1"];
    insta::assert_snapshot!(solve(&packages, "a"), @"error: no package provides 'so:none.so.1', needed by c-3, needed by b-2, needed by a-1");
    insta::assert_snapshot!(solve(&packages, "x"), @"error: no package provides 'x'");
}

#[test]
fn packages_that_exclude_each_other_are_not_installed_together() {
    let packages = [
        "a 1|D:!b",
        "b 1",
        "c 1|D:b",
        "d 1|p:name=1",
        "e 1|p:name=2",
        "f 1|D:!b<1",
        "g 1|D:!g|p:g2=1",
        "h 1|D:!x|p:x=1",
    ];
    insta::assert_snapshot!(solve(&packages, "a c"), @"error: b-1, needed by c-1, cannot be installed: a-1 says '!b'");
    insta::assert_snapshot!(solve(&packages, "c a"), @"error: b-1, needed by c-1, cannot be installed: a-1 says '!b'");
    insta::assert_snapshot!(solve(&packages, "d e"), @"error: e-1 cannot be installed: d-1 provides 'name', too");
    insta::assert_snapshot!(solve(&packages, "c !b"), @"error: b-1, needed by c-1, cannot be installed: what is asked for says '!b'");
    assert_eq!(solve(&packages, "b f"), "b-1 f-1");
    assert_eq!(solve(&packages, "name"), "e-1");
    assert_eq!(solve(&packages, "d name"), "d-1");
    // A package may exclude the other providers of what it provides itself.
    assert_eq!(solve(&packages, "h"), "h-1");
}

#[test]
fn a_name_without_version_is_chosen_by_priority() {
    let packages = [
        "dash 1|p:/bin/sh|k:10",
        "busybox 1|p:/bin/sh|k:100",
        "zsh 1|p:/bin/sh",
        "script 1|D:/bin/sh",
        "fan 1|D:script zsh",
    ];
    assert_eq!(solve(&packages, "script"), "busybox-1 script-1");
    assert_eq!(solve(&packages, "script dash"), "dash-1 script-1");
    assert_eq!(solve(&packages, "fan"), "zsh-1 script-1 fan-1");
    let equal = ["p 1|p:name", "q 1|p:name", "q 2|p:name", "r 1|D:name"];
    insta::assert_snapshot!(solve(&equal, "r"), @"error: 'name', needed by r-1, is provided by several packages: ask for one of p, q");
    assert_eq!(solve(&equal, "r q"), "q-2 r-1");
    assert_eq!(solve(&equal[1..], "r"), "q-2 r-1");
    // Several may be there.
    assert_eq!(solve(&equal, "p q name>5"), "p-1 q-2");
}

#[test]
fn a_choice_that_fails_is_taken_back() {
    let packages =
        ["best 2|p:x=2|D:nothing", "good 1|p:x=1|D:y", "y 3|D:!z", "y 2", "z 1", "app 1|D:x z"];
    assert_eq!(solve(&packages, "app"), "y-2 good-1 z-1 app-1");
}

#[test]
fn packages_come_by_themselves() {
    let packages = [
        "a 1",
        "docs 1",
        "a-doc 1|i:a=1 docs",
        "a-doc 0|i:a docs",
        "a-doc-doc 1|i:a-doc|D:late",
        "a-broken 1|i:a|D:missing",
        "a-not 1|i:a !docs",
        "late 1",
    ];
    assert_eq!(solve(&packages, "docs a"), "docs-1 a-1 a-doc-1 late-1 a-doc-doc-1");
    assert_eq!(solve(&packages, "a"), "a-1 a-not-1");
    assert_eq!(solve(&packages, "a docs !a-doc"), "a-1 docs-1");
}

#[test]
fn a_long_chain_is_followed() {
    let lines: Vec<_> = (0..3000).map(|n| format!("p{n} 1|D:p{}", n + 1)).collect();
    let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
    lines.push("p3000 1");
    let index = index(&lines);
    let order = resolve(&index, "x86_64", &wanted("p0")).unwrap();
    assert!(order.iter().copied().eq((0..=3000).rev()));
}

#[test]
fn it_gives_up_where_there_is_no_end() {
    let lines: Vec<_> =
        (0..40).flat_map(|n| (0..4).map(move |v| format!("p{n} {v}|D:!q{n}|p:n{n}={v}"))).collect();
    let mut lines: Vec<_> = lines.iter().map(String::as_str).collect();
    lines.push("q39 1");
    let names: Vec<_> = (0..40).map(|n| format!("n{n}")).collect();
    let result = solve(&lines, &format!("{} q39", names.join(" ")));
    assert!(result.starts_with("error: "), "{result}");
}

fn packages() -> impl Strategy<Value = Vec<Record>> {
    let rule = "!?[a-d]([<>=~][12])?";
    let list = proptest::collection::vec(rule, 0..3);
    let one = ("[a-d]", "[123]", list.clone(), "([a-f](=[12])?)?", list, 0..3);
    let one = one.prop_map(|(name, version, depends, provides, triggers, priority)| {
        let (depends, triggers) = (depends.join(" "), triggers.join(" "));
        record(&format!(
            "P:{name}\nV:{version}\nD:{depends}\np:{provides}\ni:{triggers}\nk:{priority}\n"
        ))
    });
    proptest::collection::vec(one, 0..9)
}

proptest! {
    #[test]
    fn what_is_chosen_fits_together(index in packages(), names in proptest::collection::vec("!?[a-f]([<>=][12])?", 1..3)) {
        let wanted: Vec<Dependency> = names.iter().map(|name| name.parse().unwrap()).collect();
        let result = resolve(&index, "x86_64", &wanted);
        prop_assert_eq!(&result, &resolve(&index, "x86_64", &wanted));
        let Ok(order) = result else { return Ok(()) };
        let chosen: Vec<_> = order.iter().map(|n| &index[*n]).collect();
        let names: HashSet<_> = chosen.iter().map(|record| &record.name).collect();
        prop_assert_eq!(names.len(), chosen.len());
        let rules = chosen.iter().flat_map(|r| r.depends.iter().map(move |d| (Some(*r), d)));
        for (by, rule) in rules.chain(wanted.iter().map(|rule| (None, rule))) {
            let fits = chosen.iter().filter(|record| by != Some(record) || !rule.conflict).flat_map(|record| {
                catalog::names(record).filter(|(name, _)| *name == rule.name)
            }).map(|(_, version)| rule.allows(version));
            let fits: Vec<_> = fits.collect();
            prop_assert!(fits.iter().all(|fits| *fits) && (rule.conflict || !fits.is_empty()), "{} {:?}", rule, order);
        }
    }
}
