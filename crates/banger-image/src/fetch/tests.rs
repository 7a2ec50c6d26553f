//! Downloads from a server of our own, which misbehaves as it is told to.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// How the server answers a request.
#[derive(Clone, Copy)]
enum Answer {
    /// All of it, from the byte that was asked for.
    Good,
    /// All of it, whatever was asked for.
    Whole,
    /// So many bytes, then the connection is cut.
    Cut(usize),
    /// So many bytes, then no more, on a connection that stays.
    Stall(usize),
    /// A status without the file.
    Status(u16),
}

struct Server {
    url: String,
    /// The `Range` headers of the requests so far.
    ranges: Arc<Mutex<Vec<String>>>,
}

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

/// Serves [`content`], an answer to each request in turn.
fn serve(answers: &[Answer]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let (answers, seen) = (answers.to_vec(), Arc::clone(&ranges));
    std::thread::spawn(move || {
        let mut stalled = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> = lines.map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            let range = head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("range").then(|| value.to_owned())
            });
            let from = range.as_deref().and_then(|r| r["bytes=".len()..].strip_suffix('-'));
            let from: usize = from.map_or(0, |from| from.parse().unwrap());
            seen.lock().unwrap().push(range.unwrap_or_default());
            let all = content();
            let (status, from) = match answer {
                Answer::Status(status) => (status, all.len()),
                Answer::Whole => (200, 0),
                _ if from > 0 => (206, from),
                _ => (200, 0),
            };
            let end = match answer {
                Answer::Cut(bytes) | Answer::Stall(bytes) => (from + bytes).min(all.len()),
                _ => all.len(),
            };
            let length = all.len() - from;
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", all.len() - 1, all.len());
            let range = if status == 206 { range } else { String::new() };
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{range}\r\n"
            );
            // A client that has seen enough may hang up.
            let _ =
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&all[from..end]));
            if matches!(answer, Answer::Stall(_)) {
                stalled.push(stream);
            }
        }
        // It ends with the test's process.
        if !stalled.is_empty() {
            std::thread::park();
        }
    });
    Server { url, ranges }
}

struct Outcome {
    result: Result<(), FetchError>,
    there: Option<Vec<u8>>,
    part: bool,
    ranges: Vec<String>,
    last_progress: (u64, Option<u64>),
}

fn sum(bytes: &[u8]) -> Checksum {
    let mut running = Checksum::Sha256([0; 32]).start();
    running.update(bytes);
    running.finish()
}

/// Downloads once; `part` is what an earlier try left.
fn download(answers: &[Answer], part: &[u8], checksum: &Checksum) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let part_file = dir.path().join("file.part");
    if !part.is_empty() {
        std::fs::write(&part_file, part).unwrap();
    }
    let server = serve(answers);
    let progress = RefCell::new((0, None));
    let download = Download { url: &server.url, file: &file, checksum };
    let result = fetch(&download, &Cancel::default(), &|done, total| {
        *progress.borrow_mut() = (done, total);
    });
    Outcome {
        result,
        there: std::fs::read(&file).ok(),
        part: part_file.exists(),
        ranges: server.ranges.lock().unwrap().clone(),
        last_progress: progress.into_inner(),
    }
}

#[test]
fn a_download_is_there_only_when_it_is_whole() {
    let all = content();
    let outcome = download(&[Answer::Good], b"", &sum(&all));
    outcome.result.unwrap();
    assert_eq!(outcome.there, Some(all.clone()));
    assert!(!outcome.part);
    assert_eq!(outcome.last_progress, (all.len() as u64, Some(all.len() as u64)));
}

#[test]
fn a_cut_connection_is_resumed() {
    let all = content();
    let outcome = download(&[Answer::Cut(70_000), Answer::Good], b"", &sum(&all));
    outcome.result.unwrap();
    assert_eq!(outcome.there, Some(all));
    assert_eq!(outcome.ranges, ["", "bytes=70000-"]);
}

#[test]
fn a_server_that_says_nothing_more_is_asked_again_and_then_given_up() {
    let all = content();
    let outcome = download(&[Answer::Stall(70_000), Answer::Good], b"", &sum(&all));
    outcome.result.unwrap();
    assert_eq!(outcome.there, Some(all.clone()));
    assert_eq!(outcome.ranges, ["", "bytes=70000-"]);
    let outcome =
        download(&[Answer::Stall(1000), Answer::Stall(1000), Answer::Stall(1000)], b"", &sum(&all));
    let error = outcome.result.unwrap_err();
    assert!(
        matches!(&error, FetchError::Transport { reason, .. } if reason.contains("timeout")),
        "{error}"
    );
    assert_eq!(outcome.ranges, ["", "bytes=1000-", "bytes=2000-"]);
    assert!(outcome.part && outcome.there.is_none());
}

#[test]
fn what_an_earlier_run_left_is_used() {
    let all = content();
    let outcome = download(&[Answer::Good], &all[..1000], &sum(&all));
    outcome.result.unwrap();
    assert_eq!((outcome.there, outcome.ranges), (Some(all), vec!["bytes=1000-".to_owned()]));
}

#[test]
fn a_server_that_cannot_resume_sends_it_anew() {
    let all = content();
    let outcome = download(&[Answer::Whole], b"something else", &sum(&all));
    outcome.result.unwrap();
    assert_eq!(outcome.there, Some(all));
}

#[test]
fn a_part_that_is_longer_than_the_file_is_dropped() {
    let all = content();
    let answers = [Answer::Status(416), Answer::Good];
    let outcome = download(&answers, &[all.as_slice(), b"more"].concat(), &sum(&all));
    outcome.result.unwrap();
    assert_eq!(outcome.there, Some(all));
}

#[test]
fn the_wrong_file_is_refused_and_removed() {
    let outcome = download(&[Answer::Good], b"", &sum(b"something else"));
    assert!(matches!(outcome.result, Err(FetchError::Mismatch { .. })));
    assert_eq!((outcome.there, outcome.part), (None, false));
}

#[test]
fn three_failures_are_enough() {
    let outcome = download(&[Answer::Cut(10); 3], b"", &sum(b""));
    assert!(matches!(outcome.result, Err(FetchError::Transport { .. })));
    assert_eq!(outcome.ranges, ["", "bytes=10-", "bytes=20-"]);
    assert!(outcome.part && outcome.there.is_none());
}

#[test]
fn a_server_that_has_no_such_file_is_not_asked_again() {
    let outcome = download(&[Answer::Status(404)], b"", &sum(b""));
    assert!(matches!(outcome.result, Err(FetchError::Status { status: 404, .. })));
    assert!(!outcome.part);
    assert_eq!(outcome.ranges.len(), 1);
}

#[test]
fn a_file_that_is_there_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, content()).unwrap();
    let checksum = sum(&content());
    let download = Download { url: "http://127.0.0.1:1/", file: &file, checksum: &checksum };
    fetch(&download, &Cancel::default(), &|_, _| panic!("a request was made")).unwrap();
}

#[test]
fn cancelling_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let server = serve(&[Answer::Good]);
    let cancel = Cancel::default();
    let checksum = sum(&content());
    let download = Download { url: &server.url, file: &file, checksum: &checksum };
    let result = fetch(&download, &cancel, &|done, _| {
        if done > 0 {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(FetchError::Cancelled(_))));
    assert!(!file.exists() && dir.path().join("file.part").metadata().unwrap().len() > 0);
}
