//! `banger image`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::{self, BuildStep, CopyIn, CopyVm, ImageInfo, MakeImage, Package};
use banger_core::image::{Image, Source};
use banger_core::name::Name;
use banger_core::operation::Object;
use banger_core::size::Size;
use banger_wire::Method;

use crate::cli::{
    self, Build, BuildDebian, BuildFrom, BuildSigned, Distribution, ImportImage, PromoteImage,
    PruneImages, PullImage, RegisterImage,
};
use crate::cmd::config;
use crate::cmd::vm::confirm;
use crate::error::CommandError;
use crate::follow::{self, OK};
use crate::{daemon, output};

/// How long an image may take to be read whole.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);

pub async fn run(command: cli::Image) -> Result<ExitCode, CommandError> {
    match command {
        cli::Image::Build(args) => match *args {
            Build { distribution: Some(Distribution::Debian(args)), .. } => build(args).await,
            Build { distribution: Some(Distribution::Void(args)), .. } => {
                build_signed(args, "void", MakeImage::Void).await
            }
            Build { distribution: Some(Distribution::Alpine(args)), .. } => {
                build_signed(args, "alpine", MakeImage::Alpine).await
            }
            Build { distribution: None, from } => build_from(from).await,
        },
        cli::Image::Register(args) => register(args).await,
        cli::Image::Pull(args) => pull(args).await,
        cli::Image::Import(args) => import(args).await,
        cli::Image::Promote(args) => promote(args).await,
        cli::Image::Prune(args) => prune(args).await,
        cli::Image::List(format) => {
            let list: Vec<ImageInfo> = daemon::connect().await?.get("/v1/images").await?;
            if format.json {
                output::json(&list);
            } else if list.is_empty() {
                output::note("no images; make one with 'banger image build debian'");
            } else {
                output::line(&table(&list));
            }
            Ok(OK)
        }
        cli::Image::Show(args) if args.packages => {
            let path = format!("/v1/images/{}/packages", args.image);
            let list: Vec<Package> = daemon::connect().await?.get(&path).await?;
            if args.format.json {
                output::json(&list);
            } else {
                let row =
                    |package: Package| vec![package.name, package.version, package.architecture];
                let rows: Vec<_> = list.into_iter().map(row).collect();
                output::line(&output::table(&["NAME", "VERSION", "ARCHITECTURE"], &rows));
            }
            Ok(OK)
        }
        cli::Image::Show(args) => {
            let client = daemon::connect().await?;
            // All of it is read: that may take a while on a slow disk.
            let client = if args.verify { client.within(VERIFY_LIMIT) } else { client };
            let path = format!("/v1/images/{}?verify={}", args.image, args.verify);
            let image: ImageInfo = client.get(&path).await?;
            if args.format.json {
                output::json(&image)
            } else {
                output::line(&describe(&image))
            }
            Ok(if args.verify && image.damage.is_some() { ExitCode::FAILURE } else { OK })
        }
        cli::Image::Delete(args) => {
            let client = daemon::connect().await?;
            client.send::<()>(Method::DELETE, &format!("/v1/images/{}", args.image), None).await?;
            if !args.format.json {
                output::line(&format!("{} is deleted", args.image));
            }
            Ok(OK)
        }
    }
}

async fn build(args: BuildDebian) -> Result<ExitCode, CommandError> {
    let request = api::BuildDebian {
        name: args.name,
        suite: args.suite,
        packages: args.packages,
        size: args.size,
        mirror: args.mirror,
        opencode: !args.no_opencode,
    };
    make(&MakeImage::Debian(request), args.format.json).await
}

async fn build_signed(
    args: BuildSigned,
    distribution: &str,
    of: fn(api::BuildSigned) -> MakeImage,
) -> Result<ExitCode, CommandError> {
    let request = api::BuildSigned {
        name: named(args.name, distribution)?,
        release: args.release,
        mirror: args.mirror,
        keys: args.keys.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
        packages: args.packages,
        size: args.size,
        opencode: args.no_opencode.then_some(false),
        step: args.step.map(Into::into),
    };
    let (name, step) = (request.name.clone(), request.step);
    let ended = make(&of(request), args.format.json).await?;
    let next = match step {
        Some(BuildStep::Kernel) => ("kernel", "rootfs"),
        Some(BuildStep::Rootfs) => ("root file system", "register"),
        Some(BuildStep::Register) | None => return Ok(ended),
    };
    if !args.format.json {
        let (part, next) = next;
        output::line(&format!(
            "the {part} of '{name}' is there; next: banger image build {distribution} --name {name} \
             --step {next}"
        ));
    }
    Ok(ended)
}

