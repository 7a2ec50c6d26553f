//! Streams of server-sent events, resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use banger_core::dashboard::Tick;
use banger_core::id::OperationId;
use banger_core::operation::{Event, EventKind};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::engine::store_error;
use crate::serve::api::{Key, Params, Reply, Shared};
use crate::serve::openapi::{Internal, Invalid, NotFound};
use crate::serve::operations::{OperationKey, named};
use crate::store::operations;

/// How many events are read from the database at a time.
const BATCH: u32 = 256;
/// The most events that have been that a stream begins with.
const MOST_RECENT: u64 = 1000;

/// The events of an operation, from its first to its last
///
/// Each server-sent event has the event's place in the log as its `id` and an
/// `Event` in JSON as its `data`. The stream ends after `finished`.
#[utoipa::path(
    get, path = "/v1/operations/{id}/events", tag = "operations",
    params(
        OperationKey,
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event"),
    ),
    responses(
        (
            status = 200, description = "Server-sent events; the schema is that of one's data",
            body = Event, content_type = "text/event-stream"
        ),
        Invalid, NotFound, Internal
    )
)]
pub(super) async fn watch_operation(
    State(shared): State<Shared>,
    Key(key): Key<OperationKey>,
    headers: HeaderMap,
) -> Reply<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>> {
    let id = named(&shared, &key).await?.id;
    Ok(stream(shared, Some(id), resume_after(&headers).unwrap_or(0)))
}

/// The events of everything, from now on
///
/// As those of one operation, but for all of them and for what happens by
/// itself. The stream does not end. Lists of VMs, images and operations that
/// are asked for once the stream is open stay right by what it brings.
#[utoipa::path(
    get, path = "/v1/events", tag = "operations",
    params(
        Begin,
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event"),
    ),
    responses(
        (
            status = 200, description = "Server-sent events; the schema is that of one's data",
            body = Event, content_type = "text/event-stream"
        ),
        Invalid, Internal
    )
)]
pub(super) async fn watch_all(
    State(shared): State<Shared>,
    Params(begin): Params<Begin>,
    headers: HeaderMap,
) -> Reply<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>> {
    let store = &shared.engine.store;
    let after = match (resume_after(&headers), begin.recent) {
        (Some(after), _) => after,
        (None, None) => *store.watch().borrow(),
        (None, Some(count)) => {
            let count = count.min(MOST_RECENT);
            store.read(move |db| operations::recent(db, count)).await.map_err(store_error)?
        }
    };
    Ok(stream(shared, None, after))
}

/// Where a stream of all events begins.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Begin {
    /// Begin with so many of the last events, 1000 at most, and all of the operations under way.
    recent: Option<u64>,
}

/// What VMs take of this host, once a second
///
/// The stream does not end. Nothing is looked at while nobody listens.
#[utoipa::path(
    get, path = "/v1/stats", tag = "daemon",
    responses((
        status = 200, description = "Server-sent events; the schema is that of one's data",
        body = Tick, content_type = "text/event-stream"
    ))
)]
pub(super) async fn watch_stats(
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let mut ticks = shared.engine.ticks();
    // A slow reader misses ticks, and holds nobody up.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                came = ticks.changed() => if came.is_err() { return },
                () = sender.closed() => return,
            }
            let tick = ticks.borrow_and_update().clone();
            // A tick is made of strings and numbers, which JSON can say.
            let event = SseEvent::default().json_data(tick.as_deref()).unwrap_or_default();
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        }
    });
    Sse::new(ReceiverStream::new(receiver))
}

fn resume_after(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

fn stream(
    shared: Shared,
    of: Option<OperationId>,
    after: u64,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    // A slow reader holds its own sender up, and nobody else.
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Err(error) = feed(&shared, of, after, &sender).await {
            tracing::error!(%error, "an event stream broke");
        }
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive)
}

async fn feed(
    shared: &Shared,
    of: Option<OperationId>,
    mut after: u64,
    sender: &mpsc::Sender<Result<SseEvent, Infallible>>,
) -> Result<(), crate::store::StoreError> {
    let store = &shared.engine.store;
    let mut changed = store.watch();
    loop {
        // Only what is durable: what a crash takes back must not have been seen.
        let last = *changed.borrow_and_update();
        let wanted = of.clone();
        let batch = store
            .read(move |db| operations::events_after(db, wanted.as_ref(), after, last, BATCH))
            .await?;
        let full = batch.len() == BATCH as usize;
        for event in batch {
            after = event.seq;
            let last = of.is_some() && matches!(event.kind, EventKind::Finished { .. });
            if sender.send(Ok(encode(&event))).await.is_err() || last {
                return Ok(());
            }
        }
        if full {
            continue;
        }
        tokio::select! {
            woken = changed.changed() => if woken.is_err() { return Ok(()) },
            () = sender.closed() => return Ok(()),
        }
    }
}

fn encode(event: &Event) -> SseEvent {
    let id = event.seq.to_string();
    // An event is made of strings and numbers, which JSON can say.
    SseEvent::default().id(id).json_data(event).unwrap_or_default()
}
