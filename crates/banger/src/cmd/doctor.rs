//! `banger doctor`: what works here, and what is missing.

use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::Leftover;
use banger_core::doctor::{Check, DoctorReport, Status};
use banger_exec::{ExecError, HostRunner, Runner as _, Tools};
use banger_wire::Method;

use crate::cli::Doctor;
use crate::error::CommandError;
use crate::{daemon, output};

/// How long the daemon may take to answer before it is done without.
const DAEMON_LIMIT: Duration = Duration::from_secs(30);

/// How long releases may take.
pub const FIX_LIMIT: Duration = Duration::from_secs(120);

pub async fn run(args: Doctor) -> Result<ExitCode, CommandError> {
    if args.sudoers {
        let command = daemon::program().args(["doctor", "--sudoers"]);
        let output = HostRunner::new(Tools::discover()).capture(&command);
        let output = output.map_err(|error| match error {
            ExecError::Failed { stderr, .. } => CommandError::new(stderr.trim())
                .remedy("install banger for all users with 'sudo make install', then try again"),
            error => error.into(),
        })?;
        output::line(String::from_utf8_lossy(&output.stdout).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    if args.fix {
        return fix(args.format.json).await;
    }
    let report = report().await?;
    if args.format.json {
        output::json(&report);
    } else {
        output::line(&describe(&report));
    }
    let complete = report.count(Status::Missing) == 0;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Releases what is nobody's.
async fn fix(json: bool) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?.within(FIX_LIMIT);
    let sent = client.send::<()>(Method::POST, "/v1/leftovers/release", None).await?;
    let released: Vec<Leftover> = sent.json()?;
    if json {
        output::json(&released);
    } else if released.is_empty() {
        output::note("nothing is left behind");
    }
    let mut failed = false;
    for Leftover { what, error } in &released {
        failed |= error.is_some();
        match error {
            _ if json => {}
            None => output::line(&format!("released the {what}")),
            Some(error) => output::line(&format!("cannot release the {what}: {error}")),
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Asks the daemon, whose environment is the one that counts. Where that fails,
/// for whatever reason, its program says the same.
async fn report() -> Result<DoctorReport, CommandError> {
    let dirs = daemon::dirs()?;
    if let Ok(report) = daemon::client(&dirs).within(DAEMON_LIMIT).get("/v1/doctor").await {
        return Ok(report);
    }
    let command = daemon::program().args(["doctor", "--json"]);
    let output = HostRunner::new(Tools::discover()).capture(&command)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| CommandError::new(format!("'{command}' answers nonsense: {error}")))
}

fn describe(report: &DoctorReport) -> String {
    let width = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut lines: Vec<_> = report.checks.iter().map(|check| line(check, width)).collect();
    let (missing, warnings) = (report.count(Status::Missing), report.count(Status::Warning));
    lines.push(String::new());
    lines.push(match (missing, warnings) {
        (0, 0) => "everything is here".to_owned(),
        (0, _) => format!("nothing is missing; warnings: {warnings}"),
        _ => format!("missing: {missing}; warnings: {warnings}"),
    });
    lines.join("\n")
}

fn line(check: &Check, width: usize) -> String {
    let mark = match check.status {
        Status::Ok => '✓',
        Status::Warning => '!',
        Status::Missing => '✗',
    };
    // A message of a parser has lines of its own.
    let detail = check.detail.replace('\n', "\n    ");
    let mut text = format!("{mark} {:width$}  {detail}", check.name);
    if let Some(remedy) = &check.remedy {
        text.push_str(&format!("\n    → {remedy}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_what_they_put_right() {
        let mut report = DoctorReport {
            checks: vec![
                Check::warning("KVM", "kvm_pvm is loaded"),
                Check::ok("qemu-system-x86_64", "/usr/bin/qemu-system-x86_64"),
                Check::missing("ssh", "needed for entering VMs")
                    .remedy("sudo apt-get install openssh-client"),
                Check::missing("configuration", "TOML parse error\n  |\n1 | memory = 1"),
            ],
        };
        insta::assert_snapshot!(describe(&report), @"
        ! KVM                 kvm_pvm is loaded
        ✓ qemu-system-x86_64  /usr/bin/qemu-system-x86_64
        ✗ ssh                 needed for entering VMs
            → sudo apt-get install openssh-client
        ✗ configuration       TOML parse error
              |
            1 | memory = 1

        missing: 2; warnings: 1
        ");
        report.checks.truncate(2);
        insta::assert_snapshot!(describe(&report).lines().last().unwrap(), @"nothing is missing; warnings: 1");
        report.checks.remove(0);
        insta::assert_snapshot!(describe(&report).lines().last().unwrap(), @"everything is here");
    }
}
