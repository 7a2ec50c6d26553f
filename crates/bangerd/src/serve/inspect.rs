//! What is seen of a VM: its guest's ports, what it uses, its console.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use banger_core::agent::Port;
use banger_core::api::Stats;
use banger_core::dirs::vm_files;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::serve::api::{Params, Refusal, Shared};
use crate::serve::console;

/// The longest that CPU use is watched for one request.
const LONGEST_SAMPLE: Duration = Duration::from_secs(10);

/// `GET /v1/vms/{vm}/ports`.
pub async fn ports(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Result<Json<Vec<Port>>, Refusal> {
    let vm = shared.engine.vm(&key).await?.vm;
    Ok(Json(shared.engine.ports(&vm).await?))
}

/// The query of a look at a VM's use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// For how long CPU use is watched, in milliseconds; not at all without it.
    sample_ms: Option<u64>,
}

/// `GET /v1/vms/{vm}/stats`.
pub async fn stats(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Params(query): Params<Sample>,
) -> Result<Json<Stats>, Refusal> {
    let vm = shared.engine.vm(&key).await?.vm;
    let sample = query.sample_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_SAMPLE));
    Ok(Json(shared.engine.stats(&vm, sample).await?))
}

/// The query of a look at a console.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How many of the last lines to begin with.
    #[serde(default = "hundred")]
    lines: u64,
    /// Whether to go on with what comes.
    #[serde(default)]
    follow: bool,
}

fn hundred() -> u64 {
    100
}

/// `GET /v1/vms/{vm}/log`: the serial console, byte by byte as the guest wrote it.
pub async fn log(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Params(query): Params<Log>,
) -> Result<Response, Refusal> {
    let vm = shared.engine.vm(&key).await?.vm;
    let path = vm_files::console(&shared.engine.dirs.vm(vm.id.as_str()));
    // A slow reader holds its own sender up, and nobody else.
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = console::feed(&path, query.lines, query.follow, &sender).await {
            // The reader sees that the stream breaks; it has no other end than that.
            let _ = sender.send(Err(error)).await;
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([(CONTENT_TYPE, "text/plain")], body).into_response())
}
