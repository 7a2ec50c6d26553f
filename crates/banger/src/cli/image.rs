//! The grammar of `banger image`.

use banger_core::name::Name;
use banger_core::size::Size;
use clap::{Args, Subcommand};

use super::{Format, key};
use crate::complete;

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Build an image
    #[command(subcommand, arg_required_else_help = true)]
    Build(Build),
    /// List images
    #[command(visible_alias = "ls", after_help = "Example:\n  banger image list")]
    List(Format),
    /// Show an image
    #[command(
        after_help = "Examples:\n  banger image show debian --json\n  banger image show debian --verify"
    )]
    Show(ShowImage),
    /// Delete an image that no VM uses
    #[command(visible_alias = "rm", after_help = "Example:\n  banger image delete debian")]
    Delete(DeleteImage),
}

#[derive(Debug, Args)]
pub struct ShowImage {
    /// The image: name, id or start of the id
    #[arg(value_parser = key, add = complete::an_image())]
    pub image: String,
    /// Read its files and compare them with what was built; fail if they differ
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DeleteImage {
    /// The image: name, id or start of the id
    #[arg(value_parser = key, add = complete::an_image())]
    pub image: String,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Build {
    /// From Debian packages, with a boot set of its own; needs no root
    #[command(
        after_help = "Examples:\n  banger image build debian\n  banger image build debian --name dev --package build-essential --package tmux --size 16G"
    )]
    Debian(BuildDebian),
}

#[derive(Debug, Args)]
pub struct BuildDebian {
    /// The image's name
    #[arg(long, default_value = "debian")]
    pub name: Name,
    /// The Debian suite
    #[arg(long, default_value = "bookworm")]
    pub suite: String,
    /// A package beyond the standard ones; may be given several times
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// The root file system's size
    #[arg(long, default_value = "4G")]
    pub size: Size,
    /// Where packages come from [default: Debian's public mirror]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// Leave the opencode server out
    #[arg(long)]
    pub no_opencode: bool,
    #[command(flatten)]
    pub format: Format,
}
