//! What changes on a page, as it does: server-sent events, each with the HTML of one piece.
//!
//! A page and its stream are made of the same pieces ([`View::pieces`]). A stream sends those that
//! are not as it sent them last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use banger_core::api::{ApiError, ErrorKind};
use banger_core::dashboard::Tick;
use maud::html;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use crate::serve::web::session::Session;
use crate::serve::web::view::{Subject, View};
use crate::serve::web::{Console, pages, show};

/// Between two looks, at least: what happens in between is sent together.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two, at most: times go on by themselves.
const LONGEST: Duration = Duration::from_secs(1);

/// The data of the last event: one without any is not shown to scripts.
pub const OVER: &str = "over";

/// The streams.
pub fn routes() -> Router<Console> {
    let of = |subject: Subject| {
        get(async move |console: State<Console>, session: Session| {
            stream(console, session, subject)
        })
    };
    Router::new()
        .route("/live/dashboard", of(Subject::Dashboard))
        .route("/live/vms", of(Subject::Vms))
        .route("/live/images", of(Subject::Images))
        .route("/live/operations", of(Subject::Operations))
        .route("/live/vms/{key}", get(of_vm))
        .route("/live/vms/{key}/log", get(pages::log::follow))
        .route("/live/operations/{key}", get(of_operation))
}

async fn of_vm(c: State<Console>, session: Session, Path(key): Path<String>) -> impl IntoResponse {
    stream(c, session, Subject::Vm(key))
}

async fn of_operation(
    c: State<Console>,
    session: Session,
    Path(key): Path<String>,
) -> impl IntoResponse {
    stream(c, session, Subject::Operation(key))
}

/// The last tick, if there was one.
type Ticks = watch::Receiver<Option<std::sync::Arc<Tick>>>;

fn stream(State(console): State<Console>, session: Session, subject: Subject) -> impl IntoResponse {
    // A slow reader holds its own sender up, and nobody else.
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut view = View::new(&console, &session, subject);
        // Without an end it would be asked for again and again.
        if let Err(error) = feed(&mut view, &sender).await {
            let gone = html! { (show::plain(&error.message)) };
            let told = [("state", gone.into_string()), ("end", OVER.to_owned())];
            for (name, html) in told {
                // It may have gone away.
                let _ = sender.send(Ok(Event::default().event(name).data(html))).await;
            }
        }
    });
    sse(receiver)
}

/// What comes out of a channel, as a stream of events.
pub fn sse(receiver: mpsc::Receiver<Result<Event, Infallible>>) -> impl IntoResponse {
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive)
}

async fn feed(
    view: &mut View,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<(), ApiError> {
    let engine = view.console.engine.clone();
    let mut changed = engine.store.watch();
    let mut ticks = ticks(view);
    let mut sent: HashMap<String, u64> = HashMap::new();
    loop {
        changed.borrow_and_update();
        let tick = ticks.as_mut().and_then(|ticks| ticks.borrow_and_update().clone());
        if !view.console.sessions.lasts(&view.session) {
            let message = "You have logged out.";
            return Err(ApiError::new(ErrorKind::Forbidden, message));
        }
        let mut whole = Vec::new();
        for piece in view.pieces(tick.as_deref()).await?.0 {
            let html = piece.html.into_string();
            let key = piece.key.unwrap_or_else(|| {
                let mut hasher = DefaultHasher::new();
                html.hash(&mut hasher);
                hasher.finish()
            });
            if sent.insert(piece.name.to_string(), key) == Some(key) {
                continue;
            }
            if piece.within.is_some_and(|outer| whole.contains(&outer)) {
                continue;
            }
            if let Cow::Borrowed(name) = piece.name {
                whole.push(name);
            }
            // Lines of its own are not lost on the way: each has its `data:`.
            let event = Event::default().event(&piece.name).data(html.replace('\r', ""));
            if sender.send(Ok(event)).await.is_err() {
                return Ok(());
            }
        }
        if view.over {
            // It may have gone away.
            let _ = sender.send(Ok(Event::default().event("end").data(OVER))).await;
            return Ok(());
        }
        let wakes = async {
            tokio::select! {
                _ = changed.changed() => {}
                () = ticked(&mut ticks) => {}
                () = tokio::time::sleep(LONGEST) => {}
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = wakes => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// What VMs take is looked at only for pages that show it.
fn ticks(view: &View) -> Option<Ticks> {
    let shows = matches!(view.subject, Subject::Dashboard | Subject::Vms | Subject::Vm(_));
    shows.then(|| view.console.engine.ticks())
}

async fn ticked(ticks: &mut Option<Ticks>) {
    match ticks {
        Some(ticks) => drop(ticks.changed().await),
        None => std::future::pending().await,
    }
}
