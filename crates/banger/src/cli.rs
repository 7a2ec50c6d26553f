//! The command line's grammar.

mod bench;
mod guest;
mod host;
mod image;

use banger_core::name::Name;
use banger_core::size::Size;
use banger_core::vm::{Network, RootDisk, Vmm, WaitFor};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::{Bench, BenchCreate, BenchList, BenchProxy, BenchStart};
pub use guest::{Forward, Logs, Ports, Rename, ResizeOverlay, Set, Stats};
pub use host::{Completions, Config, Doctor, Shell, SshConfig, Web};
pub use image::{
    Build, BuildDebian, BuildFrom, BuildSigned, Distribution, Image, ImportImage, PromoteImage,
    PruneImages, PullImage, RegisterImage,
};

use crate::complete;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something failed
  2    the command line makes no sense
  3    there is no such object
  4    the object's state does not allow it, or the name is taken
  5    the daemon cannot be reached
  130  cancelled
'vm ssh' and 'vm exec' end with the exit code of the command in the VM.";

/// Persistent microVMs on this workstation, each with SSH, a work disk and an
/// opencode server.
#[derive(Debug, Parser)]
#[command(name = "banger", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// Cancel what the daemon is doing rather than wait for it, where it is to
    /// stop or to be replaced by a newer build
    #[arg(long, global = true)]
    pub now: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything on one screen, and act on it ('banger' alone does so, on a terminal)
    #[command(after_help = host::TUI_HELP)]
    Tui,
    /// Make, start, stop, enter and delete VMs
    #[command(subcommand, arg_required_else_help = true)]
    Vm(Vm),
    /// Build and delete the images that VMs are made from
    #[command(subcommand, arg_required_else_help = true)]
    Image(Image),
    /// Start, stop and look at the daemon (it starts by itself when needed)
    #[command(subcommand, arg_required_else_help = true)]
    Daemon(Daemon),
    /// Check what works on this machine, and how to get what is missing
    #[command(after_help = host::DOCTOR_HELP)]
    Doctor(Doctor),
    /// Measure what VMs and the daemon cost on this machine
    #[command(subcommand, arg_required_else_help = true)]
    Bench(Bench),
    /// Show the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(Config),
    /// Open the web console in a browser, logged in
    #[command(after_help = host::WEB_HELP)]
    Web(Web),
    /// Let ssh, scp, rsync and editors reach VMs as NAME.banger
    #[command(after_help = host::SSH_CONFIG_HELP)]
    SshConfig(SshConfig),
    /// Print a script that lets a shell complete commands and names
    #[command(after_help = host::COMPLETIONS_HELP)]
    Completions(Completions),
    /// Print the version
    Version,
}

/// Refuses what can be neither a name nor an id, and would mean something
/// else in a request's path.
fn key(text: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.is_empty() && text.bytes().all(fine) {
        return Ok(text.to_owned());
    }
    Err("neither a name nor an id: those are of lowercase letters, digits and '-'".to_owned())
}

/// What makes a VM's name one that ssh's configuration knows.
pub const SUFFIX: &str = ".banger";

