use super::super::testing::{Item, dir, file, layer, link, symlink};
use super::*;

fn import_from(path: &Path, name: Option<&str>) -> Result<(Image, Vec<String>), String> {
    let cache = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    let request = Import {
        path,
        name,
        cache: cache.path(),
        limit: 1 << 20,
        cancel: &cancel,
        progress: &|_| {},
    };
    let image = import(&request).map_err(|error| error.to_string())?;
    for layer in &image.layers {
        assert_eq!(Digest::of(&std::fs::read(&layer.path).unwrap()), layer.digest);
    }
    let left = std::fs::read_dir(cache.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    Ok((image, left))
}

fn archive(items: &[Item], name: Option<&str>) -> Result<(Image, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    std::fs::write(&path, layer(items)).unwrap();
    import_from(&path, name).map_err(|text| text.replace(path.to_str().unwrap(), "ARCHIVE"))
}

fn config(layers: &[&[u8]]) -> String {
    let ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    format!(
        r#"{{"architecture": "amd64", "os": "linux", "rootfs": {{"diff_ids": [{}]}}}}"#,
        ids.join(",")
    )
}

/// What `docker save` wrote before version 25, with a layer that two images share.
fn saved() -> Vec<Item> {
    let (one, two) = (config(&[b"low", b"high"]), config(&[b"low"]));
    let name = |json: &str| format!("{}.json", Digest::of(json.as_bytes()).hex());
    let manifest = format!(
        r#"[{{"Config": "{}", "RepoTags": ["a:1", "a:2"], "Layers": ["x/layer.tar", "y/layer.tar"]}},
            {{"Config": "{}", "RepoTags": null, "Layers": ["z/layer.tar"]}}]"#,
        name(&one),
        name(&two)
    );
    vec![
        dir("x"),
        file("x/layer.tar", "low"),
        file("x/VERSION", "1.0"),
        file("y/layer.tar", "high"),
        symlink("z/layer.tar", "../x/layer.tar"),
        file(&name(&one), one),
        file(&name(&two), two),
        file("manifest.json", manifest),
    ]
}

#[test]
fn an_old_archive_of_docker_save_is_read() {
    let (image, left) = archive(&saved(), Some("docker.io/library/a:2")).unwrap();
    assert_eq!((image.name.as_deref(), image.layers.len()), (Some("docker.io/library/a:2"), 2));
    assert_eq!(image.layers[1].digest, Digest::of(b"high"));
    assert_eq!(image.layers[1].diff_id, Digest::of(b"high"));
    assert_eq!(left, ["sha256"]);
    insta::assert_snapshot!(archive(&saved(), None).unwrap_err(), @"there are several images: choose one of a:1, a:2");
    insta::assert_snapshot!(archive(&saved(), Some("b")).unwrap_err(), @"there is no image 'b', only a:1, a:2");
    // Alone, an image needs no name, and its layer may be a link.
    let mut items = saved();
    let manifest = format!(
        r#"[{{"Config": "{}.json", "Layers": ["z/layer.tar"]}}]"#,
        Digest::of(config(&[b"low"]).as_bytes()).hex()
    );
    items.push(file("manifest.json", manifest));
    assert_eq!(archive(&items, None).unwrap().0.layers[0].digest, Digest::of(b"low"));
    items.retain(|item| !format!("{item:?}").contains("\"x/layer.tar\""));
    insta::assert_snapshot!(archive(&items, None).unwrap_err(), @"the image lacks its file 'z/layer.tar'");
}

