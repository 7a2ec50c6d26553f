use super::*;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(more: &str) -> String {
    format!(r#"{{"digest": "{}", "size": 1{more}}}"#, Digest::of(b"x"))
}

fn platform(os: &str, architecture: &str, variant: &str) -> String {
    descriptor(&format!(
        r#", "platform": {{"os": "{os}", "architecture": "{architecture}", "variant": "{variant}"}}"#
    ))
}

fn manifest(types: &[&str]) -> String {
    let layers = types.iter().map(|t| descriptor(&format!(r#", "mediaType": "{t}""#)));
    let layers = layers.collect::<Vec<_>>().join(",");
    format!(r#"{{"schemaVersion": 2, "config": {}, "layers": [{layers}]}}"#, descriptor(""))
}

fn parse(json: &str) -> Result<Document, String> {
    Document::parse(json.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_document_is_an_index_or_a_manifest_and_nothing_in_between() {
    assert!(matches!(parse(&manifest(&[GZIP])), Ok(Document::Manifest(m)) if m.layers.len() == 1));
    let index = |list: &str| format!(r#"{{"schemaVersion": 2, "manifests": [{list}]}}"#);
    assert_eq!(parse(&index("")), Ok(Document::Index(vec![])));
    let error = |json: &str| parse(json).unwrap_err();
    insta::assert_snapshot!(error(r#"{"schemaVersion": 1, "fsLayers": [], "name": "x"}"#), @"the image has a manifest of schema 1, which names no configuration and is long deprecated: push it again with a newer tool");
    insta::assert_snapshot!(error(&manifest(&["application/vnd.cncf.helm.chart.content.v1.tar+gzip"])), @"the image has a layer of type 'application/vnd.cncf.helm.chart.content.v1.tar+gzip', which is not a tar file: it is no image of a system");
    insta::assert_snapshot!(error(&manifest(&[GZIP]).replace("\"config\"", "\"manifests\": [], \"config\"")), @"the manifest is not one: it is an index and a manifest at once");
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"schemaVersion": 2}"#,
        r#"{"schemaVersion": 3, "manifests": []}"#,
        &manifest(&[]),
        &manifest(&[GZIP; 501]),
        &manifest(&[GZIP]).replace("sha256:", "md5:"),
    ] {
        error(wrong);
    }
}

#[test]
fn the_image_for_this_kind_of_machine_is_chosen() {
    let choice = |list: &[String]| {
        let list: Vec<Descriptor> = list.iter().map(|d| serde_json::from_str(d).unwrap()).collect();
        choose(&list)
            .map(|chosen| list.iter().position(|d| std::ptr::eq(d, chosen)).unwrap())
            .map_err(|error| error.to_string())
    };
    let (arm, v3) = (platform("linux", "arm64", "v8"), platform("linux", "amd64", "v3"));
    let (amd, attestation) = (platform("linux", "amd64", ""), platform("unknown", "unknown", ""));
    assert_eq!(choice(&[arm.clone(), v3.clone(), amd]), Ok(2));
    assert_eq!(choice(&[arm.clone(), v3]), Ok(1));
    assert_eq!(choice(&[descriptor("")]), Ok(0));
    insta::assert_snapshot!(choice(&[arm, platform("windows", "amd64", ""), attestation]).unwrap_err(), @"the image is not for linux/amd64, only for linux/arm64/v8, windows/amd64");
    insta::assert_snapshot!(choice(&[]).unwrap_err(), @"the image is not for linux/amd64, only for unnamed ones");
}

#[test]
fn a_configuration_says_how_the_image_is_run() {
    let json = format!(
        r#"{{"architecture": "amd64", "os": "linux", "config": {{"Env": ["A=1"], "Entrypoint": ["/x"],
        "Cmd": null, "Labels": null, "User": "me", "WorkingDir": "/w", "Volumes": {{}}}},
        "rootfs": {{"type": "layers", "diff_ids": ["{}"]}}}}"#,
        Digest::of(b"x")
    );
    let config = Config::parse(json.as_bytes(), 1).unwrap();
    assert_eq!(
        (&*config.env, &*config.entrypoint),
        (&["A=1".to_owned()][..], &["/x".to_owned()][..])
    );
    assert_eq!((&*config.user, &*config.working_dir, config.cmd.len()), ("me", "/w", 0));
    let error = |json: &str, layers| Config::parse(json.as_bytes(), layers).unwrap_err();
    insta::assert_snapshot!(error(&json, 2), @"the configuration of the image is not one: it names 1 layers, and the manifest 2");
    insta::assert_snapshot!(error(&json.replace("amd64", "riscv64"), 1), @"the image is not for linux/amd64, only for linux/riscv64");
    let bare = json.replace("\"config\"", "\"other\"");
    assert!(Config::parse(bare.as_bytes(), 1).unwrap().env.is_empty());
}

#[test]
fn a_document_is_what_its_digest_says() {
    assert_eq!(check("manifest", b"x", Digest::of(b"x")), Ok(()));
    insta::assert_snapshot!(check("manifest", b"", Digest::of(b"x")).unwrap_err(), @"the manifest is not what it should be: expected sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881, got sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
