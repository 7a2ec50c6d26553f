//! The grammar of `banger image`.

use std::path::PathBuf;

use banger_core::api::BuildStep;
use banger_core::name::Name;
use banger_core::size::Size;
use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{Format, key};
use crate::complete;

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Build an image
    #[command(
        arg_required_else_help = true,
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Examples:\n  banger image build debian\n  banger image build --from debian --name dev --package build-essential --run setup.sh\n  banger image build --from debian --name big --size 32G --copy ./dotfiles:/etc/skel\n\nWith --from, a VM is made of that image for the build alone: --copy comes first, then --modules,\n--package and --run. The new image has the boot set of the old one."
    )]
    Build(Box<Build>),
    /// Make an image of files that stay where they lie
    #[command(
        after_help = "Examples:\n  banger image register --name mine --rootfs root.ext4 --kernel vmlinuz\n  banger image register --name mine --rootfs root.ext4 --kernel vmlinuz --modules lib/modules/6.1.0 --boot-args 'root=/dev/vda rw console=ttyS0'\n\nThe files must not change from then on: 'banger image promote' makes copies that cannot.\nWithout --initrd banger makes an initramfs, of the modules in the root file system or of\n--modules."
    )]
    Register(RegisterImage),
    /// Make an image of one for containers, from a registry
    #[command(
        after_help = "Examples:\n  banger image pull registry.example/team/dev:1\n  banger image pull localhost:5000/dev --name dev --boot-set debian\n\nIts root must have systemd, OpenRC or runit, and sshd: images that run one program have neither.\nThe kernel is that of an image of yours. Credentials are those of 'docker login'."
    )]
    Pull(PullImage),
    /// Make an image of one for containers, from a file or folder
    #[command(
        after_help = "Examples:\n  docker save dev:1 -o dev.tar && banger image import dev.tar\n  banger image import ./layout --reference dev:1 --name dev\n\nIt may be a layout of the OCI, as a folder or archive, or what 'docker save' writes."
    )]
    Import(ImportImage),
    /// Copy the files of a registered image into banger's store, or make an image of a VM's root
    #[command(
        after_help = "Examples:\n  banger image promote mine\n  banger image promote --from-vm dev --name dev-tools\n\nThe VM must be stopped. What is on its work disk (/root) is not in the image, nor what made it\nthat VM: host keys, machine id, leases, logs."
    )]
    Promote(PromoteImage),
    /// Delete the images that no VM uses, but for the default one
    #[command(after_help = "Examples:\n  banger image prune --dry-run\n  banger image prune --yes")]
    Prune(PruneImages),
    /// List images
    #[command(visible_alias = "ls", after_help = "Example:\n  banger image list")]
    List(Format),
    /// Show an image
    #[command(
        after_help = "Examples:\n  banger image show debian --json\n  banger image show debian --verify\n  banger image show debian --packages"
    )]
    Show(ShowImage),
    /// Delete an image that no VM uses
    #[command(visible_alias = "rm", after_help = "Example:\n  banger image delete debian")]
    Delete(DeleteImage),
}

