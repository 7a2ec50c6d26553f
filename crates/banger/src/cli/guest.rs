//! The grammar of the commands that look into a VM, or change one.

use banger_core::name::Name;
use banger_core::size::Size;
use clap::Args;

use super::{Format, key};
use crate::complete;
use crate::ports::Ports as PortPair;

/// Below the help of `vm forward`.
pub const FORWARD_HELP: &str = "\
Examples:
  banger vm forward dev 4096
  banger vm forward dev 8080:80
  banger vm forward dev 0:22
  banger vm forward dev 0.0.0.0:8080:80

It listens on 127.0.0.1 unless an address is given. The port here is the
guest's unless another is given; 0 takes a free one, which is printed.";

#[derive(Debug, Args)]
pub struct Forward {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// The port here, or ADDRESS:PORT, and the guest's port
    #[arg(value_name = "[HOST:]GUEST")]
    pub ports: PortPair,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Ports {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the last lines to begin with
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub lines: u64,
}

#[derive(Debug, Args)]
pub struct Stats {
    /// The VMs: names, ids or starts of ids [default: those that run]
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vms: Vec<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Rename {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// The new name: a DNS label
    pub new: Name,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["vcpus", "memory", "disk"])]
pub struct Set {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// Virtual CPUs
    #[arg(long, value_name = "N")]
    pub vcpus: Option<u32>,
    /// Memory, such as 512M or 4G
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// The work disk: more than it has
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Size>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ResizeOverlay {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// What it may take: more than it does
    #[arg(long, value_name = "SIZE")]
    pub size: Size,
    #[command(flatten)]
    pub format: Format,
}
