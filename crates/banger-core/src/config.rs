//! The user's configuration: `config.toml`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::net::{DNS_MAX, HOST_PORTS_MAX, check_subnet};
use crate::size::Size;
use crate::vm::Vmm;
use crate::web::WebListen;

/// Every key, what it means, and an example; in the order they are shown.
pub const KEYS: &[(&str, &str, &str)] = &[
    ("image", "the image of a new VM that names none", "\"debian\""),
    ("vcpus", "virtual CPUs of a new VM", "2"),
    ("memory", "memory of a new VM", "\"1G\""),
    ("disk", "work disk of a new VM", "\"8G\""),
    ("vmm", "what runs a new VM: qemu, or firecracker, which needs KVM", "\"firecracker\""),
    (
        "firecracker_bin",
        "the Firecracker program, if it is not to be looked for on PATH",
        "\"/opt/firecracker/bin/firecracker\"",
    ),
    ("opencode", "whether the opencode server runs in a new VM", "true"),
    (
        "ssh_key",
        "the private key that enters VMs, its .pub beside it; without one, banger makes a pair",
        "\"/home/me/.ssh/id_ed25519\"",
    ),
    (
        "subnet",
        "the addresses of the network nat; without it, a /24 that nothing else here has",
        "\"172.28.0.0/24\"",
    ),
    ("dns", "the name servers of the network nat; without it, the host's own", "[\"9.9.9.9\"]"),
    ("host_ports", "the host's TCP ports that guests may reach by the network nat", "[5432]"),
    (
        "ready_seconds",
        "how long a start may take to reach each readiness stage; 60 with KVM, 240 without",
        "240",
    ),
    (
        "web_listen",
        "where the web console listens: off, or at an address of loopback with a port (0: any)",
        "\"127.0.0.1:7777\"",
    ),
];

/// The configuration with its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The image of a new VM that names none.
    pub image: String,
    /// Virtual CPUs of a new VM.
    pub vcpus: u32,
    /// Memory of a new VM.
    #[serde(with = "written_size")]
    pub memory: Size,
    /// Work disk of a new VM.
    #[serde(with = "written_size")]
    pub disk: Size,
    /// What runs a new VM.
    pub vmm: Vmm,
    /// The Firecracker program; none is the one on `PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firecracker_bin: Option<PathBuf>,
    /// Whether the opencode server runs in a new VM.
    pub opencode: bool,
    /// The private key that enters VMs; none is a pair that banger makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<PathBuf>,
    /// The addresses of the network `nat`; none is a /24 that nothing else here has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Ipv4Net>,
    /// The name servers of the network `nat`; none are the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<Ipv4Addr>>,
    /// The host's TCP ports that guests may reach by the network `nat`.
    pub host_ports: Vec<u16>,
    /// How long a start may take to reach each readiness stage, in seconds;
    /// none is 60 with KVM and 240 without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_seconds: Option<u64>,
    /// Where the web console listens.
    pub web_listen: WebListen,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: "debian".to_owned(),
            vcpus: 2,
            memory: Size::gib(1),
            disk: Size::gib(8),
            vmm: Vmm::Qemu,
            firecracker_bin: None,
            opencode: true,
            ssh_key: None,
            subnet: None,
            dns: None,
            host_ports: Vec::new(),
            ready_seconds: None,
            web_listen: WebListen::default(),
        }
    }
}

/// A key of the configuration as it is in effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its value; none if there is no default either.
    pub value: Option<toml::Value>,
    /// Whether the file says so; it is the default otherwise.
    pub from_file: bool,
    /// What it means.
    pub meaning: &'static str,
    /// A value that it can have, in TOML.
    pub example: &'static str,
}

/// In the file a size is written as people write it.
mod written_size {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::size::Size;

    pub(super) fn serialize<S: Serializer>(size: &Size, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&size.exact())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Size, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown key '{key}'{}", suggestion.as_ref().map_or_else(String::new, |s| format!("; did you mean '{s}'?")))]
    UnknownKey {
        /// The key.
        key: String,
        /// The key that it is most like.
        suggestion: Option<&'static str>,
    },
    /// Anything else, with its place.
    #[error("{0}")]
    Invalid(String),
}