#[derive(Debug, Args)]
pub struct RegisterImage {
    /// The image's name
    #[arg(long)]
    pub name: Name,
    /// The root file system: ext4, raw
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub rootfs: PathBuf,
    /// The kernel: a vmlinux with a PVH note, or a bzImage
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: PathBuf,
    /// An initramfs [default: one of banger's own]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub initrd: Option<PathBuf>,
    /// The folder of the kernel's modules [default: in the root file system]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "initrd")]
    pub modules: Option<PathBuf>,
    /// The kernel's arguments [default: banger's own]
    #[arg(long, value_name = "ARGS")]
    pub boot_args: Option<String>,
    /// The ext4 file system that work disks start from [default: made of the home folder for VMs]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub work_seed: Option<PathBuf>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PullImage {
    /// The image, as 'docker pull' takes it
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    #[command(flatten)]
    pub root: ContainerRoot,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ImportImage {
    /// The file or folder
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub path: PathBuf,
    /// What the image is called in there; needed if there are several
    #[arg(long)]
    pub reference: Option<String>,
    #[command(flatten)]
    pub root: ContainerRoot,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ContainerRoot {
    /// The new image's name [default: the last word of what is given]
    #[arg(long)]
    pub name: Option<Name>,
    /// The root file system's size [default: 4G, or more if the layers have more]
    #[arg(long)]
    pub size: Option<Size>,
    /// The image whose kernel boots it [default: the image that new VMs have]
    #[arg(long, value_name = "IMAGE", value_parser = key, add = complete::an_image())]
    pub boot_set: Option<String>,
}

#[derive(Debug, Args)]
pub struct PromoteImage {
    /// The image: name, id or start of the id
    #[arg(value_parser = key, add = complete::an_image(), required_unless_present = "from_vm")]
    pub image: Option<String>,
    /// Make a new image of the root of this VM
    #[arg(long, value_name = "VM", value_parser = key, add = complete::a_vm(), requires = "name", conflicts_with = "image")]
    pub from_vm: Option<String>,
    /// The new image's name
    #[arg(long, requires = "from_vm")]
    pub name: Option<Name>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PruneImages {
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ShowImage {
    /// The image: name, id or start of the id
    #[arg(value_parser = key, add = complete::an_image())]
    pub image: String,
    /// Read its files and compare them with what was built; fail if they differ
    #[arg(long)]
    pub verify: bool,
    /// List the packages in its root instead
    #[arg(long, conflicts_with = "verify")]
    pub packages: bool,
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

#[derive(Debug, Args)]
pub struct Build {
    #[command(subcommand)]
    pub distribution: Option<Distribution>,
    #[command(flatten)]
    pub from: BuildFrom,
}

#[derive(Debug, Args)]
pub struct BuildFrom {
    /// The image to begin with: name, id or start of the id
    #[arg(long, value_name = "IMAGE", required = true, value_parser = key, add = complete::an_image())]
    pub from: Option<String>,
    /// The new image's name
    #[arg(long, required = true)]
    pub name: Option<Name>,
    /// The root file system's size [default: that of the image]
    #[arg(long)]
    pub size: Option<Size>,
    /// Copy a file, or what is in a folder, to a place in the root; may be given several times
    #[arg(long = "copy", value_name = "SRC:DST", value_parser = copy)]
    pub copies: Vec<(PathBuf, String)>,
    /// The folder of a kernel's modules, to go into /lib/modules
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub modules: Option<PathBuf>,
    /// A package to install, by apt, apk or xbps; may be given several times
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// A script to run in the guest, by root in /; may be given several times
    #[arg(long = "run", value_name = "SCRIPT", value_hint = ValueHint::FilePath)]
    pub scripts: Vec<PathBuf>,
    /// Virtual CPUs while it is built [default: those of a new VM]
    #[arg(long, value_name = "N")]
    pub vcpus: Option<u32>,
    /// Memory while it is built [default: that of a new VM]
    #[arg(long)]
    pub memory: Option<Size>,
    #[command(flatten)]
    pub format: Format,
}

/// A path of the host's, and one of the guest's behind the last colon that begins one.
fn copy(text: &str) -> Result<(PathBuf, String), String> {
    match text.rsplit_once(":/") {
        Some((from, to)) if !from.is_empty() => Ok((from.into(), format!("/{to}"))),
        _ => Err("write SRC:DST, with an absolute path in the guest as DST".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum Distribution {
    /// From Debian packages, with a boot set of its own; needs no root
    #[command(
        after_help = "Examples:\n  banger image build debian\n  banger image build debian --name dev --package build-essential --package tmux --size 16G"
    )]
    Debian(BuildDebian),
    /// From a release of Void Linux and packages of its repository, all of them signed; needs no
    /// root
    #[command(
        after_help = "Examples:\n  banger image build void\n  banger image build void --name dev --package tmux --package git --size 16G\n  banger image build void --mirror https://mirror.example/void --key release.pub --key repository.pem\n\nThe packages of the release are brought to the versions that the repository has now. Keys are\nneeded for what Void itself did not sign: of minisign for the release, of RSA for packages."
    )]
    Void(BuildSigned),
    /// From Alpine packages, with a boot set of its own; needs no root
    #[command(
        after_help = "Examples:\n  banger image build alpine\n  banger image build alpine --release edge --name edge --package git --package 'python3>3.12'\n  banger image build alpine --mirror https://mirror.example/alpine --key team@example.org-1.rsa.pub\n  banger image build alpine --step kernel && banger image build alpine --step rootfs --package git \\\n    && banger image build alpine --step register\n\nWhat is signed by Alpine's keys is trusted wherever it comes from; a mirror with packages of its\nown signs with its own key, whose file has the name by which it signs."
    )]
    Alpine(BuildSigned),
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

#[derive(Debug, Args)]
pub struct BuildSigned {
    /// The image's name [default: the distribution's]
    #[arg(long)]
    pub name: Option<Name>,
    /// The release: of Alpine a folder of its mirror, of Void a date [default: the one that banger
    /// knows best]
    #[arg(long)]
    pub release: Option<String>,
    /// Where all of it comes from [default: the distribution's public mirror]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub mirror: Option<String>,
    /// A public key to trust beside the distribution's own; may be given several times
    #[arg(long = "key", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub keys: Vec<PathBuf>,
    /// A package beyond the standard ones; may be given several times
    #[arg(long = "package", value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Do one step only, of which each leaves its part for the last
    #[arg(long, value_enum)]
    pub step: Option<Step>,
    /// The root file system's size [default: 4G, or more if there is more in it]
    #[arg(long)]
    pub size: Option<Size>,
    /// Leave the opencode server out
    #[arg(long)]
    pub no_opencode: bool,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Step {
    /// Get the kernel, and make its initramfs
    Kernel,
    /// Make the root file system
    Rootfs,
    /// Make the image of both
    Register,
}

impl From<Step> for BuildStep {
    fn from(step: Step) -> Self {
        match step {
            Step::Kernel => Self::Kernel,
            Step::Rootfs => Self::Rootfs,
            Step::Register => Self::Register,
        }
    }
}
