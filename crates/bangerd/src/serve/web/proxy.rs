//! `http://NAME--PORT.localhost:…/`: what a guest serves on a port, by way of its agent. Only with
//! the console's session: a ticket of that is exchanged for a cookie of this host alone, which the
//! guest does not see.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use banger_core::api::{ApiError, ErrorKind};
use banger_core::vm::{OPENCODE_PORT, SSH_PORT, Vm};
use banger_core::web::GuestPort;
use banger_wire::WireError;
use banger_wire::agent::AgentClient;
use banger_wire::relay::{Linger, relay};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use maud::html;
use tokio::io::{DuplexStream, copy_bidirectional, duplex, split};

use crate::error::chain;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::guard::{is_foreign, with_headers};
use crate::serve::web::layout::{Html, Page};
use crate::serve::web::session::{COOKIE, PORT_COOKIE, Session, set_cookie};
use crate::store::vms::VmRow;

/// Where a ticket is exchanged. What a guest has there cannot be reached.
const ENTER: &str = "/.banger/enter";
/// How long the agent may take to open a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a guest may be silent once nobody listens to it any more.
const LINGER: Duration = Duration::from_secs(1);
const BUFFER: usize = 64 << 10;

/// What is between two neighbours only (RFC 9110, 7.6.1).
const HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Console {
    /// The URL that leads a browser to a port of a guest.
    ///
    /// # Errors
    /// A browser has no business there.
    pub fn ticket_to(&self, session: &Session, vm: &Vm, port: u16) -> Result<String, ApiError> {
        if port == SSH_PORT || port == 0 {
            let message = format!("port {port} is nothing for a browser");
            return Err(ApiError::new(ErrorKind::Invalid, message));
        }
        let ticket = self.sessions.ticket(session, vm.id.clone(), port);
        let place = GuestPort { vm: vm.name.to_string(), port };
        Ok(format!("{}{ENTER}?ticket={ticket}", self.origin_of(&place)))
    }

    fn origin_of(&self, place: &GuestPort) -> String {
        let host = format!("http://{}.localhost", place.label());
        if self.port() == 80 { host } else { format!("{host}:{}", self.port()) }
    }
}

/// Answers a request to a guest's port.
pub async fn serve(console: &Console, place: GuestPort, request: Request) -> Response {
    // Who may not enter does not learn which VMs there are.
    let Ok(row) = console.engine.vm(&place.vm).await else { return no_entry(console, &place) };
    if request.uri().path() == ENTER {
        return enter(console, &place, &row.vm, &request);
    }
    let may_enter = console.sessions.may_enter(request.headers(), &row.vm.id, place.port);
    if !may_enter || is_foreign(&request, &console.origin_of(&place)) {
        return no_entry(console, &place);
    }
    match forward(&row, place.port, request).await {
        Ok(reply) => reply,
        Err(error) => {
            let body = html! {
                h1 { "No answer" }
                p { "Port " (place.port) " of " (row.vm.name.as_str()) " does not answer: " (error) }
                p { a href="" { "Try again" } " · " (to_console(console, &place)) }
            };
            refusal(Page::new("No answer", body).status(StatusCode::BAD_GATEWAY))
        }
    }
}

fn to_console(console: &Console, place: &GuestPort) -> maud::Markup {
    html! { a href=(format!("{}/vms/{}", console.origin(), place.vm)) { "To the console" } }
}

/// A page of ours on a guest's host. It has no style: that is on the console's.
fn refusal(page: Page) -> Response {
    with_headers(page.bare().into_response())
}

fn no_entry(console: &Console, place: &GuestPort) -> Response {
    let body = html! {
        h1 { "Open this from the console" }
        p { "This browser may not see port " (place.port) " of " (place.vm) " yet." }
        p { (to_console(console, place)) }
    };
    refusal(Page::new("Not open", body).status(StatusCode::FORBIDDEN))
}

/// Exchanges a ticket for the cookie, and leads on to the guest.
fn enter(console: &Console, place: &GuestPort, vm: &Vm, request: &Request) -> Response {
    let fields = Fields::parse(request.uri().query().unwrap_or_default().as_bytes());
    let ticket = fields.text("ticket");
    let cookie = ticket.and_then(|ticket| console.sessions.enter(ticket, &vm.id, place.port));
    match cookie {
        Some(cookie) => {
            let headers = [
                (header::SET_COOKIE, set_cookie(PORT_COOKIE, &cookie)),
                (header::REFERRER_POLICY, "no-referrer".to_owned()),
            ];
            with_headers((headers, Html(Page::step("/"))).into_response())
        }
        None => no_entry(console, place),
    }
}

/// Why a guest gives no answer, for a person.
type Failure = String;

