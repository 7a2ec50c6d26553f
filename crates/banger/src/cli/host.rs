//! The grammar of the commands that are about this machine.

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

/// Below the help of `doctor`.
pub const TUI_HELP: &str = "\
Examples:
  banger tui
  NO_COLOR=1 banger tui

? shows the keys, q leaves. What is under way goes on without it.";

pub const DOCTOR_HELP: &str = "\
Examples:
  banger doctor
  banger doctor --json
  banger doctor --sudoers | sudo tee /etc/sudoers.d/banger
  banger doctor --fix

It exits with 1 if something is missing. It starts no daemon, but for --fix: what is nobody's, only
the daemon knows.";

/// Below the help of `completions`.
pub const COMPLETIONS_HELP: &str = "\
Examples:
  source <(banger completions bash)    in ~/.bashrc
  source <(banger completions zsh)     in ~/.zshrc, after compinit
  banger completions fish | source     in ~/.config/fish/completions/banger.fish

The names of VMs and images are asked of the daemon if it runs.";

#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the line of /etc/sudoers.d/banger that lets the daemon do what needs root, and that
    /// alone, without a password; refuse if others than root could change what would run
    #[arg(long, conflicts_with = "json")]
    pub sudoers: bool,
    /// Release what is recognisably banger's on this machine, and no VM's
    #[arg(long, conflicts_with = "sudoers")]
    pub fix: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show every key with its value, its meaning, and where it comes from
    #[command(after_help = "Examples:\n  banger config show\n  banger config show --json")]
    Show(Format),
    /// Print where the file is, whether there is one or not
    #[command(after_help = "Example:\n  ${EDITOR:-vi} \"$(banger config path)\"")]
    Path,
}

/// Below the help of `web`.
pub const WEB_HELP: &str = "\
Examples:
  banger web
  banger web --no-open
  banger web --json

The URL lets one browser in, once, and for two minutes. The console is served on this machine only;
from another one, reach it by: ssh -L 7777:127.0.0.1:7777 HOST";

#[derive(Debug, Args)]
pub struct Web {
    /// Print the URL, and open no browser
    #[arg(long)]
    pub no_open: bool,
    #[command(flatten)]
    pub format: Format,
}

/// Below the help of `ssh-config`.
pub const SSH_CONFIG_HELP: &str = "\
Examples:
  banger ssh-config --install
  rsync -a src/ dev.banger:src/
  banger ssh-config > /tmp/c; ssh -F /tmp/c dev.banger

It needs OpenSSH 8.5 or newer. No network is needed: it goes by vsock.";

#[derive(Debug, Args)]
pub struct SshConfig {
    /// Write it beside banger's configuration, and include it in ~/.ssh/config
    #[arg(long, conflicts_with = "remove")]
    pub install: bool,
    /// Take it out of there again
    #[arg(long)]
    pub remove: bool,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Zsh,
}
