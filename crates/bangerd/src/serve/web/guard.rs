//! What every request passes before a page sees it: its host, its origin, its session; and the
//! headers that every reply has.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use banger_core::web::{CONSOLE_HOST, GuestPort};

use crate::serve::web::layout::Page;
use crate::serve::web::{Console, assets, proxy};

/// How long a page may take. Streams begin within it and go on.
const PAGE_LIMIT: Duration = Duration::from_secs(60);

/// Scripts and styles are files of ours; nothing is inline, and nobody frames us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not no-referrer: with that, forms would come from the origin 'null'.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The same, where a script of ours makes style elements that carry `nonce`.
pub(super) fn policy_with_styles(nonce: &str) -> String {
    POLICY.replace("style-src 'self'", &format!("style-src 'self' 'nonce-{nonce}'"))
}

/// What a request's host means.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The console.
    Console,
    /// A guest's port.
    Guest(GuestPort),
    /// Another name of the console's address.
    Alias,
    /// None of ours: a page elsewhere whose name was made to lead here.
    Foreign,
}

fn place(headers: &HeaderMap, port: u16) -> Place {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Place::Foreign };
    let text = host.to_str().unwrap_or_default();
    let name = match text.rsplit_once(':') {
        Some((name, number)) if number == port.to_string() => name,
        // A browser leaves the port out where it is that of HTTP.
        _ if port == 80 => text,
        _ => return Place::Foreign,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match name.strip_suffix(".localhost") {
        _ if name == CONSOLE_HOST => Place::Console,
        _ if name == "localhost" || loopback => Place::Alias,
        Some(label) => GuestPort::of_label(label).map_or(Place::Foreign, Place::Guest),
        None => Place::Foreign,
    }
}

/// Whether a request changes nothing.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether a request may have come from a page of another origin. Browsers name the origin of all
/// that changes something, and of every WebSocket.
pub(super) fn is_foreign(request: &Request, origin: &str) -> bool {
    let headers = request.headers();
    let named = headers.get(header::ORIGIN);
    let needed = !is_safe(request.method()) || headers.contains_key(header::UPGRADE);
    let wrong = named.map_or(needed, |named| named != origin);
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    wrong || (needed && !matches!(site, None | Some(b"same-origin")))
}

/// Lets through what may pass, with its session as an extension.
pub async fn guard(State(console): State<Console>, mut request: Request, next: Next) -> Response {
    let reply = match place(request.headers(), console.port()) {
        // Its headers are the guest's business.
        Place::Guest(port) => return proxy::serve(&console, port, request).await,
        Place::Alias if is_safe(request.method()) => {
            let to = format!("{}{}", console.origin(), request.uri().path());
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Place::Alias | Place::Foreign => {
            let why = format!("banger's web console is at {}/\n", console.origin());
            (StatusCode::MISDIRECTED_REQUEST, why).into_response()
        }
        Place::Console if is_foreign(&request, console.origin()) => {
            (StatusCode::FORBIDDEN, "this request came from another page than banger's\n")
                .into_response()
        }
        Place::Console => {
            // What another page leads to gets no session, whatever cookie comes along.
            let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
            let ours = matches!(site, None | Some(b"same-origin" | b"none"));
            let session = ours.then(|| console.sessions.of(request.headers())).flatten();
            let path = request.uri().path();
            let open = ["/login", assets::ICON].contains(&path) || path.starts_with(assets::PREFIX);
            match session {
                Some(session) => {
                    request.extensions_mut().insert(session);
                    within_limit(next.run(request)).await
                }
                None if open => within_limit(next.run(request)).await,
                None => Page::logged_out(request.uri().path()).into_response(),
            }
        }
    };
    with_headers(reply)
}

async fn within_limit(reply: impl Future<Output = Response>) -> Response {
    let late = || (StatusCode::GATEWAY_TIMEOUT, "this page took too long\n").into_response();
    tokio::time::timeout(PAGE_LIMIT, reply).await.unwrap_or_else(|_| late())
}

/// A reply with the headers that all of ours have.
pub(super) fn with_headers(mut reply: Response) -> Response {
    for (name, value) in HEADERS {
        // A page may be stricter, and files of ours may be kept.
        reply.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hosts: &[&'static str], port: u16) -> Place {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        place(&headers, port)
    }

    #[test]
    fn only_our_own_hosts_lead_anywhere() {
        assert_eq!(at(&["banger.localhost:7777"], 7777), Place::Console);
        assert_eq!(at(&["banger.localhost"], 80), Place::Console);
        for alias in ["127.0.0.1:7777", "localhost:7777", "[::1]:7777"] {
            assert_eq!(at(&[alias], 7777), Place::Alias);
        }
        let port = GuestPort { vm: "dev".to_owned(), port: 4096 };
        assert_eq!(at(&["dev--4096.localhost:7777"], 7777), Place::Guest(port));
        for foreign in [
            "evil.example:7777",
            "banger.localhost.evil.example:7777",
            "banger.localhost:80",
            "banger.localhost",
            "dev--22.localhost:7777",
            "dev--80.banger.localhost:7777",
            "10.0.0.1:7777",
            "",
        ] {
            assert_eq!(at(&[foreign], 7777), Place::Foreign, "{foreign}");
        }
        assert_eq!(at(&[], 7777), Place::Foreign);
        assert_eq!(at(&["banger.localhost:7777", "evil.example"], 7777), Place::Foreign);
    }

    #[test]
    fn what_changes_something_says_where_it_comes_from() {
        const OURS: &str = "http://banger.localhost:7777";
        let request = |method: Method, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_foreign(&request.body(axum::body::Body::empty()).unwrap(), OURS)
        };
        assert!(!request(Method::GET, &[]));
        assert!(!request(Method::POST, &[("origin", OURS), ("sec-fetch-site", "same-origin")]));
        assert!(request(Method::POST, &[]));
        assert!(request(Method::POST, &[("origin", "null")]));
        assert!(request(Method::POST, &[("origin", "http://dev--80.localhost:7777")]));
        assert!(request(Method::POST, &[("origin", OURS), ("sec-fetch-site", "same-site")]));
        assert!(request(Method::GET, &[("origin", "http://evil.example")]));
        assert!(request(Method::GET, &[("upgrade", "websocket")]));
        assert!(!request(Method::GET, &[("upgrade", "websocket"), ("origin", OURS)]));
    }
}
