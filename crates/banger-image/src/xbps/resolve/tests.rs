use super::*;
use crate::xbps::pkgdb::Database;
use crate::xbps::testing::{Made, read, text};
use proptest::prelude::*;

fn needs(pkgver: &str, patterns: &[&str]) -> Made {
    Made::new(pkgver).list("run_depends", patterns)
}

fn installed(made: &[Made]) -> Vec<Installed> {
    let mut database = Database::default();
    for made in made {
        database.register(&made.unpack(), false);
    }
    database.installed()
}

fn choose(repository: &[Made], there: &[Made], wanted: &[&str]) -> Result<String, ResolveError> {
    let data = read(repository);
    let chosen = resolve(&[&data], &installed(there), "x86_64", wanted)?;
    let one = |one: &Chosen<'_>| {
        format!("{}{}", one.package.pkgver, if one.automatic { " for others" } else { "" })
    };
    Ok(chosen.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[test]
fn what_is_needed_comes_before_what_needs_it() {
    let repository = [
        needs("app-1_1", &["lib>=2", "tool-1_1"]),
        needs("lib-2.1_1", &["libc>=0"]),
        Made::new("libc-9_1"),
        needs("tool-1_1", &["lib>=1<3", "libc-[0-9]*"]),
        Made::new("other-1_1"),
    ];
    insta::assert_snapshot!(choose(&repository, &[], &["app"]).unwrap(), @"libc-9_1 for others, lib-2.1_1 for others, tool-1_1 for others, app-1_1");
    insta::assert_snapshot!(choose(&repository, &[], &["app", "lib>=2", "libc-9_1"]).unwrap(), @"libc-9_1, lib-2.1_1, tool-1_1 for others, app-1_1");
}

#[test]
fn packages_may_need_each_other_and_themselves() {
    let repository = [needs("a-1_1", &["b>=0", "a>=0"]), needs("b-1_1", &["a>=0"])];
    insta::assert_snapshot!(choose(&repository, &[], &["a"]).unwrap(), @"b-1_1 for others, a-1_1");
}

#[test]
fn virtual_packages_are_taken_where_no_real_one_is() {
    let repository = [
        needs("app-1_1", &["awk>=1", "vi"]),
        Made::new("gawk-5_1").list("provides", &["awk-2"]),
        Made::new("nawk-5_1").list("provides", &["awk-1_1"]),
        Made::new("oawk-5_1").list("provides", &["awk-0_1"]),
        needs("vim-9_1", &["vi>=0"]).list("provides", &["vi-9_1"]),
    ];
    insta::assert_snapshot!(choose(&repository, &[], &["app"]).unwrap(), @"gawk-5_1 for others, vim-9_1 for others, app-1_1");
    insta::assert_snapshot!(choose(&repository, &[], &["nawk", "app"]).unwrap(), @"nawk-5_1, vim-9_1 for others, app-1_1");
    let there = [Made::new("mawk-1_1").list("provides", &["awk-3_1"]), repository[4].clone()];
    insta::assert_snapshot!(choose(&repository, &there, &["app"]).unwrap(), @"app-1_1");
}

#[test]
fn what_is_installed_stays_unless_it_is_wanted_or_too_old() {
    let repository =
        [needs("app-1_1", &["lib>=2", "libc>=1"]), Made::new("lib-3_1"), Made::new("libc-3_1")];
    let there = [Made::new("lib-1_1"), Made::new("libc-2_1"), Made::new("mine-1_1")];
    insta::assert_snapshot!(choose(&repository, &there, &["app"]).unwrap(), @"lib-3_1 for others, app-1_1");
    insta::assert_snapshot!(choose(&repository, &there, &["app", "lib", "libc", "mine"]).unwrap(), @"lib-3_1, app-1_1, libc-3_1");
    let newest = [Made::new("app-2_1")];
    assert_eq!(choose(&repository, &newest, &["app"]).unwrap(), "");
    let back = [Made::new("app-1_2").list("reverts", &["2_1"])];
    assert_eq!(choose(&back, &newest, &["app"]).unwrap(), "app-1_2");
}

#[test]
fn the_first_repository_that_has_it_is_taken() {
    let first = read(&[Made::new("a-1_1"), Made::new("v-1_1").list("provides", &["b-1_1"])]);
    let mut other = Made::new("c-1_1");
    other.props.insert("architecture".to_owned(), text("i686"));
    let second = read(&[needs("b-2_1", &["a>=2"]), Made::new("a-2_1"), other]);
    let chosen = resolve(&[&first, &second], &[], "x86_64", &["b"]).unwrap();
    let found: Vec<_> =
        chosen.iter().map(|one| (one.package.pkgver.as_str(), one.repository)).collect();
    assert_eq!(found, [("a-2_1", 1), ("b-2_1", 1)]);
    let error = resolve(&[&first, &second], &[], "x86_64", &["c"]).unwrap_err();
    assert_eq!(error, ResolveError::NotFound("c".to_owned()));
}

#[test]
fn what_cannot_be_is_told_with_the_way_there() {
    let deep: Vec<_> =
        (0..600).map(|n| needs(&format!("d{n}-1_1"), &[&format!("d{}>=0", n + 1)])).collect();
    let a = || needs("a-1_1", &["b>=0"]);
    let told: Vec<_> = [
        choose(&[], &[], &["a"]),
        choose(&[a()], &[], &["a"]),
        choose(&[a(), needs("b-1_1", &["c>=2"]), Made::new("c-1_1")], &[], &["a"]),
        choose(&[a(), Made::new("b-1_1").list("conflicts", &["a<2"])], &[], &["a"]),
        choose(
            &[a(), Made::new("b-1_1").list("conflicts", &["x>=0"])],
            &[Made::new("x-1_1")],
            &["a"],
        ),
        choose(
            &[a(), Made::new("b-1_1")],
            &[Made::new("x-1_1").list("conflicts", &["b-[0-9]*"])],
            &["a"],
        ),
        choose(
            &[a(), Made::new("b-1_1").list("conflicts", &["v>=0"])],
            &[Made::new("x-1_1").list("provides", &["v-1_1"])],
            &["a"],
        ),
        choose(
            &[a(), Made::new("b-1_1").list("replaces", &["x>=0"])],
            &[Made::new("x-1_1")],
            &["a"],
        ),
        choose(&[Made::new("a-1_1").list("shlib-requires", &["libx.so.1"])], &[], &["a"]),
        choose(
            &[Made::new("libx-2_1").list("shlib-provides", &["libx.so.2"])],
            &[
                Made::new("libx-1_1").list("shlib-provides", &["libx.so.1"]),
                Made::new("old-1_1").list("shlib-requires", &["libx.so.1", "none.so"]),
            ],
            &["libx"],
        ),
        choose(&[needs("a-1_1", &["l<2"]), Made::new("l-2_1")], &[Made::new("l-1_1")], &["a", "l"]),
        choose(
            &[Made::new("l-2_1")],
            &[Made::new("l-1_1"), needs("old-1_1", &["l<2", "gone>=0"])],
            &["l"],
        ),
        choose(&deep, &[], &["d0"]),
    ]
    .map(|result| result.unwrap_err().to_string())
    .into();
    insta::assert_snapshot!(told.join("\n"), @r"
    no repository has a package 'a'
    there is no 'b>=0', which is needed: a-1_1
    there is no 'c>=2', only c-1_1, which is needed: a-1_1 → b-1_1
    b-1_1 cannot be installed beside a-1_1: a-1_1 → b-1_1
    b-1_1 cannot be installed beside x-1_1: a-1_1 → b-1_1
    x-1_1 cannot be installed beside b-1_1: a-1_1 → b-1_1
    b-1_1 cannot be installed beside x-1_1: a-1_1 → b-1_1
    b-1_1 replaces x-1_1, which would have to go: a-1_1 → b-1_1
    a-1_1 needs the library 'libx.so.1', which no package would have: the packages are from different times, so update all of them
    old-1_1 needs the library 'libx.so.1', which no package would have: the packages are from different times, so update all of them
    there is no 'l<2', only l-2_1, which is needed: a-1_1
    there is no 'l<2', only l-2_1, which is needed: old-1_1
    packages need each other more than 512 deep
    ");
}

#[test]
fn a_package_may_replace_and_exclude_itself_and_what_is_not_there() {
    let made = Made::new("a-2_1")
        .list("replaces", &["a>=0", "b>=0"])
        .list("conflicts", &["v>=0", "c<9"])
        .list("provides", &["v-1_1"])
        .list("shlib-requires", &["liba.so"])
        .list("shlib-provides", &["liba.so"]);
    let there = [Made::new("c-9_1").list("conflicts", &["d>=0"]), Made::new("d-1_1")];
    insta::assert_snapshot!(choose(&[made], &there, &["a"]).unwrap(), @"a-2_1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_choice_is_complete_and_in_order(
        edges in proptest::collection::vec((0..8_usize, 0..8_usize), 0..20),
        wanted in 0..8_usize,
    ) {
        // Only what is later needs what is earlier, so there is an order.
        let made: Vec<_> = (0..8)
            .map(|n| {
                let needed = edges.iter().filter(|(from, to)| *from == n && to < from);
                let needed: Vec<_> = needed.map(|(_, to)| format!("p{to}>=1")).collect();
                needs(&format!("p{n}-1_1"), &needed.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let data = read(&made);
        let wanted = format!("p{wanted}");
        let chosen = resolve(&[&data], &[], "x86_64", &[&wanted]).unwrap();
        let again = resolve(&[&data], &[], "x86_64", &[&wanted]).unwrap();
        prop_assert_eq!(&chosen, &again);
        let names: Vec<_> = chosen.iter().map(|one| one.package.pkgver.name()).collect();
        prop_assert_eq!(names.last(), Some(&&*wanted));
        for (index, one) in chosen.iter().enumerate() {
            for pattern in &one.package.run_depends {
                prop_assert!(names[..index].contains(&asked(pattern)));
            }
        }
    }
}
