//! The grammar of `banger bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, key};
use crate::complete;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Measure how VMs are made, started to SSH, killed and deleted
    #[command(
        after_help = "Examples:\n  banger bench create\n  banger bench create --runs 20 --json\n  sudo banger bench create --by-hand\n\nThe VMs are named bench-… and are deleted, on Ctrl-C too."
    )]
    Create(BenchCreate),
    /// Measure starts, each against a boot of the same machine by hand
    #[command(
        after_help = "Examples:\n  banger bench start\n  banger bench start --runs 20 --json\n  banger bench start --no-bare\n\nThe other boot has the same image, kernel and flags: the VMM is started by\nthis command, without the daemon. The two take turns.\nThe VMs are named bench-… and are deleted, on Ctrl-C too."
    )]
    Start(BenchStart),
    /// Measure what needs no VM that runs: commands, and the daemon at rest
    #[command(
        after_help = "Examples:\n  banger bench list\n  banger bench list --records 10 --records 1000 --json\n\nVMs named bench-… are made until there are so many, are never started, and are\ndeleted, on Ctrl-C too. Nothing else should use the daemon meanwhile."
    )]
    List(BenchList),
    /// Connect standard input and output to the SSH server behind a vsock socket
    #[command(hide = true)]
    Proxy(BenchProxy),
}

#[derive(Debug, Args)]
pub struct BenchVms {
    /// How many VMs
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// The image [default: from the configuration, 'debian']
    #[arg(long, value_parser = key, add = complete::an_image())]
    pub image: Option<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct BenchCreate {
    #[command(flatten)]
    pub vms: BenchVms,
    /// Make the same disks by hand, too, in turns: losetup, dmsetup and so on, which takes root.
    /// The VMs then have no network
    #[arg(long)]
    pub by_hand: bool,
}

#[derive(Debug, Args)]
pub struct BenchStart {
    #[command(flatten)]
    pub vms: BenchVms,
    /// Leave the boots by hand out
    #[arg(long)]
    pub no_bare: bool,
}

#[derive(Debug, Args)]
pub struct BenchList {
    /// How often each command is run
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// How many VMs there are to be when the list is measured; may be given several times
    #[arg(long, value_name = "N", default_values_t = [10], value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub records: Vec<u32>,
    /// How long the daemon is watched at rest, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub rest: u32,
    /// The image of the VMs [default: from the configuration, 'debian']
    #[arg(long, value_parser = key, add = complete::an_image())]
    pub image: Option<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct BenchProxy {
    /// The vsock socket
    pub socket: PathBuf,
}
