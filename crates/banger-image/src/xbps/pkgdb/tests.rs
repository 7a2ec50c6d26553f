use super::*;
use crate::xbps::testing::{Made, dict, list, text};
use proptest::prelude::*;

/// A database as the root file system of a release has it, in short.
fn released() -> Database {
    let bash = dict([
        ("architecture", text("x86_64")),
        ("automatic-install", Value::Bool(true)),
        ("hold", Value::Bool(true)),
        ("pkgver", text("bash-5.0_1")),
        ("state", text("installed")),
    ]);
    let gone = dict([("pkgver", text("gone-1_1")), ("state", text("config-files"))]);
    let groups = dict([("vi", list(&["nvi"]))]);
    Database {
        dict: dict([
            (alternatives::KEY, Value::Dict(groups)),
            ("bash", Value::Dict(bash)),
            ("gone", Value::Dict(gone)),
        ]),
    }
}

fn names(database: &Database) -> Vec<String> {
    let line = |one: Installed| {
        let state = if one.configured { "" } else { " to be configured" };
        format!("{} {} {}{state}", one.pkgver.name(), one.pkgver.version(), one.architecture)
    };
    database.installed().into_iter().map(line).collect()
}

#[test]
fn a_package_is_registered_as_xbps_does() {
    let made = Made::new("vim-9.1_1")
        .list("run_depends", &["ncurses>=6_1"])
        .list("replaces", &["vim>=0"])
        .alternative("vim", &["vi:/usr/bin/vim"])
        .script("INSTALL", "#!/bin/sh\n")
        .script("REMOVE", "exit\n")
        .file_of("/usr/bin/vim", "x");
    let mut database = Database::default();
    let package = made.package();
    let registered = database.register(&made.unpack(), true);
    let shown = String::from_utf8(database.write()).unwrap();
    let sum = package.checksum.to_string().replace("sha256:", "");
    let size = format!("<integer>{}<", package.size);
    insta::assert_snapshot!(shown.replace(&sum, "SUM").replace(&size, "<integer>SIZE<"), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
    <plist version="1.0">
    <dict>
    	<key>_XBPS_ALTERNATIVES_</key>
    	<dict>
    		<key>vim</key>
    		<array>
    			<string>vim</string>
    		</array>
    	</dict>
    	<key>vim</key>
    	<dict>
    		<key>alternatives</key>
    		<dict>
    			<key>vim</key>
    			<array>
    				<string>vi:/usr/bin/vim</string>
    			</array>
    		</dict>
    		<key>architecture</key>
    		<string>x86_64</string>
    		<key>automatic-install</key>
    		<true/>
    		<key>filename-sha256</key>
    		<string>SUM</string>
    		<key>filename-size</key>
    		<integer>SIZE</integer>
    		<key>install-script</key>
    		<data>IyEvYmluL3NoCg==</data>
    		<key>installed_size</key>
    		<integer>7</integer>
    		<key>metafile-sha256</key>
    		<string>5bb83821eb5f81646921287538d6077b535e802863d78224556ce8f04c344582</string>
    		<key>pkgver</key>
    		<string>vim-9.1_1</string>
    		<key>remove-script</key>
    		<data>ZXhpdAo=</data>
    		<key>run_depends</key>
    		<array>
    			<string>ncurses&gt;=6_1</string>
    		</array>
    		<key>short_desc</key>
    		<string>For tests</string>
    		<key>state</key>
    		<string>unpacked</string>
    	</dict>
    </dict>
    </plist>
    "#);
    assert_eq!(registered.list_name, ".vim-files.plist");
    insta::assert_snapshot!(String::from_utf8(registered.list.unwrap()).unwrap(), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
    <plist version="1.0">
    <dict>
    	<key>files</key>
    	<array>
    		<dict>
    			<key>file</key>
    			<string>/usr/bin/vim</string>
    			<key>sha256</key>
    			<string>2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881</string>
    		</dict>
    	</array>
    </dict>
    </plist>
    "#);
    let link = Link { path: "usr/bin/vi".to_owned(), target: "vim".to_owned() };
    assert_eq!(registered.links, [link]);
}

#[test]
fn an_update_keeps_what_was_said_of_the_package() {
    let mut database = released();
    assert_eq!(names(&database), ["bash 5.0 x86_64"].map(|s| s.replace("5.0", "5.0_1")));
    let made = Made::new("bash-5.2_1");
    let registered = database.register(&made.unpack(), false);
    assert_eq!(names(&database), ["bash 5.2_1 x86_64"]);
    let Value::Dict(record) = &database.dict["bash"] else { panic!() };
    assert_eq!(record["automatic-install"], Value::Bool(true));
    assert_eq!(record["hold"], Value::Bool(true));
    // It has no files, so no list of them.
    assert_eq!(registered.list, None);
    assert!(!record.contains_key("metafile-sha256"));
}

#[test]
fn only_the_first_of_a_group_makes_its_links() {
    let mut database = released();
    let made = Made::new("vim-9_1").alternative("vi", &["vi:/usr/bin/vim"]);
    assert_eq!(database.register(&made.unpack(), false).links, []);
    let Value::Dict(groups) = &database.dict[alternatives::KEY] else { panic!() };
    assert_eq!(plist::strings(groups, "vi"), ["nvi", "vim"]);
}

#[test]
fn a_package_that_is_removed_leaves_its_place_to_the_next() {
    let mut database = released();
    let made = |name: &str| {
        Made::new(&format!("{name}-1_1")).alternative("vi", &[&format!("vi:/usr/bin/{name}")])
    };
    database.register(&made("nvi").unpack(), false);
    database.remove("nvi");
    database.remove("never-there");
    assert_eq!(names(&database), ["bash 5.0_1 x86_64"]);
    let links = database.register(&made("vim").unpack(), false).links;
    assert_eq!(links.iter().map(|link| &*link.target).collect::<Vec<_>>(), ["vim"]);
}

#[test]
fn a_package_with_a_script_is_to_be_configured() {
    let mut database = Database::default();
    for made in [Made::new("a-1_1"), Made::new("b-1_1").script("INSTALL", "x")] {
        database.register(&made.unpack(), false);
    }
    assert_eq!(names(&database), ["a 1_1 x86_64", "b 1_1 x86_64 to be configured"]);
}

#[test]
fn a_wrong_database_is_refused() {
    let record = |record| plist::write(&dict([("a", record)]));
    let told: Vec<_> = [
        record(text("a")),
        record(Value::Dict(Dict::new())),
        record(Value::Dict(dict([("pkgver", text("b-1_1"))]))),
        record(Value::Dict(dict([("pkgver", text("a-1_1"))]))),
        b"x".to_vec(),
    ]
    .iter()
    .map(|file| Database::parse(file).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    the database of installed packages has a wrong record of 'a': it is no dictionary
    the database of installed packages has a wrong record of 'a': it has no version
    the database of installed packages has a wrong record of 'a': it is of another package
    the database of installed packages has a wrong record of 'a': it has no state
    the database of installed packages cannot be read
    ");
}

proptest! {
    #[test]
    fn what_is_registered_is_read_back(
        packages in proptest::collection::btree_map("[a-z][a-z0-9+-]{0,8}", "[0-9][.0-9a-z]{0,5}_[1-9]", 0..6),
        automatic: bool,
        script in proptest::option::of("[ -~]{1,20}"),
        provides in proptest::collection::vec("[a-z&<>]{1,5}-[0-9]", 0..3),
    ) {
        let mut database = released();
        let mut expected: std::collections::BTreeMap<String, String> =
            [("bash".to_owned(), "5.0_1".to_owned())].into();
        for (name, version) in &packages {
            let provides: Vec<_> = provides.iter().map(String::as_str).collect();
            let mut made = Made::new(&format!("{name}-{version}"))
                .list("provides", &provides)
                .file_of("/a", "x");
            if let Some(script) = &script {
                made = made.script("INSTALL", script);
            }
            database.register(&made.unpack(), automatic);
            expected.insert(name.clone(), version.clone());
        }
        let read = Database::parse(&database.write()).unwrap();
        prop_assert_eq!(&read, &database);
        let found = read.installed().into_iter();
        let found = found.map(|one| (one.pkgver.name().to_owned(), one.pkgver.version().to_owned()));
        prop_assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let _ = Database::parse(&bytes);
        let file = released().write();
        let at = at.index(file.len());
        let _ = Database::parse(&[&file[..at], &bytes, &file[at..]].concat());
    }
}
