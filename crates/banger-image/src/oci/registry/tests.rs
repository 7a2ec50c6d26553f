//! Registries of our own, which behave as they are told to. A real one is in `tests/registry.rs`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use super::super::{Digest, Pull, pull};
use super::*;

/// What a request says: its path with the query, its headers in lower case, and its body.
struct Request {
    path: String,
    head: Vec<String>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The status line's number, headers and body of an answer.
type Answer = (u16, String, Vec<u8>);

struct Server {
    address: String,
    /// `PATH AUTHORIZATION` of the requests so far.
    seen: Arc<Mutex<Vec<String>>>,
}

fn serve(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let lines = reader.by_ref().lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let lower = |line: &String| {
                let (name, value) = line.split_once(": ")?;
                Some(format!("{}: {value}", name.to_ascii_lowercase()))
            };
            let mut request = Request {
                path,
                head: head.iter().filter_map(lower).collect(),
                body: String::new(),
            };
            let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
            reader.take(length).read_to_string(&mut request.body).unwrap();
            let who = request.header("authorization").unwrap_or("-");
            log.lock().unwrap().push(format!("{} {who}", request.path));
            let (status, headers, body) = answer(&request);
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    });
    Server { address, seen }
}

impl Server {
    fn seen(&self) -> String {
        self.seen.lock().unwrap().join("\n").replace(&self.address, "HERE")
    }
}

fn basic_known() -> Known {
    let credentials = Credentials::Basic { user: "me".to_owned(), password: "secret".to_owned() };
    Known { credentials: Some(credentials), helper: None }
}

fn ask(server: &Server, known: &Known) -> Result<Vec<u8>, String> {
    let reference = format!("{}/a/b", server.address).parse().unwrap();
    let registry = Registry::new(&reference, known);
    let url = registry.url("manifests", "latest");
    let document = registry.document("manifest", &url, "*/*", &Cancel::default());
    document.map_err(|error| error.to_string().replace(&server.address, "HERE"))
}

/// Wants a token of a token server, which is at `realm`, or here.
fn with_tokens(realm: Option<&'static str>) -> Server {
    serve(move |request| {
        let here = format!("http://{}/token", request.header("host").unwrap());
        if request.path.starts_with("/token") {
            let body = match request.body.contains("refresh_token=long") {
                true => r#"{"access_token": "refreshed"}"#,
                false if request.header("authorization").is_some() => {
                    r#"{"token": "mine", "access_token": "x"}"#
                }
                false => r#"{"token": "anyone"}"#,
            };
            return (200, String::new(), body.into());
        }
        if request.header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
            return (200, String::new(), b"document".to_vec());
        }
        let realm = realm.unwrap_or(&here);
        let challenge = format!(
            "WWW-Authenticate: Basic realm=\"x\", Bearer realm=\"{realm}\",service=\"a b\",scope=\"everything\"\r\n"
        );
        (401, challenge, Vec::new())
    })
}

