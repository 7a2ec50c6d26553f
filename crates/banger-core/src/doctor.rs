//! What works on a host and what is missing: `GET /v1/doctor`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The remedy for what was left behind: a person's command, of which other front ends know that
/// `POST /v1/leftovers/release` is the same.
pub const CLEAN_UP: &str = "banger doctor --fix";

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CheckStatus)]
pub enum Status {
    /// It is as it should be.
    Ok,
    /// banger works, but not as well as it could.
    Warning,
    /// Something that banger does cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What: the name of a program, or a few words. It stays the same.
    pub name: String,
    /// What was found.
    pub status: Status,
    /// The same for a person: where it is, or what it is missed for.
    pub detail: String,
    /// The command that puts it right, or what else to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn new(status: Status, name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status, detail: detail.into(), remedy: None }
    }

    /// It is as it should be.
    #[must_use]
    pub fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self::new(Status::Ok, name, detail)
    }

    /// It could be better.
    #[must_use]
    pub fn warning(name: &str, detail: impl Into<String>) -> Self {
        Self::new(Status::Warning, name, detail)
    }

    /// It is missing.
    #[must_use]
    pub fn missing(name: &str, detail: impl Into<String>) -> Self {
        Self::new(Status::Missing, name, detail)
    }

    /// The same with what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// `GET /v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// All that was looked at, in the order in which it matters.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// How many checks found this.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_json() {
        let report = DoctorReport {
            checks: vec![
                Check::ok("ssh", "/usr/bin/ssh"),
                Check::missing("tar", "needed for unpacking").remedy("apt-get install tar"),
            ],
        };
        let json = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(serde_json::from_str::<DoctorReport>(&json).unwrap(), report);
        assert_eq!(report.count(Status::Missing), 1);
        insta::assert_snapshot!(json, @r#"
        {
          "checks": [
            {
              "name": "ssh",
              "status": "ok",
              "detail": "/usr/bin/ssh"
            },
            {
              "name": "tar",
              "status": "missing",
              "detail": "needed for unpacking",
              "remedy": "apt-get install tar"
            }
          ]
        }
        "#);
    }
}
