//! The tools of others.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use banger_exec::{Cancel, Command, HostRunner, Runner as _, Tool, Tools};
use banger_image::oci::{Digest, Image, Import, Layer, import};
use banger_testkit::{Registry, others};
use tempfile::TempDir;

use crate::testing::{Item, layer};

pub const USER: &str = "me";
pub const PASSWORD: &str = "secret word";
/// bcrypt of [`PASSWORD`], the one kind that the registry reads, in its fewest rounds.
const HTPASSWD: &str = "me:$2y$04$w6LTMkpL7ZvVLTgJAAI2hOt0PErF7GEEH32u4SFUCmPQ4hHidNxcm\n";

pub fn run(command: &Command) {
    HostRunner::new(Tools::discover()).capture(command).unwrap();
}

fn skopeo(args: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    run(&others(Tool::Skopeo, home.path()).arg("--insecure-policy").args(args));
}

pub fn import_from(path: &Path, cache: &Path) -> Image {
    let cancel = Cancel::default();
    let (name, progress) = (None, &|_| {});
    import(&Import { path, name, cache, limit: 1 << 30, cancel: &cancel, progress }).unwrap()
}

/// An image that umoci made, named `image`.
pub struct Layout {
    dir: TempDir,
}

impl Layout {
    pub fn new(layers: &[Vec<Item>]) -> Self {
        let layout = Self { dir: tempfile::tempdir().unwrap() };
        let image = layout.image();
        layout.umoci(&["init", "--layout", layout.path("layout").to_str().unwrap()]);
        layout.umoci(&["new", "--image", &image]);
        for items in layers {
            let path = layout.path("layer.tar");
            std::fs::write(&path, layer(items)).unwrap();
            layout.umoci(&["raw", "add-layer", "--image", &image, path.to_str().unwrap()]);
        }
        let config = ["config", "--image", &image, "--os", "linux", "--architecture", "amd64"];
        let more = ["--config.env", "A=1", "--config.env", "B=two words"];
        let more = more.into_iter().chain([
            "--config.entrypoint",
            "/bin/tool",
            "--config.entrypoint",
            "-x",
        ]);
        let more = more.chain(["--config.label", "org.example=label"]);
        layout.umoci(&config.into_iter().chain(more).collect::<Vec<_>>());
        layout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self) -> String {
        format!("{}:image", self.path("layout").display())
    }

    fn umoci(&self, args: &[&str]) {
        run(&others(Tool::Umoci, self.dir.path()).args(args));
    }

    /// What umoci unpacks it to. An ordinary user gets no owners and no devices.
    pub fn unpack(&self, to: &Path) -> Result<(), String> {
        let rootless = (!rustix::process::geteuid().is_root()).then_some("--rootless");
        let args = ["raw", "unpack", "--image"].into_iter().chain(rootless);
        let mut args: Vec<&str> = args.collect();
        let image = self.image();
        args.insert(3, &image);
        args.push(to.to_str().unwrap());
        let unpack = others(Tool::Umoci, self.dir.path()).args(args);
        let result = HostRunner::new(Tools::discover()).capture(&unpack);
        result.map(drop).map_err(|error| error.to_string())
    }

    /// Imports it as it is.
    pub fn import(&self) -> Image {
        import_from(&self.path("layout"), self.dir.path())
    }

    /// The same as another kind of file or folder.
    pub fn convert(&self, kind: &str) -> PathBuf {
        let path = self.path(kind);
        let name = if kind == "docker-archive" { ":example.org/a/b:1" } else { "" };
        let target = format!("{kind}:{}{name}", path.display());
        skopeo(&["copy", &format!("oci:{}", self.image()), &target]);
        path
    }
}

/// Docker's registry, gone with this.
pub struct Server(Registry);

impl Deref for Server {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.0
    }
}

impl Server {
    /// Anybody may pull and push.
    pub fn open() -> Self {
        Self(Registry::start(|_| Ok(String::new())).unwrap())
    }

    /// Only [`USER`] may.
    pub fn with_password() -> Self {
        let auth = |dir: &Path| {
            let path = dir.join("htpasswd");
            std::fs::write(&path, HTPASSWD)?;
            Ok(format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display()))
        };
        Self(Registry::start(auth).unwrap())
    }

    /// Only who has a token may; it sends us to `realm` for one and believes in any.
    pub fn with_tokens(realm: &str) -> Self {
        let auth = format!("auth: {{silly: {{realm: '{realm}', service: test}}}}\n");
        Self(Registry::start(|_| Ok(auth.clone())).unwrap())
    }

    /// Pushes an image, and returns its name.
    pub fn push(&self, layout: &Layout, name: &str, options: &[&str]) -> String {
        let target = format!("{}/{name}", self.address);
        let (from, to) = (format!("oci:{}", layout.image()), format!("docker://{target}"));
        let args = ["copy", "--dest-tls-verify=false"].iter().chain(options);
        skopeo(&args.copied().chain([from.as_str(), to.as_str()]).collect::<Vec<_>>());
        target
    }

    /// Puts an index of images that are there: the registry refuses others.
    pub fn push_index(&self, repository: &str, tag: &str, images: &[(&str, Digest)]) -> String {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let entry = |(architecture, digest): &(&str, Digest)| {
            let platform = format!(r#"{{"os": "linux", "architecture": "{architecture}"}}"#);
            format!(
                r#"{{"mediaType": "{kind}", "digest": "{digest}", "size": 1, "platform": {platform}}}"#
            )
        };
        let list = images.iter().map(entry).collect::<Vec<_>>().join(",");
        let kind = "application/vnd.oci.image.index.v1+json";
        let index =
            format!(r#"{{"schemaVersion": 2, "mediaType": "{kind}", "manifests": [{list}]}}"#);
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        ureq::put(&url).header("Content-Type", kind).send(&index).unwrap();
        format!("{}/{repository}:{tag}", self.address)
    }

    /// Changes a byte of a layer where the registry keeps it.
    pub fn damage(&self, layer: &Layer) {
        let path = self.blob(&layer.digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}
