//! The rules that hold the code together, as tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use banger_exec::{Command, ExecError, HostRunner, Runner as _, Tool, Tools};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Which crate may know which: arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("banger-core", &[]),
    ("banger-exec", &[]),
    ("banger-wire", &["banger-core"]),
    ("banger-host", &["banger-core", "banger-exec"]),
    ("banger-image", &["banger-core", "banger-exec", "banger-testkit"]), // the last its tests only
    ("banger-agent", &["banger-core", "banger-exec"]),
    ("banger-testkit", &["banger-core", "banger-exec", "banger-host"]),
    (
        "bangerd",
        &[
            "banger-core",
            "banger-exec",
            "banger-host",
            "banger-image",
            "banger-testkit", // its tests only
            "banger-wire",
        ],
    ),
    ("banger", &["banger-core", "banger-exec", "banger-wire"]),
    ("xtask", &["banger-exec"]),
    ("banger-tests", &["banger-core", "banger-exec", "banger-testkit"]),
    (
        "banger-benches",
        &["banger", "banger-core", "banger-host", "banger-image", "banger-testkit", "bangerd"],
    ),
];

fn cargo(args: &[&str], dir: &Path) -> Result<Vec<u8>, ExecError> {
    let tools = Tools::discover().with(Tool::Cargo, env!("CARGO"));
    let mut command =
        Command::new(Tool::Cargo).args(args).dir(dir).timeout(Duration::from_secs(300));
    for name in ["RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_HOME", "CLIPPY_CONF_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command = command.env(name, value);
        }
    }
    HostRunner::new(tools).capture(&command).map(|output| output.stdout)
}

#[test]
fn arrows_point_down_only() {
    let json =
        cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"], Path::new(ROOT))
            .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let names = dependencies.map(|dependency| dependency["name"].as_str().unwrap());
        let ours = names.filter(|name| name.starts_with("banger")).collect();
        found.insert(package["name"].as_str().unwrap(), ours);
    }
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>(), "crates");
    for (name, dependencies) in found {
        for dependency in dependencies {
            assert!(allowed[name].contains(&dependency), "{name} must not know {dependency}");
        }
    }
}

/// The ban is worth something only if a stray effect really fails the build.
#[test]
fn a_stray_command_fails_the_build() {
    let dir = tempfile::tempdir().unwrap();
    let workspace: toml::Table =
        std::fs::read_to_string(format!("{ROOT}/Cargo.toml")).unwrap().parse().unwrap();
    let lints = toml::to_string(&workspace["workspace"]["lints"]["clippy"]).unwrap();
    let manifest = format!(
        "[package]\nname = \"stray\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[lints.clippy]\n{lints}"
    );
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::copy(format!("{ROOT}/clippy.toml"), dir.path().join("clippy.toml")).unwrap();
    let clippy = |body: &str| {
        std::fs::write(
            dir.path().join("src/lib.rs"),
            format!("//! Stray.\npub fn stray() {{ {body} }}"),
        )
        .unwrap();
        cargo(&["clippy", "--offline", "--quiet"], dir.path())
    };
    clippy("drop(std::fs::read(\"/etc/hostname\"));").unwrap();
    for stray in [
        "drop(std::process::Command::new(\"true\").status());",
        "use std::process::Command as Innocent; drop(Innocent::new(\"true\").status());",
    ] {
        let error = clippy(stray).unwrap_err().to_string();
        assert!(error.contains("disallowed") && error.contains("banger_exec"), "{error}");
    }
}

/// There is one clippy.toml: one in a crate would switch the bans off there.
#[test]
fn no_crate_has_a_clippy_toml_of_its_own() {
    for folder in ["benches", "crates", "tests", "xtask"] {
        for entry in std::fs::read_dir(format!("{ROOT}/{folder}")).unwrap() {
            let path = entry.unwrap().path();
            assert!(
                !path.ends_with("clippy.toml") && !path.join("clippy.toml").exists(),
                "{path:?}"
            );
        }
    }
}
