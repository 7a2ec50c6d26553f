//! Images made, pushed and unpacked by the tools that others use: `umoci`, `skopeo` and Docker's
//! registry. `script/setup --for test` gets them.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod proxy;
mod random;
#[path = "../../src/oci/testing.rs"]
mod testing;
mod tools;
mod tree;

use std::cell::RefCell;
use std::path::Path;

use banger_exec::Cancel;
use banger_image::oci::auth::{self, Credentials, Known};
use banger_image::oci::{Digest, Image, Limits, Pull, PullError, Reference, Root, pull};

use proxy::{Proxy, token_server};
use testing::{Item, device, dir, file, link, symlink};
use tools::{Layout, PASSWORD, Server, USER, import_from};
use tree::{Tree, unpack};

/// Two layers and a bit of everything. Every folder is described, and every whiteout is of
/// something, so that there is but one right answer.
fn system() -> [Vec<Item>; 3] {
    let long = format!("usr/share/{}", "n".repeat(180));
    let low = vec![
        dir("./"),
        dir("usr"),
        dir("usr/bin").mode(0o711),
        dir("usr/share"),
        symlink("bin", "usr/bin"),
        dir("etc").owner(0, 42),
        dir("old"),
        dir("old/deep"),
        dir("tmp").mode(0o1777),
        file("etc/os-release", "PRETTY_NAME=Test\n"),
        file("etc/passwd", "old"),
        file("usr/bin/su", "su").mode(0o4755),
        file("usr/bin/wall", "wall").mode(0o2755).owner(0, 5),
        link("usr/bin/su2", "usr/bin/su"),
        link("etc/su3", "usr/bin/su"),
        file("usr/bin/ping", "ping").xattr("security.capability", CAPABILITY),
        file("etc/attr", "x").xattr("user.x", "a\nb=c").owner(1000, 1001),
        file(&long, "long name"),
        link("usr/share/short", &long),
        file("old/a", "a"),
        file("old/deep/b", "b"),
        file("replaced", "file"),
        dir("folder"),
        file("folder/x", "x"),
    ];
    let middle = vec![
        // Below a link of the lower layer.
        file("bin/tool", "tool").mode(0o700).owner(7, 8),
        file("usr/bin/su", "new su").mode(0o755),
        dir("old"),
        file("old/.wh..wh..opq", ""),
        file("old/new", "new"),
        dir("replaced"),
        file("replaced/y", "y"),
        file("folder", "now a file"),
        dir("etc").mode(0o750).owner(0, 43),
        file("etc/.wh.passwd", ""),
        symlink("usr/lib", "share"),
        symlink("usr/share/abs", "/etc"),
        file("usr/share/time", "t").record("mtime", "1234567890.5"),
    ];
    let high = vec![
        // Through a link with an absolute target, and to a file of a lower layer by a link.
        file("usr/share/abs/late", "late"),
        link("usr/lib/tool", "bin/tool"),
        device("tmp/pipe", b'6', 0, 0).mode(0o622),
        dir("empty").mode(0o500),
        file(".wh.replaced", ""),
        file("big", noise(3 << 20)),
    ];
    [low, middle, high]
}

/// `cap_net_raw=ep` (capabilities(7), "File capability extended attribute versioning").
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Bytes that no compression makes fewer.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(step).collect()
}

fn get(reference: &str, known: &Known, cache: &Path) -> Result<Image, PullError> {
    let reference: Reference = reference.parse().unwrap();
    let last = RefCell::new((0, 0));
    let image = pull(&Pull {
        reference: &reference,
        known,
        cache,
        limit: 1 << 30,
        cancel: &Cancel::default(),
        progress: &|done, total| *last.borrow_mut() = (done, total),
    })?;
    let size = image.layers.iter().map(|layer| layer.size).sum();
    assert_eq!(last.into_inner(), (size, size));
    Ok(image)
}

/// The layers of an image as one tar file.
fn flat(image: &Image) -> Vec<u8> {
    let mut out = Vec::new();
    let root = Root::read(&image.layers, &Limits::default(), &Cancel::default()).unwrap();
    root.write(&mut out, &Cancel::default()).unwrap();
    out
}