async fn forward(row: &VmRow, port: u16, mut request: Request) -> Result<Response, Failure> {
    let Some(run) = &row.vm.run else { return Err(format!("it is {}", row.vm.state.name())) };
    let guest = connect(Path::new(&run.vsock), port).await.map_err(|error| chain(&error))?;
    let broken = |error: hyper::Error| chain(&error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(guest)).await.map_err(broken)?;
    // It ends with the connection; an error of it shows in the request.
    tokio::spawn(connection.with_upgrades());
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let browser = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let password = row.opencode_password.as_deref().filter(|_| port == OPENCODE_PORT);
    to_guest(request.headers_mut(), upgrade.as_ref(), password);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(|error| error.to_string())?;
    let mut reply = sender.send_request(request).await.map_err(broken)?;
    let switches = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(browser) = browser.filter(|_| switches) {
        let guest = hyper::upgrade::on(&mut reply);
        tokio::spawn(async move {
            if let (Ok(browser), Ok(guest)) = tokio::join!(browser, guest) {
                let (mut browser, mut guest) = (TokioIo::new(browser), TokioIo::new(guest));
                // Either side may go away at any time.
                let _ = copy_bidirectional(&mut browser, &mut guest).await;
            }
        });
    } else if switches {
        return Err("it switched to another protocol unasked".to_owned());
    }
    let protocol = reply.headers().get(header::UPGRADE).cloned().filter(|_| switches);
    from_guest(reply.headers_mut(), protocol.as_ref());
    Ok(reply.map(Body::new))
}

/// A stream to the port. Whoever drops it leaves nothing open in the guest.
async fn connect(vsock: &Path, port: u16) -> Result<DuplexStream, WireError> {
    let guest = AgentClient::new(vsock, CONNECT_LIMIT).stream(port).await?;
    let (ours, theirs) = duplex(BUFFER);
    let (from, to) = split(theirs);
    tokio::spawn(async move {
        let ended = relay(guest, from, to, Linger::Silence(LINGER), std::future::pending()).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a stream to a guest's port broke");
        }
    });
    Ok(ours)
}

fn remove_hops(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP.iter().chain(&named) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// What a guest gets to see of a request: nothing of ours, and opencode's password.
fn to_guest(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>, password: Option<&str>) {
    remove_hops(headers, upgrade);
    let ours = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        [COOKIE, PORT_COOKIE].contains(&name.trim())
    };
    let mut kept = Vec::new();
    for line in headers.get_all(header::COOKIE) {
        // One that is no text might hide ours.
        let Ok(line) = line.to_str() else { continue };
        kept.extend(line.split(';').filter(|pair| !ours(pair)).map(str::trim).map(str::to_owned));
    }
    headers.remove(header::COOKIE);
    if let Ok(line) = HeaderValue::from_str(&kept.join("; "))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, line);
    }
    if let Some(password) = password
        && !headers.contains_key(header::AUTHORIZATION)
    {
        let pair = BASE64_STANDARD.encode(format!("opencode:{password}"));
        if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
    }
}

/// What a browser gets to see of a reply: cookies are those of the guest's own host, and not ours.
fn from_guest(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    remove_hops(headers, upgrade);
    let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    headers.remove(header::SET_COOKIE);
    for line in set {
        let Ok(text) = line.to_str() else { continue };
        let name = text.split('=').next().unwrap_or_default().trim();
        if [COOKIE, PORT_COOKIE].contains(&name) {
            continue;
        }
        let attribute = |part: &&str| !part.trim_start().to_ascii_lowercase().starts_with("domain");
        let kept: Vec<&str> = text.split(';').filter(attribute).collect();
        if let Ok(line) = HeaderValue::from_str(&kept.join(";")) {
            headers.append(header::SET_COOKIE, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> String {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn a_guest_sees_nothing_of_ours() {
        let mut request = headers(&[
            ("host", "dev--4096.localhost:7777"),
            ("cookie", "a=1; banger_port=secret;b=2"),
            ("cookie", "banger_port=secret"),
            ("cookie", " banger_session = secret"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
        ]);
        to_guest(&mut request, None, Some("pass"));
        insta::assert_snapshot!(shown(&request), @"
        authorization: Basic b3BlbmNvZGU6cGFzcw==
        cookie: a=1; b=2
        host: dev--4096.localhost:7777
        ");
        // Who logs in by hand is let.
        let mut request = headers(&[("authorization", "Basic own"), ("upgrade", "websocket")]);
        let protocol = HeaderValue::from_static("websocket");
        to_guest(&mut request, Some(&protocol), Some("pass"));
        insta::assert_snapshot!(shown(&request), @"
        authorization: Basic own
        connection: upgrade
        upgrade: websocket
        ");
    }

    #[test]
    fn a_guest_sets_cookies_of_its_own_host_only() {
        let mut reply = headers(&[
            ("set-cookie", "a=1; Domain=localhost; Path=/"),
            ("set-cookie", "b=2; HttpOnly; domain = .localhost"),
            ("set-cookie", "banger_port=stray; Path=/"),
            ("set-cookie", "banger_session=stray; Domain=banger.localhost"),
            ("transfer-encoding", "chunked"),
        ]);
        from_guest(&mut reply, None);
        insta::assert_snapshot!(shown(&reply), @"
        set-cookie: a=1; Path=/
        set-cookie: b=2; HttpOnly
        ");
    }
}
