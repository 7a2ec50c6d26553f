//! `banger bench create`.

use std::process::ExitCode;

use banger_core::api::DaemonStatus;
use banger_core::vm::{Network, WaitFor};
use serde::Serialize;

use super::by_hand::Disks;
use super::machine::Machine;
use super::progress::Progress;
use super::session::Session;
use super::statistics::Summary;
use super::timed::{Shares, Timed};
use super::waterfall::{self, Stage};
use crate::cli::BenchCreate;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    machine: Machine,
    own_share_ms: OwnShares,
    guest_ms: Summary,
    total_ms: Summary,
    waterfall: Vec<Stage>,
    kill_ms: Summary,
    delete_ms: Summary,
    kill_and_delete_ms: Summary,
    #[serde(flatten)]
    by_hand: Option<ByHand>,
}

/// The same disks by hand.
#[derive(Serialize)]
struct ByHand {
    by_hand_ms: Summary,
    /// Of each pair: the daemon's own share of create and start, to what the disks alone take.
    ratio_to_by_hand: Summary,
}

/// The daemon's own share of a create that starts the VM.
#[derive(Serialize)]
struct OwnShares {
    create: Summary,
    start: Summary,
    create_and_start: Summary,
}

pub async fn run(args: BenchCreate) -> Result<ExitCode, CommandError> {
    let network = args.by_hand.then_some(Network::None);
    let report = Session::run(args.vms.image.clone(), network, async |session| {
        let status: DaemonStatus = session.client.get("/v1/daemon").await?;
        measure(session, Machine::this(status.kvm), args.vms.runs, args.by_hand).await
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
    by_hand: bool,
) -> Result<Report, CommandError> {
    let dirs = daemon::dirs()?;
    let progress = Progress::of("create", runs);
    let (mut creates, mut ends, mut hands) = (Vec::new(), Ends::default(), Vec::new());
    for i in 0..runs {
        let created = session.create(&i.to_string(), Some(WaitFor::Ssh)).await?;
        let vm = created.vm()?;
        ends.end(session, &vm).await?;
        if by_hand {
            hands.push(Disks::time(&vm, &dirs)?);
        }
        creates.push(created);
        progress.step();
    }
    let shares = creates.iter().map(all_shares).collect::<Result<Vec<_>, _>>()?;
    let of = |part: fn(&Shares) -> f64| summary(shares.iter().map(part));
    let total_ms = summary(creates.iter().map(Timed::total_ms))?;
    let (kill_ms, delete_ms, kill_and_delete_ms) = ends.summaries()?;
    let own = |share: &Shares| share.create + share.start;
    let ratios = shares.iter().zip(&hands).map(|(share, hand)| own(share) / hand);
    let by_hand = match hands.is_empty() {
        true => None,
        false => Some(ByHand {
            ratio_to_by_hand: summary(ratios)?,
            by_hand_ms: summary(hands.iter().copied())?,
        }),
    };
    Ok(Report {
        bench: "create",
        machine,
        own_share_ms: OwnShares {
            create: of(|share| share.create)?,
            start: of(|share| share.start)?,
            create_and_start: of(own)?,
        },
        guest_ms: of(|share| share.guest)?,
        total_ms,
        waterfall: waterfall::stages(&creates),
        kill_ms,
        delete_ms,
        kill_and_delete_ms,
        by_hand,
    })
}

/// The ends of VMs, in milliseconds.
#[derive(Default)]
pub struct Ends {
    kills: Vec<f64>,
    deletes: Vec<f64>,
}

impl Ends {
    /// Kills a VM that runs, then deletes it.
    pub async fn end(
        &mut self,
        session: &Session,
        vm: &banger_core::vm::Vm,
    ) -> Result<(), CommandError> {
        self.kills.push(session.kill(vm).await?.total_ms());
        self.deletes.push(session.delete(vm).await?.total_ms());
        Ok(())
    }

    /// Of the kills, of the deletes, and of both together.
    pub fn summaries(&self) -> Result<(Summary, Summary, Summary), CommandError> {
        let both = self.kills.iter().zip(&self.deletes).map(|(kill, delete)| kill + delete);
        let (kills, deletes) = (self.kills.iter().copied(), self.deletes.iter().copied());
        Ok((summary(kills)?, summary(deletes)?, summary(both)?))
    }
}

/// The shares of a run, which started a VM.
pub fn all_shares(run: &Timed) -> Result<Shares, CommandError> {
    let odd = "the times of the stages make no sense: was the clock set meanwhile?";
    run.shares().ok_or_else(|| CommandError::new(odd))
}

/// The summary of samples, of which there is at least one.
pub fn summary(samples: impl Iterator<Item = f64>) -> Result<Summary, CommandError> {
    let found = Summary::of(&samples.collect::<Vec<_>>());
    found.ok_or_else(|| CommandError::new("nothing was measured"))
}

fn text(report: &Report) -> String {
    let own = &report.own_share_ms;
    let mut rows = vec![
        ("own share of create", &own.create),
        ("own share of start", &own.start),
        ("both", &own.create_and_start),
        ("the guest's boot", &report.guest_ms),
        ("create to SSH, whole", &report.total_ms),
        ("kill", &report.kill_ms),
        ("delete", &report.delete_ms),
        ("kill and delete", &report.kill_and_delete_ms),
    ];
    if let Some(by_hand) = &report.by_hand {
        rows.push(("the disks by hand", &by_hand.by_hand_ms));
    }
    let mut text = format!(
        "{}\n\n{}\n\n{}",
        report.machine.line(),
        waterfall::draw(&report.waterfall, report.total_ms.median),
        waterfall::table(&rows)
    );
    if let Some(ByHand { ratio_to_by_hand: ratio, .. }) = &report.by_hand {
        text.push_str(&format!(
            "\n\nown share, against the disks by hand: {:.3} × (median of {} pairs; {:.3} to {:.3})",
            ratio.median, ratio.runs, ratio.min, ratio.max
        ));
    }
    text
}