#[test]
fn a_token_is_asked_for_once_and_for_no_more_than_needed() {
    let server = with_tokens(None);
    let reference: Reference = format!("{}/a/b", server.address).parse().unwrap();
    let known = basic_known();
    let registry = Registry::new(&reference, &known);
    for _ in 0..2 {
        let url = registry.url("manifests", "latest");
        assert_eq!(
            registry.document("manifest", &url, "*/*", &Cancel::default()).unwrap(),
            b"document"
        );
    }
    insta::assert_snapshot!(server.seen(), @r"
    /v2/a/b/manifests/latest -
    /token?scope=repository%3Aa%2Fb%3Apull&service=a%20b Basic bWU6c2VjcmV0
    /v2/a/b/manifests/latest Bearer mine
    /v2/a/b/manifests/latest Bearer mine
    ");
}

#[test]
fn nobody_and_who_has_an_identity_get_tokens_too() {
    let server = with_tokens(None);
    ask(&server, &Known::default()).unwrap();
    let credentials = Some(Credentials::Identity("long lasting".to_owned()));
    ask(&server, &Known { credentials, helper: None }).unwrap();
    insta::assert_snapshot!(server.seen(), @r"
    /v2/a/b/manifests/latest -
    /token?scope=repository%3Aa%2Fb%3Apull&service=a%20b -
    /v2/a/b/manifests/latest Bearer anyone
    /v2/a/b/manifests/latest -
    /token -
    /v2/a/b/manifests/latest Bearer refreshed
    ");
}

#[test]
fn credentials_are_not_said_where_others_listen() {
    let server = with_tokens(Some("http://token.example/token"));
    insta::assert_snapshot!(ask(&server, &basic_known()).unwrap_err(), @"HERE wants us to get a token at 'http://token.example/token', which is no HTTPS address: our credentials do not go there");
    let server = with_tokens(Some("file:///etc/passwd"));
    ask(&server, &basic_known()).unwrap_err();
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let storage = || serve(|_| (200, String::new(), b"document".to_vec()));
    // Who sends us on at once, and who first wants to know who we are.
    for (other, at_once, works) in [
        (storage(), true, true),
        (storage(), false, true),
        (with_tokens(None), true, false),
        (with_tokens(None), false, false),
    ] {
        let location = format!("Location: http://{}/elsewhere\r\n", other.address);
        let server = serve(move |request| match request.header("authorization") {
            None if !at_once => (401, "WWW-Authenticate: Basic realm=x\r\n".to_owned(), Vec::new()),
            _ => (307, location.clone(), Vec::new()),
        });
        assert_eq!(ask(&server, &basic_known()).is_ok(), works);
        assert_eq!(other.seen(), "/elsewhere -");
        assert_eq!(server.seen().contains("Basic bWU6c2VjcmV0"), !at_once);
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let server = serve(|_| {
        let body = r#"{"errors": [{"code": "DENIED", "message": "not\u001b[1m you"}]}"#;
        (401, "WWW-Authenticate: Basic realm=x\r\n".to_owned(), body.into())
    });
    insta::assert_snapshot!(ask(&server, &Known::default()).unwrap_err(), @"the registry does not let us pull HERE/a/b:latest: not[1m you; log in with 'docker login HERE', if the name is right");
    insta::assert_snapshot!(ask(&server, &basic_known()).unwrap_err(), @"the registry does not let us pull HERE/a/b:latest: not[1m you; check the name, and log in again with 'docker login HERE'");
    let helper = Some("docker-credential-pass".to_owned());
    insta::assert_snapshot!(ask(&server, &Known { credentials: None, helper }).unwrap_err(), @"the registry does not let us pull HERE/a/b:latest: not[1m you; your credentials may be in 'docker-credential-pass', which banger does not run: write an 'auth' for HERE into Docker's config.json");
    // Not a request more than needed: a wrong password could lock somebody out.
    assert_eq!(server.seen().lines().count(), 4);
}

#[test]
fn a_registry_that_fails_is_asked_three_times_and_a_missing_image_once() {
    let server = serve(|_| (503, String::new(), b"<html>".to_vec()));
    insta::assert_snapshot!(ask(&server, &Known::default()).unwrap_err(), @"http://HERE/v2/a/b/manifests/latest answered 503");
    assert_eq!(server.seen().lines().count(), 3);
    let server = serve(|_| (404, String::new(), Vec::new()));
    insta::assert_snapshot!(ask(&server, &Known::default()).unwrap_err(), @"there is no image HERE/a/b:latest in its registry");
    assert_eq!(server.seen().lines().count(), 1);
    let server = serve(|_| (200, String::new(), vec![b' '; (4 << 20) + 1]));
    insta::assert_snapshot!(ask(&server, &Known::default()).unwrap_err(), @"the manifest has more than 4 MiB");
}

/// An image of some layers, whose answers may be changed.
fn image(
    layers: &[Vec<u8>],
    change: impl Fn(&Request, Answer) -> Answer + Send + 'static,
) -> Server {
    let ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    let config = format!(
        r#"{{"architecture": "amd64", "os": "linux", "rootfs": {{"diff_ids": [{}]}}}}"#,
        ids.join(",")
    );
    let descriptor = |bytes: &[u8]| {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        format!(
            r#"{{"mediaType": "{kind}", "digest": "{}", "size": {}}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let list: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
    let manifest = format!(
        r#"{{"schemaVersion": 2, "config": {}, "layers": [{}]}}"#,
        descriptor(config.as_bytes()),
        list.join(",")
    );
    let index =
        format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, descriptor(manifest.as_bytes()));
    let mut files = layers.to_vec();
    files.extend([config, manifest, index.clone()].map(String::into_bytes));
    serve(move |request| {
        let which = request.path.rsplit('/').next().unwrap();
        let found = files.iter().find(|file| Digest::of(file).to_string() == which);
        let found =
            if which == "latest" { Some(index.as_bytes().to_vec()) } else { found.cloned() };
        change(
            request,
            found.map_or((404, String::new(), Vec::new()), |file| (200, String::new(), file)),
        )
    })
}

fn pull_from(server: &Server, limit: u64) -> Result<(usize, Vec<u64>), String> {
    let dir = tempfile::tempdir().unwrap();
    let reference = format!("{}/a/b", server.address).parse().unwrap();
    let seen = std::cell::RefCell::new(Vec::new());
    let image = pull(&Pull {
        reference: &reference,
        known: &Known::default(),
        cache: dir.path(),
        limit,
        cancel: &Cancel::default(),
        progress: &|done, _| seen.borrow_mut().push(done),
    });
    let image = image.map_err(|error| error.to_string().replace(&server.address, "HERE"))?;
    for layer in &image.layers {
        assert_eq!(Digest::of(&std::fs::read(&layer.path).unwrap()), layer.digest);
    }
    Ok((image.layers.len(), seen.into_inner()))
}

#[test]
fn layers_come_at_once_and_the_same_one_twice() {
    let layers: Vec<_> = [1, 2, 3, 1, 4].map(|n| vec![n; 100_000]).to_vec();
    let server = image(&layers, |_, answer| answer);
    let (count, progress) = pull_from(&server, 500_000).unwrap();
    assert_eq!((count, progress.last()), (5, Some(&500_000)));
    assert!(progress.is_sorted(), "{progress:?}");
    insta::assert_snapshot!(pull_from(&server, 499_999).unwrap_err(), @"the layers of the image have 500000 bytes, more than the limit of 499999");
}

#[test]
fn what_a_registry_says_is_not_believed() {
    let layer = vec![1_u8; 1000];
    let digest = Digest::of(&layer).to_string();
    let hide = |text: String| {
        text.replace(&digest, "DIGEST").replace(&Digest::of(&[2; 1000]).to_string(), "OTHER")
    };
    let lie = |body: &'static [u8]| {
        let digest = digest.clone();
        image(std::slice::from_ref(&layer), move |request, answer| {
            match request.path.ends_with(&digest) {
                true => (200, String::new(), body.to_vec()),
                false => answer,
            }
        })
    };
    insta::assert_snapshot!(hide(pull_from(&lie(&[2; 1000]), 10_000).unwrap_err()), @"http://HERE/v2/a/b/blobs/DIGEST is not what it should be: expected DIGEST, got OTHER; it was removed");
    insta::assert_snapshot!(hide(pull_from(&lie(&[1; 1001]), 10_000).unwrap_err()), @"http://HERE/v2/a/b/blobs/DIGEST has more than the 1000 bytes that it should have; it was removed");
    let server = image(std::slice::from_ref(&layer), |request, answer| {
        match request.path.contains("sha256") {
            true => (200, String::new(), b"{}".to_vec()),
            false => answer,
        }
    });
    let error = pull_from(&server, 10_000).unwrap_err();
    assert!(
        error.starts_with("the manifest is not what it should be: expected sha256:"),
        "{error}"
    );
}

#[test]
fn a_pull_is_cancelled_while_a_layer_comes() {
    let server = image(&[vec![1; 1000]], |request, answer| {
        if request.path.contains("blobs") {
            std::thread::sleep(std::time::Duration::from_millis(400));
        }
        answer
    });
    let dir = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    let result = pull(&Pull {
        reference: &format!("{}/a/b", server.address).parse().unwrap(),
        known: &Known::default(),
        cache: dir.path(),
        limit: 1000,
        cancel: &cancel,
        progress: &|_, _| cancel.cancel(),
    });
    assert!(matches!(result, Err(PullError::Cancelled)));
}
