//! What xbps knows of what is installed: its database `pkgdb-0.38.plist`, and a list of files for
//! each package beside it (xbps-pkgdb(1)).
//!
//! Records are as xbps writes them in its reproducible mode: without a date, and without the
//! repository that the package came from (xbps-install(1), `--reproducible`).

mod alternatives;

use sha2::{Digest as _, Sha256};

use super::package::Unpacked;
use super::plist::{self, Dict, PlistError, Value};
use super::version::PkgVer;

pub use alternatives::Link;

/// The folder of the database below the root, without a slash before it.
pub const FOLDER: &str = "var/db/xbps";
/// The database in that folder.
pub const FILE: &str = "pkgdb-0.38.plist";

/// What is in a package, and not in its record.
const NOT_RECORDED: [&str; 3] = ["packaged-with", "pkgname", "version"];
/// What a person or xbps said of an installed package, and holds for its next version.
const KEPT: [&str; 3] = ["automatic-install", "hold", "repolock"];

/// Why a database cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkgdbError {
    /// It is no property list.
    #[error("the database of installed packages cannot be read")]
    Plist(#[from] PlistError),
    /// The record of a package lacks something.
    #[error("the database of installed packages has a wrong record of '{package}': {reason}")]
    Record {
        /// The package.
        package: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name and version.
    pub pkgver: PkgVer,
    /// What machines it is for.
    pub architecture: String,
    /// Whether its script has run after it was unpacked; if not, `xbps-reconfigure -a` does that.
    pub configured: bool,
    /// Patterns of the packages that it needs.
    pub run_depends: Vec<String>,
    /// Virtual packages that it is.
    pub provides: Vec<String>,
    /// Patterns of the packages that cannot be beside it.
    pub conflicts: Vec<String>,
    /// Libraries that it has.
    pub shlib_provides: Vec<String>,
    /// Libraries that it needs.
    pub shlib_requires: Vec<String>,
}

/// What belongs into a root file system when a package was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The name of its list of files, in the folder of the database.
    pub list_name: String,
    /// The content of that list. Without one, a file that is there has to go.
    pub list: Option<Vec<u8>>,
    /// Symlinks to make, which the package provides as the first of its group.
    pub links: Vec<Link>,
}

/// The database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    dict: Dict,
}

impl Database {
    /// Reads a database.
    ///
    /// # Errors
    /// It is no property list, or has a record that lacks something.
    pub fn parse(file: &[u8]) -> Result<Self, PkgdbError> {
        let database = Self { dict: plist::parse(file)? };
        database.records().try_for_each(|record| record.map(drop))?;
        Ok(database)
    }

    /// The database as a file.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        plist::write(&self.dict)
    }

    /// The packages that are installed, by their names. Those that were removed but for their
    /// configuration are none.
    #[must_use]
    pub fn installed(&self) -> Vec<Installed> {
        self.records().filter_map(|record| record.ok().flatten()).collect()
    }

    fn records(&self) -> impl Iterator<Item = Result<Option<Installed>, PkgdbError>> {
        let packages = self.dict.iter().filter(|(name, _)| *name != alternatives::KEY);
        packages.map(|(name, record)| {
            let wrong = |reason| PkgdbError::Record { package: name.clone(), reason };
            match record {
                Value::Dict(record) => installed(name, record).map_err(wrong),
                _ => Err(wrong("it is no dictionary")),
            }
        })
    }

    /// Registers a package that was unpacked, in place of the version that was there.
    ///
    /// `automatic` is whether it is there for others alone, so that `xbps-remove -o` takes it away
    /// with the last of them; a package that was there keeps what it had. A package with a script
    /// is to be configured: the script has not run.
    pub fn register(&mut self, unpacked: &Unpacked, automatic: bool) -> Registered {
        let name = unpacked.pkgver.name();
        let mut record = unpacked.props.clone();
        NOT_RECORDED.iter().for_each(|key| drop(record.remove(*key)));
        let mut set = |key: &str, value| record.insert(key.to_owned(), value);
        let checksum = unpacked.checksum.to_string();
        let hex = checksum.strip_prefix("sha256:").unwrap_or(&checksum);
        set("filename-sha256", Value::String(hex.to_owned()));
        set("filename-size", Value::Integer(unpacked.size.into()));
        let state = if unpacked.install.is_some() { "unpacked" } else { "installed" };
        set("state", Value::String(state.to_owned()));
        for (key, script) in
            [("install-script", &unpacked.install), ("remove-script", &unpacked.remove)]
        {
            if let Some(script) = script {
                set(key, Value::Data(script.clone()));
            }
        }
        let list = (!unpacked.files.is_empty()).then(|| plist::write(&unpacked.files));
        if let Some(list) = &list {
            let hex = Sha256::digest(list).iter().map(|byte| format!("{byte:02x}")).collect();
            set("metafile-sha256", Value::String(hex));
        }
        match self.dict.get(name) {
            Some(Value::Dict(old)) => {
                let kept = KEPT.iter().filter_map(|key| old.get_key_value(*key));
                record.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
            }
            _ if automatic => drop(set("automatic-install", Value::Bool(true))),
            _ => {}
        }
        replaces(&mut record, name);
        let links = alternatives::register(&mut self.dict, name, &record);
        self.dict.insert(name.to_owned(), Value::Dict(record));
        Registered { list_name: list_name(name), list, links }
    }

    /// Takes the record of a package away whose place another takes. Its files are the caller's.
    pub fn remove(&mut self, name: &str) {
        self.dict.remove(name);
        alternatives::remove(&mut self.dict, name);
    }
}

/// The name of the list of a package's files, in the folder of the database.
#[must_use]
pub fn list_name(package: &str) -> String {
    format!(".{package}-files.plist")
}

fn installed(name: &str, record: &Dict) -> Result<Option<Installed>, &'static str> {
    let pkgver: PkgVer = plist::string(record, "pkgver")
        .and_then(|text| text.parse().ok())
        .ok_or("it has no version")?;
    if pkgver.name() != name {
        return Err("it is of another package");
    }
    let state = plist::string(record, "state").ok_or("it has no state")?;
    let configured = match state {
        "installed" => true,
        "unpacked" => false,
        _ => return Ok(None),
    };
    Ok(Some(Installed {
        pkgver,
        // Tests of xbps have records without one.
        architecture: plist::string(record, "architecture").unwrap_or_default().to_owned(),
        configured,
        run_depends: plist::strings(record, "run_depends"),
        provides: plist::strings(record, "provides"),
        conflicts: plist::strings(record, "conflicts"),
        shlib_provides: plist::strings(record, "shlib-provides"),
        shlib_requires: plist::strings(record, "shlib-requires"),
    }))
}

/// A package may say that it replaces itself; once it is there it does not.
fn replaces(record: &mut Dict, name: &str) {
    let itself = Value::String(format!("{name}>=0"));
    if let Some(Value::Array(values)) = record.get_mut("replaces") {
        values.retain(|value| *value != itself);
        if values.is_empty() {
            record.remove("replaces");
        }
    }
}

#[cfg(test)]
mod tests;