/// The VM that ssh calls so.
pub fn vm_of_host(text: &str) -> Result<String, String> {
    key(text.strip_suffix(SUFFIX).unwrap_or(text))
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Print JSON; for what takes a while, an event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Vm {
    /// Make a VM and start it
    #[command(
        after_help = "Examples:\n  banger vm create\n  banger vm create dev --memory 4G --disk 32G\n  banger vm create --name ci --network none --wait ssh --json"
    )]
    Create(Create),
    /// Start a stopped VM
    #[command(after_help = "Example:\n  banger vm start dev --wait ssh")]
    Start(Start),
    /// Shut a VM down in an orderly way
    #[command(after_help = "Example:\n  banger vm stop dev")]
    Stop(Act),
    /// Stop a VM, then start it
    #[command(after_help = "Example:\n  banger vm restart dev")]
    Restart(Start),
    /// End a VM at once, as a power cut does
    #[command(after_help = "Example:\n  banger vm kill dev")]
    Kill(Act),
    /// Delete VMs with their disks
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  banger vm delete dev\n  banger vm delete --yes a b c"
    )]
    Delete(Delete),
    /// List VMs
    #[command(visible_alias = "ls", after_help = "Example:\n  banger vm list --json")]
    List(Format),
    /// Show a VM
    #[command(after_help = "Example:\n  banger vm show dev\n  banger vm show dev --secrets")]
    Show(Show),
    /// Enter a VM, or run a command line in it with a terminal
    #[command(
        after_help = "Examples:\n  banger vm ssh dev\n  banger vm ssh dev -- htop\n  banger vm ssh dev -- 'cd src && make'\n\nOne argument is a line for the VM's shell; several are passed on as they are."
    )]
    Ssh(Ssh),
    /// Run a command in a VM without a terminal
    #[command(after_help = "Example:\n  banger vm exec dev -- tar -C /root -c src > src.tar")]
    Exec(Exec),
    /// Make a port of a VM reachable on this machine, until Ctrl-C
    #[command(after_help = guest::FORWARD_HELP)]
    Forward(Forward),
    /// List the ports that programs in a VM listen on
    #[command(after_help = "Example:\n  banger vm ports dev")]
    Ports(Ports),
    /// Show what a VM wrote to its serial console
    #[command(
        after_help = "Examples:\n  banger vm logs dev\n  banger vm logs dev --follow --lines 10"
    )]
    Logs(Logs),
    /// Show what VMs use of this machine
    #[command(after_help = "Examples:\n  banger vm stats\n  banger vm stats dev --json")]
    Stats(Stats),
    /// Give a VM another name
    #[command(after_help = "Example:\n  banger vm rename dev old")]
    Rename(Rename),
    /// Change a stopped VM's CPUs, memory or work disk
    #[command(
        after_help = "Examples:\n  banger vm set dev --memory 4G\n  banger vm set dev --vcpus 4 --disk 64G\n\nA work disk only grows."
    )]
    Set(Set),
    /// Let a VM's root overlay take more; one that was paused for that goes on
    #[command(after_help = "Example:\n  banger vm resize-overlay dev --size 4G")]
    ResizeOverlay(ResizeOverlay),
    /// Connect standard input and output to a TCP port of the guest
    #[command(hide = true)]
    Proxy(Proxy),
    /// Print the line of known_hosts that pins a VM's key
    #[command(hide = true)]
    KnownHost(KnownHost),
}