#[test]
fn an_image_is_pulled_by_tag_and_digest_and_imported_and_always_the_same() {
    let layout = Layout::new(&system());
    let server = Server::open();
    let target = server.push(&layout, "a/b:1", &[]);
    let cache = tempfile::tempdir().unwrap();
    let nobody = Known::default();

    let image = get(&target, &nobody, cache.path()).unwrap();
    assert_eq!(image.config.env, ["A=1", "B=two words"]);
    assert_eq!(image.config.entrypoint, ["/bin/tool", "-x"]);
    assert_eq!(image.config.labels["org.example"], "label");
    assert_eq!(image.layers.len(), 3);
    let expected = flat(&image);
    let facts = Root::read(&image.layers, &Limits::default(), &Cancel::default()).unwrap().facts();
    assert_eq!((facts.system.as_deref(), facts.init), (Some("Test"), None));

    // By its digest, whatever its tag; what is there is not pulled again.
    let reference: Reference = target.parse().unwrap();
    let pinned = reference.pinned(image.digest).to_string();
    let again = get(&pinned, &nobody, cache.path()).unwrap();
    assert_eq!((again.digest, &again.layers), (image.digest, &image.layers));

    // The same in Docker's format has another digest, and the same content.
    let docker = server.push(&layout, "a/b:docker", &["--format", "v2s2"]);
    let docker = get(&docker, &nobody, cache.path()).unwrap();
    assert!(docker.layers[0].media_type.contains("docker") && docker.digest != image.digest);
    assert!(flat(&docker) == expected);

    // An index, of which the part for this machine is taken.
    let index =
        server.push_index("a/b", "index", &[("arm64", docker.digest), ("amd64", image.digest)]);
    let image_of_index = get(&index, &nobody, cache.path()).unwrap();
    assert_eq!(image_of_index.digest, image.digest);
    let foreign =
        server.push_index("a/b", "foreign", &[("arm64", image.digest), ("s390x", image.digest)]);
    let error = get(&foreign, &nobody, cache.path()).unwrap_err();
    insta::assert_snapshot!(error, @"the image is not for linux/amd64, only for linux/arm64, linux/s390x");

    for kind in ["oci", "oci-archive", "docker-archive"] {
        let path = layout.convert(kind);
        let imported = import_from(&path, cache.path());
        assert_eq!((imported.layers.len(), &imported.config), (3, &image.config), "{kind}");
        assert!(flat(&imported) == expected, "{kind}");
    }
}

#[test]
fn an_image_unpacks_to_what_umoci_unpacks_it_to() {
    let layout = Layout::new(&system());
    let server = Server::open();
    let target = server.push(&layout, "a/b:1", &[]);
    let dir = tempfile::tempdir().unwrap();
    let image = get(&target, &Known::default(), &dir.path().join("cache")).unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    unpack(&flat(&image), &ours);
    layout.unpack(&theirs).unwrap();
    Tree::of(&ours, true).assert_same(&Tree::of(&theirs, true));
}

#[test]
fn a_wrong_digest_and_a_missing_image_are_refused() {
    let layout = Layout::new(&[vec![file("a", "a")]]);
    let server = Server::open();
    let target = server.push(&layout, "a/b:1", &[]);
    let cache = tempfile::tempdir().unwrap();
    let error = |reference: &str| {
        let error = get(reference, &Known::default(), cache.path()).unwrap_err().to_string();
        error.replace(&server.address, "HERE")
    };
    let reference: Reference = target.parse().unwrap();
    let wrong = error(&reference.pinned(Digest::of(b"wrong")).to_string());
    insta::assert_snapshot!(wrong, @"there is no image HERE/a/b:1@sha256:8810ad581e59f2bc3928b261707a71308f7e139eb04820366dc4d5c18d980225 in its registry");
    insta::assert_snapshot!(error(&format!("{}/a/b:2", server.address)), @"there is no image HERE/a/b:2 in its registry");
    // A layer that was damaged where it is kept.
    server.damage(&get(&target, &Known::default(), cache.path()).unwrap().layers[0]);
    let fresh = tempfile::tempdir().unwrap();
    let error = get(&target, &Known::default(), fresh.path()).unwrap_err().to_string();
    assert!(error.contains("is not what it should be: expected sha256:"), "{error}");
}

