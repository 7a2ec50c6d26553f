//! Streams of server-sent events, resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use banger_core::id::OperationId;
use banger_core::operation::{Event, EventKind};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::serve::api::{Refusal, Shared, operation, operation_id};
use crate::store::operations;

/// How many events are read from the database at a time.
const BATCH: u32 = 256;

/// `GET /v1/operations/{id}/events`: ends after the operation's last event.
pub async fn of_operation(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Refusal> {
    let id = operation(&shared, operation_id(&id)?).await?.id;
    Ok(stream(shared, Some(id), resume_after(&headers).unwrap_or(0)))
}

/// `GET /v1/events`: of all operations, from now on unless resumed.
pub async fn all(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let after = resume_after(&headers).unwrap_or_else(|| *shared.engine.store.watch().borrow());
    stream(shared, None, after)
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
        changed.mark_unchanged();
        let wanted = of.clone();
        let batch = store
            .run(move |db| operations::events_after(db, wanted.as_ref(), after, BATCH))
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