#[test]
fn an_archive_stays_where_it_is() {
    for item in [
        file("../x", ""),
        file("/etc/x", ""),
        file("a/../../x", ""),
        link("x", "/etc/passwd"),
        link("x", "../x"),
        symlink("x", "/etc/passwd"),
    ] {
        let mut items = saved();
        items.push(item);
        let error = archive(&items, Some("a:1")).unwrap_err();
        assert!(error.ends_with("which would lie outside of it: it is malicious"), "{error}");
    }
    // A link that only seems to lead out leads nowhere.
    let mut items = saved();
    items.push(symlink("y/layer.tar", "../../../../etc/passwd"));
    insta::assert_snapshot!(archive(&items, Some("a:1")).unwrap_err(), @"the image lacks its file 'y/layer.tar'");
    insta::assert_snapshot!(archive(&[file("zeros", vec![0; 2 << 20])], None).unwrap_err(), @"the archive has more than 1048576 bytes: it is damaged or malicious, or the limit is too low");
    insta::assert_snapshot!(archive(&[file("x", "")], None).unwrap_err(), @"ARCHIVE is neither an OCI layout nor an archive of 'docker save': it has no index.json and no manifest.json");
    insta::assert_snapshot!(archive(&[file("manifest.json", vec![b' '; 900_000])], None).unwrap_err(), @"the manifest.json is not one: EOF while parsing a value at line 1 column 900000");
}

/// A layout with an image of each name.
fn layout(names: &[&str]) -> Vec<Item> {
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let descriptor = |bytes: &[u8], more: &str| {
        format!(
            r#"{{"mediaType": "{kind}", "digest": "{}", "size": {}{more}}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let mut items = vec![file("oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#)];
    let mut add = |bytes: &[u8]| items.push(file(&blob(Digest::of(bytes)), bytes));
    let mut manifests = Vec::new();
    for name in names {
        let config = config(&[name.as_bytes()]);
        let manifest = format!(
            r#"{{"schemaVersion": 2, "config": {}, "layers": [{}]}}"#,
            descriptor(config.as_bytes(), ""),
            descriptor(name.as_bytes(), "")
        );
        [name.as_bytes(), config.as_bytes(), manifest.as_bytes()].into_iter().for_each(&mut add);
        let annotations =
            format!(r#", "annotations": {{"org.opencontainers.image.ref.name": "{name}"}}"#);
        manifests.push(descriptor(manifest.as_bytes(), &annotations));
    }
    items.push(file(
        "index.json",
        format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, manifests.join(",")),
    ));
    items
}

#[test]
fn a_layout_in_a_folder_or_an_archive_is_read() {
    let items = layout(&["one", "two"]);
    assert_eq!(archive(&items, Some("two")).unwrap().0.layers[0].digest, Digest::of(b"two"));
    insta::assert_snapshot!(archive(&items, None).unwrap_err(), @"there are several images: choose one of one, two");
    assert_eq!(archive(&layout(&["one"]), None).unwrap().0.name.as_deref(), Some("one"));

    let dir = tempfile::tempdir().unwrap();
    tar::Archive::new(&*layer(&items)).unpack(dir.path()).unwrap();
    let (image, left) = import_from(dir.path(), Some("one")).unwrap();
    assert!(image.layers[0].path.starts_with(dir.path()) && left.is_empty());
    let layer = dir.path().join(blob(Digest::of(b"one")));
    std::fs::write(&layer, "eno").unwrap();
    insta::assert_snapshot!(import_from(dir.path(), Some("one")).unwrap_err(), @"the layer sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed of the image has other content: sha256:863613c4458cb474d3cf9dd4cad2664bc0a523e0de13247ceb1177ee98340f39");
    std::fs::remove_file(&layer).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &layer).unwrap();
    insta::assert_snapshot!(import_from(dir.path(), Some("one")).unwrap_err(), @"the image lacks its file 'blobs/sha256/7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed'");
    let manifest = import_from(dir.path(), Some("two")).unwrap().0.digest;
    std::fs::write(dir.path().join(blob(manifest)), "{}").unwrap();
    let error = import_from(dir.path(), Some("two")).unwrap_err();
    assert!(error.starts_with("the manifest is not what it should be: expected "), "{error}");
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, cache) = (dir.path().join("archive"), dir.path().join("cache"));
    std::fs::write(&path, layer(&saved())).unwrap();
    let cancel = Cancel::default();
    let request = Import {
        path: &path,
        name: None,
        cache: &cache,
        limit: 1 << 20,
        cancel: &cancel,
        progress: &|_| cancel.cancel(),
    };
    assert!(matches!(import(&request), Err(ImportError::Cancelled)));
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
}
