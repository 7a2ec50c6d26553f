//! `banger bench start`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use banger_core::api::{DaemonStatus, SshAccess};
use banger_core::dirs::Dirs;
use banger_core::ssh;
use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use serde::Serialize;

use super::bare::Recipe;
use super::create::{Ends, all_shares, summary};
use super::machine::Machine;
use super::progress::Progress;
use super::session::Session;
use super::statistics::{Summary, ms, rounded};
use super::timed::Timed;
use super::waterfall::{self, Stage};
use crate::cli::BenchStart;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// How long the command in the guest may take.
const SSH_LIMIT: Duration = Duration::from_secs(60);

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    machine: Machine,
    own_share_ms: OwnShare,
    guest_ms: Summary,
    total_ms: Summary,
    waterfall: Vec<Stage>,
    kill_ms: Summary,
    delete_ms: Summary,
    kill_and_delete_ms: Summary,
    #[serde(flatten)]
    bare: Option<Comparison>,
}

/// The daemon's own share of a start.
#[derive(Serialize)]
struct OwnShare {
    start: Summary,
}

/// Starts against boots by hand, both until a command by SSH was done.
#[derive(Serialize)]
struct Comparison {
    time_to_ssh_ms: TimeToSsh,
    /// Of each pair.
    ssh_ratio_to_bare: Summary,
    /// The ratio of the two medians.
    ssh_ratio_of_medians: f64,
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
struct TimeToSsh {
    banger: Summary,
    bare: Summary,
}

#[derive(Clone, Copy, Serialize)]
struct Pair {
    banger_ms: f64,
    bare_ms: f64,
    ratio: f64,
}

pub async fn run(args: BenchStart) -> Result<ExitCode, CommandError> {
    let report = Session::run(args.vms.image.clone(), None, async |session| {
        let status: DaemonStatus = session.client.get("/v1/daemon").await?;
        let machine = Machine::this(status.kvm);
        measure(session, machine, args.vms.runs, !args.no_bare).await
    })
    .await?;
    if args.vms.format.json {
        output::json(&report);
    } else {
        output::line(&text(&report));
    }
    Ok(OK)
}

async fn measure(
    session: &Session,
    machine: Machine,
    runs: u32,
    compare: bool,
) -> Result<Report, CommandError> {
    let dirs = daemon::dirs()?;
    let by_hand = if compare { Some(ByHand::new(session, &dirs).await?) } else { None };
    let progress = Progress::of("start", runs);
    let (mut starts, mut ends, mut pairs) = (Vec::new(), Ends::default(), Vec::new());
    for i in 0..runs {
        // In turns, each first as often as the other: what drifts meets both.
        let mut bare = None;
        if let Some(by_hand) = by_hand.as_ref().filter(|_| i % 2 == 1) {
            bare = Some(by_hand.boot(session, i).await?);
        }
        let vm = session.create(&format!("vm-{i}"), None).await?.vm()?;
        let begun = Instant::now();
        let started = session.start(&vm).await?;
        if let Some(by_hand) = &by_hand {
            let vm = started.vm()?;
            let socket = vm.run.map(|run| PathBuf::from(run.vsock)).unwrap_or_default();
            let access = session.client.get(&format!("/v1/vms/{}/ssh", vm.id)).await?;
            enter(&access, &socket).await?;
            let banger_ms = ms(begun.elapsed());
            ends.end(session, &started.vm()?).await?;
            let bare = match bare {
                Some(bare) => bare,
                None => by_hand.boot(session, i).await?,
            };
            pairs.push(Pair {
                banger_ms: rounded(banger_ms),
                bare_ms: rounded(bare),
                ratio: rounded(banger_ms / bare),
            });
        } else {
            ends.end(session, &started.vm()?).await?;
        }
        starts.push(started);
        progress.step();
    }
    let shares = starts.iter().map(all_shares).collect::<Result<Vec<_>, _>>()?;
    let (kill_ms, delete_ms, kill_and_delete_ms) = ends.summaries()?;
    Ok(Report {
        bench: "start",
        machine,
        // What comes before the stage 'prepare' is the request's way to the VM's task.
        own_share_ms: OwnShare { start: summary(shares.iter().map(|s| s.create + s.start))? },
        guest_ms: summary(shares.iter().map(|share| share.guest))?,
        total_ms: summary(starts.iter().map(Timed::total_ms))?,
        waterfall: waterfall::stages(&starts),
        kill_ms,
        delete_ms,
        kill_and_delete_ms,
        bare: if pairs.is_empty() { None } else { Some(comparison(pairs)?) },
    })
}

fn comparison(pairs: Vec<Pair>) -> Result<Comparison, CommandError> {
    let of = |part: fn(&Pair) -> f64| summary(pairs.iter().map(part));
    let (banger, bare) = (of(|pair| pair.banger_ms)?, of(|pair| pair.bare_ms)?);
    Ok(Comparison {
        ssh_ratio_to_bare: of(|pair| pair.ratio)?,
        ssh_ratio_of_medians: rounded(banger.median / bare.median),
        time_to_ssh_ms: TimeToSsh { banger, bare },
        pairs,
    })
}

/// Boots by hand, all of the same machine.
struct ByHand<'a> {
    recipe: Recipe,
    /// What enters it: the identity is that of the VM that the recipe is of.
    access: SshAccess,
    dirs: &'a Dirs,
}

