//! `banger image`.

use std::process::ExitCode;
use std::time::Duration;

use banger_core::api::{BuildImage, ImageInfo};
use banger_core::image::{Image, Source};
use banger_core::operation::Object;
use banger_core::size::Size;
use banger_wire::Method;

use crate::cli::{self, Build, BuildDebian};
use crate::error::CommandError;
use crate::follow::{self, OK};
use crate::{daemon, output};

/// How long an image may take to be read whole.
const VERIFY_LIMIT: Duration = Duration::from_secs(600);

pub async fn run(command: cli::Image) -> Result<ExitCode, CommandError> {
    match command {
        cli::Image::Build(Build::Debian(args)) => build(args).await,
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
    let client = daemon::connect().await?;
    let request = BuildImage {
        name: args.name,
        suite: args.suite,
        packages: args.packages,
        size: args.size,
        mirror: args.mirror,
        opencode: !args.no_opencode,
    };
    let json = args.format.json;
    let done =
        follow::run(&client, (Method::POST, "/v1/images"), Some(&request), true, json).await?;
    if let (Some(Object::Image(image)), false) = (done, json) {
        output::line(&format!(
            "the image '{0}' is there; try: banger vm create --image {0}",
            image.name
        ));
    }
    Ok(OK)
}

fn source(image: &Image) -> String {
    match &image.source {
        Source::Debian { suite } => format!("debian {suite}"),
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
            info.damage.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    output::table(&["NAME", "ID", "SOURCE", "KERNEL", "SIZE", "ON DISK", "OPENCODE", ""], &rows)
}

fn describe(info: &ImageInfo) -> String {
    let image = &info.image;
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
        ("agent", image.boot_set.agent_version.clone()),
        ("used by", users),
    ];
    let damage = info.damage.iter().map(|damage| ("damage", damage.clone()));
    let lines = lines.into_iter().chain(damage);
    lines.map(|(name, value)| format!("{name:<11}{value}")).collect::<Vec<_>>().join("\n")
}
