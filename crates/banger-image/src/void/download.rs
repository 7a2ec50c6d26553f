//! Small files whose content nobody knows before they are there.

use std::io::Read as _;
use std::thread::sleep;

use banger_exec::Cancel;

use crate::fetch::{FetchError, TICK, TRIES, get};

/// Downloads a file of at most `limit` bytes. What was there of it when a connection was cut is of
/// no use: the next may be to a newer file.
///
/// # Errors
/// The connection failed three times, the server has no such file, it is longer, or it was
/// cancelled.
pub(super) fn small(url: &str, limit: u64, cancel: &Cancel) -> Result<Vec<u8>, FetchError> {
    let mut reason = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            sleep(TICK * 2_u32.pow(attempt));
        }
        if cancel.is_cancelled() {
            return Err(FetchError::Cancelled(url.to_owned()));
        }
        match attempt_of(url, limit)? {
            Ok(content) => return Ok(content),
            Err(why) => reason = why,
        }
    }
    Err(FetchError::Transport { url: url.to_owned(), reason })
}

/// The content, or why to try again.
fn attempt_of(url: &str, limit: u64) -> Result<Result<Vec<u8>, String>, FetchError> {
    let mut response = match get(url, None) {
        Ok(response) => response,
        Err(why) => return Ok(Err(why)),
    };
    match response.status().as_u16() {
        200 => {}
        status @ (500.. | 408 | 429) => return Ok(Err(format!("the server answered {status}"))),
        status => return Err(FetchError::Status { url: url.to_owned(), status }),
    }
    let length = response.headers().get("content-length").and_then(|value| value.to_str().ok());
    let length: Option<u64> = length.and_then(|value| value.parse().ok());
    let mut content = Vec::new();
    let read = response.body_mut().as_reader().take(limit + 1).read_to_end(&mut content);
    if let Err(error) = read {
        return Ok(Err(error.to_string()));
    }
    let found = content.len() as u64;
    if found > limit {
        return Err(FetchError::TooLong { url: url.to_owned(), size: limit });
    }
    match length {
        Some(length) if found < length => Ok(Err("the connection was cut".to_owned())),
        _ => Ok(Ok(content)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_testkit::{Mirror, Trouble};

    #[test]
    fn a_small_file_comes_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "content").unwrap();
        let mirror = Mirror::start(dir.path()).unwrap();
        let get = |path: &str, limit| {
            small(&format!("{}/{path}", mirror.url), limit, &Cancel::default())
                .map_err(|error| error.to_string().replace(&mirror.url, ""))
        };
        assert_eq!(get("a", 7).unwrap(), b"content");
        insta::assert_snapshot!(get("a", 6).unwrap_err(), @"/a has more than the 6 bytes that it should have; it was removed");
        insta::assert_snapshot!(get("b", 6).unwrap_err(), @"cannot download /b: the server answered 404");
        mirror.trouble("a", Some(Trouble::Cut(3)));
        assert!(get("a", 7).unwrap_err().starts_with("cannot download /a: "));
        let cancelled = Cancel::default();
        cancelled.cancel();
        assert!(matches!(small("x", 1, &cancelled), Err(FetchError::Cancelled(_))));
    }
}
