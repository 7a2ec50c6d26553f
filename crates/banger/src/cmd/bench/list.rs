//! `banger bench list`: what needs no VM that runs.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use banger_core::api::DaemonStatus;
use banger_core::size::Size;
use banger_core::vm::Vm;
use banger_exec::{Command, HostRunner, Runner as _, Tool, Tools};
use serde::Serialize;

use super::create::summary;
use super::machine::Machine;
use super::progress::Progress;
use super::session::Session;
use super::statistics::{Summary, ms, rounded};
use super::waterfall;
use crate::cli::BenchList;
use crate::error::CommandError;
use crate::follow::OK;
use crate::{daemon, output};

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    machine: Machine,
    /// `banger --version`, the whole process.
    version_ms: Summary,
    /// `banger vm list`, the whole process, by how many VMs there are.
    list_ms: BTreeMap<u32, Summary>,
    idle: Idle,
}

/// The daemon while nobody asks it anything.
#[derive(Serialize)]
struct Idle {
    rss_bytes: u64,
    /// Of one CPU.
    cpu_percent: f64,
    watched_s: u32,
}

pub async fn run(args: BenchList) -> Result<ExitCode, CommandError> {
    let report =
        Session::run(args.image.clone(), None, async |session| measure(session, &args).await)
            .await?;
    if args.format.json {
        output::json(&report);
    } else {
        output::line(&text(&report));
    }
    Ok(OK)
}

async fn measure(session: &Session, args: &BenchList) -> Result<Report, CommandError> {
    let status: DaemonStatus = session.client.get("/v1/daemon").await?;
    let machine = Machine::this(status.kvm);
    let idle = watch(status.pid, args.rest).await?;
    let version_ms = times(args.runs, &["--version"]).await?;
    let mut list_ms = BTreeMap::new();
    let mut wanted = args.records.clone();
    wanted.sort_unstable();
    for records in wanted {
        let there: Vec<Vm> = session.client.get("/v1/vms").await?;
        let missing = (records as usize).checked_sub(there.len());
        let missing = missing.ok_or_else(|| {
            let message = format!("there are {} VMs already, more than {records}", there.len());
            CommandError::new(message).remedy("measure with more --records")
        })?;
        session.fill(there.len()..there.len() + missing).await?;
        list_ms.insert(records, times(args.runs, &["vm", "list"]).await?);
    }
    Ok(Report { bench: "list", machine, version_ms, list_ms, idle })
}

/// How long a command of ours takes, from its start to its end.
async fn times(runs: u32, args: &'static [&'static str]) -> Result<Summary, CommandError> {
    let measured = tokio::task::spawn_blocking(move || {
        let runner =
            HostRunner::new(Tools::discover().with(Tool::Banger, std::env::current_exe()?));
        let command = daemon::with_environment(Command::new(Tool::Banger)).args(args);
        let progress = Progress::of(args[args.len() - 1], runs);
        let mut samples = Vec::new();
        // The first one reads what the others find in memory.
        for i in 0..=runs {
            let begun = Instant::now();
            runner.capture(&command)?;
            if i > 0 {
                samples.push(ms(begun.elapsed()));
                progress.step();
            }
        }
        summary(samples.into_iter())
    });
    measured.await.map_err(|error| CommandError::new(error.to_string()))?
}

async fn watch(pid: u32, seconds: u32) -> Result<Idle, CommandError> {
    let (before, begun) = (cpu_time(pid)?, Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let used = cpu_time(pid)?.saturating_sub(before);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = rss(&status).ok_or_else(|| CommandError::new("the daemon's memory is not told"))?;
    let cpu_percent = rounded(used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0);
    Ok(Idle { rss_bytes: rss, cpu_percent, watched_s: seconds })
}

/// The CPU time of a process's threads, to the nanosecond
/// (Documentation/scheduler/sched-stats.rst in the kernel).
fn cpu_time(pid: u32) -> Result<Duration, CommandError> {
    let mut ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has just ended had nothing to do.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(ns))
}

/// Resident memory in bytes, by `/proc/PID/status` (proc(5)).
fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn text(report: &Report) -> String {
    let lists: Vec<_> = report
        .list_ms
        .iter()
        .map(|(records, summary)| (format!("vm list, {records} VMs"), summary))
        .collect();
    let mut rows = vec![("--version", &report.version_ms)];
    rows.extend(lists.iter().map(|(name, summary)| (name.as_str(), *summary)));
    let Idle { rss_bytes, cpu_percent, watched_s } = report.idle;
    format!(
        "{}\n\n{}\n\nthe daemon at rest: {} of memory, {cpu_percent} % of a CPU over {watched_s} s",
        report.machine.line(),
        waterfall::table(&rows),
        Size::bytes(rss_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        assert_eq!(rss("Name:\tbangerd\nVmRSS:\t   11592 kB\nThreads:\t4\n"), Some(11_870_208));
        assert_eq!(rss("Name:\tkthreadd\n"), None);
    }
}