#[test]
fn a_registry_that_wants_a_password_gets_the_one_that_docker_has_for_it() {
    let layout = Layout::new(&[vec![file("a", "a")]]);
    let server = Server::with_password();
    let target = server.push(&layout, "a/b:1", &["--dest-creds", &format!("{USER}:{PASSWORD}")]);
    let dir = tempfile::tempdir().unwrap();
    let attempt = |json: &str| {
        std::fs::write(dir.path().join("config.json"), json).unwrap();
        let known = auth::known(dir.path(), &target.parse().unwrap()).unwrap();
        let error = get(&target, &known, &dir.path().join("cache")).map(drop);
        error.map_err(|error| error.to_string().replace(&server.address, "HERE"))
    };
    // `me:secret word` and `me:wrong`, as `docker login` writes them.
    let auths =
        |auth: &str| format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, server.address);
    insta::assert_snapshot!(attempt(&auths("bWU6d3Jvbmc=")).unwrap_err(), @"the registry does not let us pull HERE/a/b:1: authentication required; check the name, and log in again with 'docker login HERE'");
    insta::assert_snapshot!(attempt("{}").unwrap_err(), @"the registry does not let us pull HERE/a/b:1: authentication required; log in with 'docker login HERE', if the name is right");
    insta::assert_snapshot!(attempt(r#"{"credsStore": "desktop"}"#).unwrap_err(), @"the registry does not let us pull HERE/a/b:1: authentication required; your credentials may be in 'docker-credential-desktop', which banger does not run: write an 'auth' for HERE into Docker's config.json");
    attempt(&auths("bWU6c2VjcmV0IHdvcmQ=")).unwrap();
    let known = auth::known(dir.path(), &target.parse().unwrap()).unwrap();
    assert!(matches!(known.credentials, Some(Credentials::Basic { .. })));
}

#[test]
fn a_registry_that_wants_a_token_gets_one_of_the_server_that_it_names() {
    let layout = Layout::new(&[vec![file("a", "a")]]);
    let (realm, asked) = token_server();
    let server = Server::with_tokens(&realm);
    let target = server.push(&layout, "a/b:1", &[]);
    asked.lock().unwrap().clear();
    let cache = tempfile::tempdir().unwrap();
    get(&target, &Known::default(), cache.path()).unwrap();
    // One for the manifest, the configuration and the layer.
    let expected = "GET /token?scope=repository%3Aa%2Fb%3Apull&service=test HTTP/1.1";
    assert_eq!(*asked.lock().unwrap(), [expected]);
}

#[test]
fn a_pull_goes_on_where_the_connection_was_cut() {
    let layout = Layout::new(&[vec![file("big", noise(3 << 20))]]);
    let server = Server::open();
    server.push(&layout, "a/b:1", &[]);
    let cache = tempfile::tempdir().unwrap();
    // Once, which the same pull mends; then each time, until it gives up.
    let proxy = Proxy::start(&server.address, 1 << 20, 1);
    let target = format!("{}/a/b:1", proxy.address);
    get(&target, &Known::default(), cache.path()).unwrap();
    let ranges = proxy.ranges();
    assert!(ranges.len() == 1 && ranges[0] > 900_000, "{ranges:?}");

    let cache = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&server.address, 200_000, 3);
    let target = format!("{}/a/b:1", proxy.address);
    let error = get(&target, &Known::default(), cache.path()).unwrap_err();
    assert!(error.to_string().starts_with("cannot download http://127.0.0.1:"), "{error}");
    get(&target, &Known::default(), cache.path()).unwrap();
    let ranges = proxy.ranges();
    assert!(ranges.len() == 3 && ranges.is_sorted() && ranges[2] > 400_000, "{ranges:?}");
}
