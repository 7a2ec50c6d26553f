//! `.PKGINFO`, which is what a package says of itself: lines of `key = value` (apk-v2(5), "THE
//! CONTROL SECTION"; apk-package(5)).

use super::dependency::{Dependency, InvalidDependency, Provide, list};
use super::identity::hex;
use super::version::Version;

/// What is used of a package's `.PKGINFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PkgInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The machines that it is for: `x86_64`, or `noarch`; empty if it does not say.
    pub arch: String,
    /// Bytes that it takes when it is installed; about.
    pub size: u64,
    /// The SHA-256 of its data, compressed.
    pub datahash: [u8; 32],
    /// What it needs.
    pub depends: Vec<Dependency>,
    /// Names that it provides beside its own.
    pub provides: Vec<Provide>,
    /// Packages whose files it may replace.
    pub replaces: Vec<Dependency>,
    /// What makes it be installed without being asked for, when all of it is there.
    pub install_if: Vec<Dependency>,
    /// Patterns of folders; when something changes in one, its trigger is run.
    pub triggers: Vec<String>,
    /// Which package is chosen first of those that provide a name without a version; 0 is none.
    pub provider_priority: u32,
    /// Which package's file stays if two may replace each other's.
    pub replaces_priority: u32,
}

/// A `.PKGINFO` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkgInfoError {
    /// A line is not of the format.
    #[error("line {line} of its .PKGINFO is damaged: {reason}")]
    Line {
        /// Which one; the first is 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not there.
    #[error("its .PKGINFO does not have '{0}'")]
    Missing(&'static str),
}

/// The keys that have one value; the others have one in each of several lines.
const SINGLE: [&str; 7] =
    ["pkgname", "pkgver", "arch", "size", "datahash", "provider_priority", "replaces_priority"];

#[derive(Default)]
struct Fields<'a> {
    single: [Option<&'a str>; SINGLE.len()],
    name: Option<String>,
    version: Option<Version>,
    arch: String,
    size: u64,
    datahash: Option<[u8; 32]>,
    depends: Vec<Dependency>,
    provides: Vec<Provide>,
    replaces: Vec<Dependency>,
    install_if: Vec<Dependency>,
    triggers: Vec<String>,
    provider_priority: u32,
    replaces_priority: u32,
}

impl PkgInfo {
    /// Reads a `.PKGINFO`. Keys that are not used are ignored.
    ///
    /// # Errors
    ///
    /// A line is not of the format, or something that every package has is missing.
    pub fn parse(text: &[u8]) -> Result<Self, PkgInfoError> {
        let text = String::from_utf8_lossy(text);
        let mut fields = Fields::default();
        for (n, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // An empty value may have lost its space.
            let pair = line.split_once(" = ").or_else(|| Some((line.strip_suffix(" =")?, "")));
            let set = match pair {
                Some((key, value)) => fields.set(key, value),
                None => Err("it is not 'key = value'".to_owned()),
            };
            set.map_err(|reason| PkgInfoError::Line { line: n + 1, reason })?;
        }
        Ok(Self {
            name: fields.name.ok_or(PkgInfoError::Missing("pkgname"))?,
            version: fields.version.ok_or(PkgInfoError::Missing("pkgver"))?,
            arch: fields.arch,
            size: fields.size,
            // Without it, the signature would not cover the data.
            datahash: fields.datahash.ok_or(PkgInfoError::Missing("datahash"))?,
            depends: fields.depends,
            provides: fields.provides,
            replaces: fields.replaces,
            install_if: fields.install_if,
            triggers: fields.triggers,
            provider_priority: fields.provider_priority,
            replaces_priority: fields.replaces_priority,
        })
    }
}

impl<'a> Fields<'a> {
    fn set(&mut self, key: &str, value: &'a str) -> Result<(), String> {
        if let Some(n) = SINGLE.iter().position(|single| *single == key)
            && let Some(before) = self.single.get_mut(n)
            && before.replace(value).is_some()
        {
            return Err(format!("'{key}' is there twice"));
        }
        match key {
            "pkgname" => self.name = Some(name(value)?),
            "pkgver" => self.version = Some(version(value)?),
            "arch" => self.arch = arch(value)?,
            "size" => self.size = number(value)?,
            "datahash" => {
                let hash = hex(value.as_bytes());
                self.datahash = Some(hash.ok_or("the hash is not one of 64 digits")?);
            }
            "depend" => self.depends.append(&mut names(value)?),
            "provides" => self.provides.append(&mut names(value)?),
            "replaces" => self.replaces.append(&mut names(value)?),
            "install_if" => self.install_if.append(&mut names(value)?),
            "triggers" => self.triggers.extend(triggers(value)?),
            "provider_priority" => self.provider_priority = number(value)?,
            "replaces_priority" => self.replaces_priority = number(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn triggers(value: &str) -> Result<Vec<String>, String> {
    let words = value.split_ascii_whitespace().map(|word| {
        let plain = !word.contains(char::is_control);
        plain.then(|| word.to_owned()).ok_or_else(|| "a pattern has a control character".to_owned())
    });
    words.collect()
}

pub(super) fn name(value: &str) -> Result<String, String> {
    let fits = super::dependency::is_name(value);
    fits.then(|| value.to_owned())
        .ok_or_else(|| format!("'{}' is not a name of a package", value.escape_debug()))
}

pub(super) fn version(value: &str) -> Result<Version, String> {
    let version = Version::new(value).ok().filter(Version::is_valid);
    version.ok_or_else(|| format!("'{}' is not a version", value.escape_debug()))
}

pub(super) fn arch(value: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = value.len() <= 64 && value.bytes().all(fits);
    fits.then(|| value.to_owned())
        .ok_or_else(|| format!("'{}' is not a kind of machine", value.escape_debug()))
}

pub(super) fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("'{}' is not a number", value.escape_debug()))
}

pub(super) fn names<T: std::str::FromStr<Err = InvalidDependency>>(
    value: &str,
) -> Result<Vec<T>, String> {
    list(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_package_says_what_it_is() {
        let text = format!(
            "# Generated\npkgname = busybox\npkgver = 1.37.0-r12\npkgdesc = Small = beautiful\nurl =\nsize = 798720\narch = x86_64\n\
             replaces = a b\nreplaces_priority = 3\nprovider_priority = 100\ndepend = so:libc.musl-x86_64.so.1\ndepend = !old<2\n\
             provides = cmd:ash=1.37.0-r12\nprovides = /bin/sh\ninstall_if = x=1 y\ntriggers = /bin /lib/modules/*\ndatahash = {HASH}\n"
        );
        let info = PkgInfo::parse(text.as_bytes()).unwrap();
        assert_eq!(info.datahash, hex(HASH.as_bytes()).unwrap());
        let PkgInfo { name, version, arch, size, depends, provides, .. } = info;
        let (depends, provides) =
            (super::super::dependency::join(&depends), super::super::dependency::join(&provides));
        insta::assert_snapshot!(format!("{name} {version} {arch} {size} | {depends} | {provides}"), @"busybox 1.37.0-r12 x86_64 798720 | so:libc.musl-x86_64.so.1 !old<2 | cmd:ash=1.37.0-r12 /bin/sh");
        assert_eq!((info.replaces.len(), info.install_if.len()), (2, 2));
        assert_eq!((info.replaces_priority, info.provider_priority), (3, 100));
        assert_eq!(info.triggers, ["/bin", "/lib/modules/*"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = |text: &str| PkgInfo::parse(text.as_bytes()).unwrap_err().to_string();
        let wrong = [
            "pkgname = a\nnonsense",
            "pkgname = ../a",
            "pkgver = one",
            "size = -1",
            "arch = x/y",
            "datahash = 00",
            "depend = a@b",
            "provides = a>1",
            "triggers = /a\u{7f}",
            "pkgname = a\npkgname = a",
            "pkgname = a",
            "pkgname = a\npkgver = 1",
            "",
        ];
        insta::assert_snapshot!(wrong.map(error).join("\n"), @"
        line 2 of its .PKGINFO is damaged: it is not 'key = value'
        line 1 of its .PKGINFO is damaged: '../a' is not a name of a package
        line 1 of its .PKGINFO is damaged: 'one' is not a version
        line 1 of its .PKGINFO is damaged: '-1' is not a number
        line 1 of its .PKGINFO is damaged: 'x/y' is not a kind of machine
        line 1 of its .PKGINFO is damaged: the hash is not one of 64 digits
        line 1 of its .PKGINFO is damaged: 'a@b' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'
        line 1 of its .PKGINFO is damaged: 'a>1' is not a name of a package with its versions, such as 'name' or 'name>=1.2-r0'
        line 1 of its .PKGINFO is damaged: a pattern has a control character
        line 2 of its .PKGINFO is damaged: 'pkgname' is there twice
        its .PKGINFO does not have 'pkgver'
        its .PKGINFO does not have 'datahash'
        its .PKGINFO does not have 'pkgname'
        ");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((pkgname|pkgver|size|depend|provides|datahash|triggers)( = ?[a-z0-9=!. ]{0,9})?\n)*|\\PC*") {
            let _ = PkgInfo::parse(text.as_bytes());
        }
    }
}