#[derive(Debug, Args)]
pub struct Create {
    /// The name: a DNS label; generated where none is given
    #[arg(value_name = "NAME")]
    pub positional: Option<Name>,
    /// The name, as an option
    #[arg(long, value_name = "NAME", conflicts_with = "positional")]
    pub name: Option<Name>,
    /// The image [default: from the configuration, 'debian']
    #[arg(long, value_parser = key, add = complete::an_image())]
    pub image: Option<String>,
    /// Virtual CPUs [default: from the configuration, 2]
    #[arg(long, value_name = "N")]
    pub vcpus: Option<u32>,
    /// Memory, such as 512M or 4G [default: from the configuration, 1G]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// The work disk, mounted at /root [default: from the configuration, 8G]
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Size>,
    /// The network [default: user; with firecracker nat, if there can be one]
    #[arg(long, value_enum)]
    pub network: Option<NetworkArg>,
    /// The network nat
    #[arg(long, conflicts_with = "network")]
    pub nat: bool,
    /// What runs it: firecracker needs KVM [default: from the configuration, qemu]
    #[arg(long, value_enum)]
    pub vmm: Option<VmmArg>,
    /// How the root overlay lies on the host [default: the first that is instant]
    #[arg(long, value_enum)]
    pub root_disk: Option<RootDiskArg>,
    /// How much what changes on its root disk may take: it is paused when that is reached
    /// [default: as much as the image has]
    #[arg(long, value_name = "SIZE")]
    pub overlay: Option<Size>,
    /// What each disk may move in a second, such as 100M
    #[arg(long, value_name = "SIZE")]
    pub disk_bandwidth: Option<Size>,
    /// What each disk may do in a second, in operations
    #[arg(long, value_name = "N")]
    pub disk_ops: Option<u64>,
    /// What the network may move each way in a second; with firecracker only
    #[arg(long, value_name = "SIZE")]
    pub net_bandwidth: Option<Size>,
    /// What the network may do each way in a second, in packets; with firecracker only
    #[arg(long, value_name = "N")]
    pub net_ops: Option<u64>,
    /// Do not run the opencode server
    #[arg(long)]
    pub no_opencode: bool,
    /// Leave it stopped
    #[arg(long, conflicts_with_all = ["wait", "no_wait"])]
    pub no_start: bool,
    #[command(flatten)]
    pub wait: Wait,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Wait {
    /// How ready it must be before the command ends
    #[arg(long, value_enum, default_value = "ready")]
    pub wait: WaitArg,
    /// Begin, and do not wait at all
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum NetworkArg {
    /// Outbound only, without privilege
    User,
    /// An address that this machine can reach, and outbound; needs sudo (see 'banger doctor')
    Nat,
    /// None; SSH and guest ports work all the same
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum VmmArg {
    /// QEMU's microvm machine, emulated where KVM does not work
    Qemu,
    /// Firecracker
    Firecracker,
}

impl From<VmmArg> for Vmm {
    fn from(arg: VmmArg) -> Self {
        match arg {
            VmmArg::Qemu => Self::Qemu,
            VmmArg::Firecracker => Self::Firecracker,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RootDiskArg {
    /// A file of what differs from the image
    Qcow2,
    /// A copy of the image: shared where the file system can, else without its holes
    Clone,
    /// A snapshot by the device mapper, which needs sudo (see 'banger doctor')
    DmSnapshot,
}

impl From<RootDiskArg> for RootDisk {
    fn from(arg: RootDiskArg) -> Self {
        match arg {
            RootDiskArg::Qcow2 => Self::Qcow2,
            RootDiskArg::Clone => Self::Clone,
            RootDiskArg::DmSnapshot => Self::DmSnapshot,
        }
    }
}

impl From<NetworkArg> for Network {
    fn from(arg: NetworkArg) -> Self {
        match arg {
            NetworkArg::User => Self::User,
            NetworkArg::Nat => Self::Nat,
            NetworkArg::None => Self::None,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum WaitArg {
    /// The agent in the guest answers
    Agent,
    /// The SSH server answers too
    Ssh,
    /// The opencode server answers too, where it is on
    Ready,
}

impl From<WaitArg> for WaitFor {
    fn from(arg: WaitArg) -> Self {
        match arg {
            WaitArg::Agent => Self::Agent,
            WaitArg::Ssh => Self::Ssh,
            WaitArg::Ready => Self::Ready,
        }
    }
}

#[derive(Debug, Args)]
pub struct Start {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    #[command(flatten)]
    pub wait: Wait,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Act {
    /// The VMs: names, ids or starts of ids
    #[arg(required = true, value_parser = key, add = complete::a_vm())]
    pub vms: Vec<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The VMs: names, ids or starts of ids
    #[arg(required = true, value_parser = key, add = complete::a_vm())]
    pub vms: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// Show its passwords too
    #[arg(long)]
    pub secrets: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct Ssh {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// What to run instead of a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The VM: name, id or start of the id
    #[arg(value_parser = key, add = complete::a_vm())]
    pub vm: String,
    /// What to run
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct KnownHost {
    /// The VM, with or without .banger: it is pinned by this name
    pub host: String,
}

#[derive(Debug, Args)]
pub struct Proxy {
    /// The VM: name, id or start of the id; .banger may follow
    #[arg(value_parser = vm_of_host, add = complete::a_vm())]
    pub vm: String,
    /// The port in the guest
    pub port: u16,
}

#[derive(Debug, Subcommand)]
pub enum Daemon {
    /// Start it; fine if it runs
    #[command(after_help = "Example:\n  banger daemon start")]
    Start,
    /// Stop it; VMs run on
    #[command(after_help = "Example:\n  banger daemon stop")]
    Stop,
    /// Stop it and start it; VMs run on
    #[command(after_help = "Example:\n  banger daemon restart")]
    Restart,
    /// Show whether it runs and what it does
    #[command(after_help = "Example:\n  banger daemon status --json")]
    Status(Format),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_does_something_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let path = format!("{path} {}", sub.get_name());
                if sub.has_subcommands() {
                    check(sub, &path);
                } else if sub.get_name() != "version" {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains(&format!("banger{path}")), "no example:{path}");
                }
            }
        }
        check(&Cli::command(), "");
    }
}