async fn build_from(args: BuildFrom) -> Result<ExitCode, CommandError> {
    // Both are asked for by the grammar.
    let (Some(image), Some(name)) = (args.from, args.name) else {
        return Err(CommandError::new("--from and --name are needed").code(2));
    };
    let copies =
        args.copies.into_iter().map(|(from, to)| absolute(&from).map(|from| CopyIn { from, to }));
    let request = api::BuildFrom {
        image,
        name,
        size: args.size,
        vcpus: args.vcpus,
        memory: args.memory,
        copies: copies.collect::<Result<_, _>>()?,
        modules: args.modules.as_deref().map(absolute).transpose()?,
        packages: args.packages,
        scripts: args.scripts.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
    };
    make(&MakeImage::Image(request), args.format.json).await
}

async fn register(args: RegisterImage) -> Result<ExitCode, CommandError> {
    let request = api::RegisterImage {
        name: args.name,
        rootfs: absolute(&args.rootfs)?,
        kernel: absolute(&args.kernel)?,
        initramfs: args.initrd.as_deref().map(absolute).transpose()?,
        modules: args.modules.as_deref().map(absolute).transpose()?,
        boot_args: args.boot_args,
        work_seed: args.work_seed.as_deref().map(absolute).transpose()?,
    };
    make(&MakeImage::Files(request), args.format.json).await
}

async fn pull(args: PullImage) -> Result<ExitCode, CommandError> {
    let request = api::PullImage {
        name: named(args.root.name, repository(&args.reference))?,
        reference: args.reference,
        size: args.root.size,
        boot_set: args.root.boot_set,
        docker_config: docker_config()?,
    };
    make(&MakeImage::Registry(request), args.format.json).await
}

/// The last word of a reference: `host:5000/team/dev:1@sha256:…` is a `dev`.
pub fn repository(reference: &str) -> &str {
    let path = reference.split('@').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// The folder of Docker's configuration that the person has named.
pub fn docker_config() -> Result<Option<String>, CommandError> {
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    folder.as_deref().map(Path::new).map(absolute).transpose()
}

async fn import(args: ImportImage) -> Result<ExitCode, CommandError> {
    let path = absolute(&args.path)?;
    let file = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
    let name = named(args.root.name, file.split('.').next().unwrap_or_default())?;
    let request = api::ImportImage {
        reference: args.reference,
        name,
        size: args.root.size,
        boot_set: args.root.boot_set,
        path,
    };
    make(&MakeImage::Archive(request), args.format.json).await
}

/// The name that was given, or one like a word of another's choice.
pub fn named(given: Option<Name>, word: &str) -> Result<Name, CommandError> {
    if let Some(name) = given {
        return Ok(name);
    }
    let plain = word.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let parts: Vec<_> = plain.split('-').filter(|part| !part.is_empty()).collect();
    let hint = "give the new image a name with '--name'";
    parts.join("-").parse().map_err(|_| {
        CommandError::new(format!("'{word}' makes no name for an image")).remedy(hint).code(2)
    })
}

/// A path as the daemon understands it, whatever folder that runs in. What is a link leads to
/// something else tomorrow, so it is followed now.
fn absolute(path: &Path) -> Result<String, CommandError> {
    let found = path.canonicalize().map_err(|error| {
        CommandError::new(format!("cannot use {}: {error}", path.display())).code(2)
    })?;
    found.into_os_string().into_string().map_err(|_| {
        CommandError::new(format!("{} has a name that is not UTF-8", path.display())).code(2)
    })
}

async fn make(request: &MakeImage, json: bool) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let done =
        follow::run(&client, (Method::POST, "/v1/images"), Some(request), true, json).await?;
    if let (Some(Object::Image(image)), false) = (done, json) {
        output::line(&format!(
            "the image '{0}' is there; try: banger vm create --image {0}",
            image.name
        ));
    }
    Ok(OK)
}

async fn promote(args: PromoteImage) -> Result<ExitCode, CommandError> {
    let json = args.format.json;
    if let (Some(vm), Some(name)) = (args.from_vm, args.name) {
        return make(&MakeImage::Vm(CopyVm { vm, name }), json).await;
    }
    let client = daemon::connect().await?;
    let path = format!("/v1/images/{}/promote", args.image.unwrap_or_default());
    let done = follow::run::<()>(&client, (Method::POST, &path), None, true, json).await?;
    if let (Some(Object::Image(image)), false) = (done, json) {
        output::line(&format!("all files of '{}' are in banger's store", image.name));
    }
    Ok(OK)
}