impl Config {
    /// Reads the text of `config.toml`.
    ///
    /// # Errors
    /// It is not TOML, has an unknown key, or a value of the wrong kind.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let invalid =
            |error: toml::de::Error| ConfigError::Invalid(error.to_string().trim().to_owned());
        let table: toml::Table = toml::from_str(text).map_err(invalid)?;
        let known = |key: &String| KEYS.iter().any(|(name, ..)| name == key);
        if let Some(key) = table.keys().find(|key| !known(key)) {
            let likeness = |name: &str| strsim::jaro_winkler(key, name);
            let best = KEYS
                .iter()
                .map(|(name, ..)| *name)
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let suggestion = best.filter(|name| likeness(name) > 0.75);
            return Err(ConfigError::UnknownKey { key: key.clone(), suggestion });
        }
        let config: Self = toml::from_str(text).map_err(invalid)?;
        config.check()?;
        Ok(config)
    }

    /// Every key of the configuration that `config.toml` with this text gives.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn settings(text: &str) -> Result<Vec<Setting>, ConfigError> {
        let invalid = |error: String| ConfigError::Invalid(error);
        let values =
            toml::Table::try_from(Self::parse(text)?).map_err(|e| invalid(e.to_string()))?;
        let file: toml::Table = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        let setting = |&(key, meaning, example): &(&'static str, &'static str, &'static str)| {
            let (value, from_file) = (values.get(key).cloned(), file.contains_key(key));
            Setting { key, value, from_file, meaning, example }
        };
        Ok(KEYS.iter().map(setting).collect())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.ready_seconds.is_some_and(|seconds| !(1..=86_400).contains(&seconds)) {
            return invalid("'ready_seconds' must be 1 to 86400");
        }
        if let Some(Err(why)) = self.subnet.map(check_subnet) {
            return invalid(&format!("'subnet': {why}"));
        }
        if self.dns.as_ref().is_some_and(|servers| !(1..=DNS_MAX).contains(&servers.len())) {
            return invalid("'dns' must name 1 to 3 servers");
        }
        if self.host_ports.len() > HOST_PORTS_MAX || self.host_ports.contains(&0) {
            return invalid("'host_ports' must be at most 64 ports, none of them 0");
        }
        let paths = [("ssh_key", &self.ssh_key), ("firecracker_bin", &self.firecracker_bin)];
        for (key, path) in paths {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return invalid(&format!("'{key}' must be an absolute path"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_and_its_example_is_valid() {
        let text: String =
            KEYS.iter().map(|(key, _, example)| format!("{key} = {example}\n")).collect();
        let config = Config::parse(&text).unwrap();
        let toml::Value::Table(table) = toml::Value::try_from(&config).unwrap() else { panic!() };
        let (mut keys, mut documented): (Vec<_>, Vec<_>) = (
            table.keys().map(String::as_str).collect(),
            KEYS.iter().map(|(key, ..)| *key).collect(),
        );
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(keys, documented);
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_explained() {
        let why = |text: &str| Config::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(why("memroy = \"1G\""), @"unknown key 'memroy'; did you mean 'memory'?");
        insta::assert_snapshot!(why("zzz = 1"), @"unknown key 'zzz'");
        insta::assert_snapshot!(why("ready_seconds = 0"), @"'ready_seconds' must be 1 to 86400");
        insta::assert_snapshot!(why("subnet = \"8.8.8.0/24\""), @"'subnet': 8.8.8.0/24 is not private: choose one in 10/8, 172.16/12 or 192.168/16");
        insta::assert_snapshot!(why("dns = []"), @"'dns' must name 1 to 3 servers");
        insta::assert_snapshot!(why("host_ports = [0]"), @"'host_ports' must be at most 64 ports, none of them 0");
        insta::assert_snapshot!(why("ssh_key = \"key\""), @"'ssh_key' must be an absolute path");
        insta::assert_snapshot!(why("web_listen = \"0.0.0.0:80\""), @r#"
        TOML parse error at line 1, column 14
          |
        1 | web_listen = "0.0.0.0:80"
          |              ^^^^^^^^^^^^
        the web console cannot listen at '0.0.0.0:80': write an address of loopback with a port, such as 127.0.0.1:7777 or [::1]:7777, or off; from elsewhere, reach it by 'ssh -L'
        "#);
        insta::assert_snapshot!(why("vmm = \"xen\""), @r#"
        TOML parse error at line 1, column 7
          |
        1 | vmm = "xen"
          |       ^^^^^
        unknown variant `xen`, expected `qemu` or `firecracker`
        "#);
        insta::assert_snapshot!(why("memory = \"lots\""), @r#"
        TOML parse error at line 1, column 10
          |
        1 | memory = "lots"
          |          ^^^^^^
        'lots' is not a size: write a number with K, M, G or T (powers of 1024), such as 512M or 8G
        "#);
    }
}
