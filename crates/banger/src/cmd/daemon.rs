//! `banger daemon`.

use std::process::ExitCode;

use banger_core::api::{DaemonStatus, Sudo, WebConsole};

use crate::cli::Daemon;
use crate::daemon;
use crate::error::CommandError;
use crate::output;

pub async fn run(command: Daemon, now: bool) -> Result<ExitCode, CommandError> {
    let dirs = daemon::dirs()?;
    match command {
        Daemon::Start => match daemon::status(&dirs).await? {
            Some(status) => output::line(&format!("the daemon runs already (pid {})", status.pid)),
            None => {
                output::line(&format!("the daemon runs (pid {})", daemon::start(&dirs).await?.pid))
            }
        },
        Daemon::Stop => {
            let ran = daemon::stop(&dirs, now).await?;
            output::line(if ran {
                "the daemon is stopped; VMs run on"
            } else {
                "the daemon does not run"
            });
        }
        Daemon::Restart => {
            daemon::stop(&dirs, now).await?;
            output::line(&format!("the daemon runs (pid {})", daemon::start(&dirs).await?.pid));
        }
        Daemon::Status(format) => {
            let status = daemon::status_with_sudo(&dirs).await?;
            if format.json {
                output::json(&status);
            } else {
                output::line(&describe(status.as_ref()));
            }
            if status.is_none() {
                return Ok(ExitCode::from(5));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(status: Option<&DaemonStatus>) -> String {
    let Some(status) = status else {
        return "the daemon does not run; it starts by itself when needed".to_owned();
    };
    let kvm =
        if status.kvm { "works" } else { "does not work here: VMs are emulated, which is slow" };
    let sudo = match &status.sudo {
        Some(Sudo { ready: true, .. }) => "ready".to_owned(),
        Some(Sudo { why: Some(why), .. }) => format!("not ready: {}", why.trim()),
        // A daemon of an older build does not tell.
        _ => "not known".to_owned(),
    };
    let web = match &status.web {
        None => "off".to_owned(),
        Some(WebConsole { url: Some(url), .. }) => format!("{url} (enter it with: banger web)"),
        Some(WebConsole { why, .. }) => {
            format!("not served: {}", why.as_deref().unwrap_or("nobody knows why"))
        }
    };
    format!(
        "version     {} {}\npid         {}\nVMs running {}\noperations  {}\nKVM         {kvm}\nsudo        {sudo}\nweb console {web}",
        status.version, status.build, status.pid, status.running, status.operations
    )
}