async fn prune(args: PruneImages) -> Result<ExitCode, CommandError> {
    let client = daemon::connect().await?;
    let default = config::current()?.image;
    // It may be named by its id; and there may be none.
    let default = client.get::<ImageInfo>(&format!("/v1/images/{default}")).await.ok();
    let mut list: Vec<ImageInfo> = client.get("/v1/images").await?;
    list.retain(|info| info.used_by.is_empty());
    list.retain(|info| default.as_ref().is_none_or(|default| default.image.id != info.image.id));
    let names: Vec<_> = list.iter().map(|info| info.image.name.as_str()).collect();
    if !args.dry_run && !list.is_empty() {
        if !args.yes {
            confirm(&format!("delete {}", names.join(", ")))?;
        }
        for info in &list {
            let path = format!("/v1/images/{}", info.image.id);
            client.send::<()>(Method::DELETE, &path, None).await?;
        }
    }
    if args.format.json {
        output::json(&list);
    } else if list.is_empty() {
        output::note("no image that could go: VMs use them, or it is the default one");
    } else {
        let freed = Size::bytes(list.iter().map(|info| info.real_bytes).sum());
        let what = if args.dry_run { "would be deleted" } else { "deleted" };
        output::line(&format!("{what}: {} ({freed})", names.join(", ")));
    }
    Ok(OK)
}

/// What an image was made of, in a few words.
pub fn source(image: &Image) -> String {
    match &image.source {
        Source::Debian { suite } => format!("debian {suite}"),
        Source::Void { release } => format!("void {release}"),
        Source::Alpine { release } => format!("alpine {release}"),
        Source::Registered => "files".to_owned(),
        Source::Image => "image".to_owned(),
        Source::Vm { vm } => format!("VM {vm}"),
        // The end of a reference tells more than its beginning; its digest is in `digest`.
        Source::Oci { reference, .. } => {
            let name = reference.split([' ', '@']).next().unwrap_or(reference);
            name.rsplit('/').next().unwrap_or(name).to_owned()
        }
    }
}

fn table(list: &[ImageInfo]) -> String {
    let row = |info: &ImageInfo| {
        let image = &info.image;
        vec![
            image.name.to_string(),
            image.id.short().to_owned(),
            source(image),
            image.boot_set.kernel_release.clone(),
            Size::bytes(info.apparent_bytes).to_string(),
            Size::bytes(info.real_bytes).to_string(),
            image.opencode.clone().unwrap_or_else(|| "-".to_owned()),
            image.parent.as_ref().map_or_else(|| "-".to_owned(), |parent| parent.name.to_string()),
            info.used_by.len().to_string(),
            info.damage.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output::table(
        &["NAME", "ID", "SOURCE", "KERNEL", "SIZE", "ON DISK", "OPENCODE", "PARENT", "VMS", ""],
        &rows,
    )
}

fn describe(info: &ImageInfo) -> String {
    let image = &info.image;
    let agent = image.boot_set.agent_version.clone();
    let users = if info.used_by.is_empty() { "nobody".to_owned() } else { info.used_by.join(", ") };
    let lines = [
        ("name", image.name.to_string()),
        ("id", image.id.to_string()),
        ("source", source(image)),
        ("kernel", image.boot_set.kernel_release.clone()),
        ("boot args", image.boot_set.boot_args.clone()),
        ("rootfs", image.rootfs_size.to_string()),
        ("size", Size::bytes(info.apparent_bytes).to_string()),
        ("on disk", Size::bytes(info.real_bytes).to_string()),
        ("opencode", image.opencode.clone().unwrap_or_else(|| "none".to_owned())),
        ("agent", agent.unwrap_or_else(|| "none: the initramfs is not banger's".to_owned())),
        ("init", image.init.name().to_owned()),
        ("used by", users),
    ];
    let oci = match &image.source {
        Source::Oci { reference, digest } => {
            vec![("reference", reference.clone()), ("digest", digest.clone())]
        }
        _ => Vec::new(),
    };
    let parent = image.parent.iter().map(|parent| ("parent", parent.name.to_string()));
    let place = image.in_place.iter().map(|place| ("in place", place.rootfs.clone()));
    let parts = image.parts.iter().map(|part| {
        let size = Size::bytes(part.bytes).to_string();
        ("file", format!("{:<17}{size:>9}  {}", part.name, part.digest))
    });
    let damage = info.damage.iter().map(|damage| ("damage", damage.clone()));
    let lines = lines.into_iter().chain(oci).chain(parent).chain(place).chain(parts).chain(damage);
    lines.map(|(name, value)| format!("{name:<11}{value}")).collect::<Vec<_>>().join("\n")
}
