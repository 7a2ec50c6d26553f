//! The web console: pages for a browser on this machine, by the same engine as the API.
//!
//! Every page works without scripts. With them, what changes is sent as it does ([`live`]), as the
//! same pieces of HTML that the pages are made of.

mod assets;
mod fields;
mod guard;
mod layout;
mod live;
mod pages;
mod proxy;
mod session;
mod show;
mod view;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use banger_core::api::{ApiError, WebConsole, WebLogin};
use banger_core::doctor::Check;
use banger_core::web::{CONSOLE_HOST, WebListen};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};

use crate::engine::Engine;
use crate::serve::web::session::{LOGIN_LIMIT, Sessions};

/// How long a request's head may take to arrive, and a connection to bring another.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes: hyper's least.
const HEADER_SIZE: usize = 8 << 10;
/// The largest form, in bytes.
const FORM_SIZE: usize = 64 << 10;
/// The most connections at once.
const CONNECTIONS: usize = 1024;
/// For how long what was found out about KVM and sudo is shown: sudo is a program to run.
const CHECK_PAUSE: Duration = Duration::from_secs(30);

/// The console. Clones share it.
#[derive(Clone)]
pub struct Console(Arc<Inner>);

/// What its pages share.
pub struct Inner {
    engine: Engine,
    sessions: Sessions,
    /// Without a slash at its end.
    origin: String,
    port: u16,
    checks: Mutex<Option<(Instant, [Check; 2])>>,
}

impl std::ops::Deref for Console {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Console {
    /// Listens where the configuration says, if it does. Whether it can is in the engine's status.
    pub async fn open(engine: &Engine) -> Option<(Self, TcpListener)> {
        let WebListen::At(address) = engine.config.web_listen else { return None };
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>((listener, port))
        };
        match bound.await {
            Ok((listener, port)) => {
                let console = Self::at(engine.clone(), port);
                let url = Some(format!("{}/", console.origin));
                engine.serves_web(WebConsole { url, why: None });
                Some((console, listener))
            }
            Err(error) => {
                let why = format!("cannot listen at {address}: {error}");
                tracing::warn!(why, "the web console is not served");
                engine.serves_web(WebConsole { url: None, why: Some(why) });
                None
            }
        }
    }

    fn at(engine: Engine, port: u16) -> Self {
        let origin = match port {
            80 => format!("http://{CONSOLE_HOST}"),
            port => format!("http://{CONSOLE_HOST}:{port}"),
        };
        let (sessions, checks) = Default::default();
        Self(Arc::new(Inner { engine, sessions, origin, port, checks }))
    }

    /// A way in for one browser.
    #[must_use]
    pub fn invite(&self) -> WebLogin {
        let url = format!("{}/login?token={}", self.origin, self.sessions.invite());
        WebLogin { url, expires_in_s: LOGIN_LIMIT.as_secs() }
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn port(&self) -> u16 {
        self.port
    }

    /// Whether KVM and sudo work: as of a moment ago, or as it is known already.
    async fn checks(&self, known_will_do: bool) -> Result<[Check; 2], ApiError> {
        let mut known = self.checks.lock().await;
        match &*known {
            Some((at, checks)) if known_will_do || at.elapsed() < CHECK_PAUSE => Ok(checks.clone()),
            _ => {
                let checks = self.engine.essentials().await?;
                *known = Some((Instant::now(), checks.clone()));
                Ok(checks)
            }
        }
    }

    /// All that is served.
    fn router(&self) -> Router {
        Router::new()
            .route(&format!("{}{{build}}/{{name}}", assets::PREFIX), get(assets::serve))
            .route(assets::ICON, get(assets::icon))
            .merge(pages::routes())
            .merge(live::routes())
            .fallback(pages::no_such_page)
            .layer(DefaultBodyLimit::max(FORM_SIZE))
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }

    /// Serves for ever.
    pub async fn serve(self, listener: TcpListener) {
        let router = self.router();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, peer)) if is_local(peer) => stream,
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot accept a connection of the web console");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // What is typed in a terminal must not wait for more.
            let _ = stream.set_nodelay(true);
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
            http.max_buf_size(HEADER_SIZE);
            let service = TowerToHyperService::new(router.clone());
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection of the web console broke");
                }
                drop(place);
            });
        }
    }
}

fn is_local(peer: SocketAddr) -> bool {
    match peer.ip() {
        std::net::IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
        ip => ip.is_loopback(),
    }
}