impl<'a> ByHand<'a> {
    /// Has the daemon start a VM, and reads how.
    async fn new(session: &Session, dirs: &'a Dirs) -> Result<Self, CommandError> {
        let vm = session.create("recipe", None).await?.vm()?;
        let vm = session.start(&vm).await?.vm()?;
        let recipe = Recipe::of(&vm, dirs)?;
        let access = session.client.get(&format!("/v1/vms/{}/ssh", vm.id)).await?;
        session.kill(&vm).await?;
        Ok(Self { recipe, access, dirs })
    }

    /// Boots it with disks that are as new as those of a VM that was just
    /// made, for they are such a VM's. Returns how long it took, in
    /// milliseconds, until the command by SSH was done.
    async fn boot(&self, session: &Session, run: u32) -> Result<f64, CommandError> {
        let disks = session.create(&format!("bare-{run}"), None).await?.vm()?;
        let bare = self.recipe.boot(&disks, self.dirs).await?;
        enter(&self.access, &bare.socket).await?;
        let took = ms(bare.started.elapsed());
        // Its end takes a moment, in which nothing else is to happen.
        drop(bare);
        session.delete(&disks).await?;
        Ok(took)
    }
}

/// Runs the command that does nothing in a guest.
async fn enter(access: &SshAccess, socket: &Path) -> Result<(), CommandError> {
    let own = std::env::current_exe()?;
    let proxy =
        ssh::proxy_line(&own.to_string_lossy(), &["bench", "proxy", &socket.to_string_lossy()]);
    let args = ssh::arguments("vm", access, &proxy, &["true".to_owned()], false);
    let command = Command::new(Tool::Ssh).args(args).timeout(SSH_LIMIT);
    let ran =
        tokio::task::spawn_blocking(move || HostRunner::new(Tools::discover()).capture(&command));
    ran.await.map_err(|error| CommandError::new(error.to_string()))??;
    Ok(())
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        ("own share of start", &report.own_share_ms.start),
        ("the guest's boot", &report.guest_ms),
        ("start to SSH, whole", &report.total_ms),
        ("kill", &report.kill_ms),
        ("delete", &report.delete_ms),
        ("kill and delete", &report.kill_and_delete_ms),
    ];
    if let Some(bare) = &report.bare {
        rows.push(("start to a command by SSH", &bare.time_to_ssh_ms.banger));
        rows.push(("the same by hand", &bare.time_to_ssh_ms.bare));
    }
    let mut text = format!(
        "{}\n\n{}\n\n{}",
        report.machine.line(),
        waterfall::draw(&report.waterfall, report.total_ms.median),
        waterfall::table(&rows)
    );
    if let Some(Comparison { ssh_ratio_to_bare: ratio, ssh_ratio_of_medians, .. }) = &report.bare {
        text.push_str(&format!(
            "\n\nto SSH, against a boot by hand: {:.3} × (median of {} pairs; {:.3} to {:.3}), {ssh_ratio_of_medians:.3} × by medians",
            ratio.median, ratio.runs, ratio.min, ratio.max
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_pairs() {
        let pair =
            |banger_ms: f64, bare_ms: f64| Pair { banger_ms, bare_ms, ratio: banger_ms / bare_ms };
        let pairs = vec![pair(110.0, 100.0), pair(300.0, 200.0), pair(120.0, 100.0)];
        let found = comparison(pairs).unwrap();
        assert_eq!(found.ssh_ratio_to_bare.median, 1.2);
        assert_eq!(found.ssh_ratio_of_medians, 1.2);
        assert_eq!(found.time_to_ssh_ms.bare.max, 200.0);
    }
}
