//! What is seen of a VM: its guest's ports, what it uses, its console.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use banger_core::agent::Port;
use banger_core::api::Stats;
use banger_core::dirs::vm_files;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::serve::api::{Key, Params, Reply, Shared};
use crate::serve::console;
use crate::serve::openapi::{Conflict, Internal, Invalid, NotFound};
use crate::serve::vms::VmKey;

/// The longest that CPU use is watched for one request.
const LONGEST_SAMPLE: Duration = Duration::from_secs(10);

/// What listens in a VM's guest
#[utoipa::path(
    get, path = "/v1/vms/{vm}/ports", tag = "vms",
    params(VmKey),
    responses(
        (status = 200, description = "TCP ports", body = Vec<Port>),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn list_ports(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
) -> Reply<Json<Vec<Port>>> {
    let vm = shared.engine.vm(&key.vm).await?.vm;
    Ok(Json(shared.engine.ports(&vm).await?))
}

/// The query of a look at a VM's use.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Sample {
    /// For how long CPU use is watched, in milliseconds, 10000 at most; not at all without it.
    sample_ms: Option<u64>,
}

/// What a VM uses of the host
#[utoipa::path(
    get, path = "/v1/vms/{vm}/stats", tag = "vms",
    params(VmKey, Sample),
    responses(
        (status = 200, description = "Its use", body = Stats),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_stats(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
    Params(query): Params<Sample>,
) -> Reply<Json<Stats>> {
    let vm = shared.engine.vm(&key.vm).await?.vm;
    let sample = query.sample_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_SAMPLE));
    Ok(Json(shared.engine.stats(&vm, sample).await?))
}

/// The query of a look at a console.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Log {
    /// How many of the last lines to begin with.
    #[serde(default = "hundred")]
    #[param(default = hundred)]
    lines: u64,
    /// Whether to go on with what comes.
    #[serde(default)]
    follow: bool,
}

fn hundred() -> u64 {
    100
}

/// A VM's serial console, byte by byte as the guest wrote it
///
/// With `follow` the stream ends when the VM is gone.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/log", tag = "vms",
    params(VmKey, Log),
    responses(
        (status = 200, description = "The end of the log", body = String, content_type = "text/plain"),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_log(
    State(shared): State<Shared>,
    Key(key): Key<VmKey>,
    Params(query): Params<Log>,
) -> Reply<Response> {
    let vm = shared.engine.vm(&key.vm).await?.vm;
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
