//! The API: HTTP/1.1 and JSON. Handlers only translate; the engine decides.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use banger_core::api::{
    ApiError, BuildImage, ChangeVm, CreateVm, DaemonStatus, ErrorKind, ImageInfo, Secrets,
    SshAccess, StartVm, StopDaemon,
};
use banger_core::dirs::vm_files;
use banger_core::doctor::DoctorReport;
use banger_core::id::OperationId;
use banger_core::operation::Operation;
use banger_core::policy::Request;
use banger_core::vm::{Vm, WaitFor};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinError;

use crate::clock::now;
use crate::engine::{Engine, store_error};
use crate::ops::keys;
use crate::serve::{events, inspect};
use crate::store::{images, operations, vms};
use std::sync::Arc;

/// What this daemon was built from (see `build.rs`).
pub const BUILD: &str = env!("BANGER_BUILD");

/// What handlers share.
#[derive(Clone)]
pub struct Shared {
    /// The engine.
    pub engine: Engine,
    /// Ends the daemon.
    pub stop: Arc<Notify>,
    /// When the daemon started, seconds since 1970-01-01 00:00 UTC.
    pub started_at: u64,
}

/// The routes.
pub fn router(engine: Engine, stop: Arc<Notify>) -> Router {
    Router::new()
        .route("/v1/daemon", get(daemon))
        .route("/v1/daemon/stop", post(stop_daemon))
        .route("/v1/doctor", get(doctor))
        .route("/v1/vms", get(list_vms).post(create_vm))
        .route("/v1/vms/{vm}", get(show_vm).patch(change_vm).delete(delete_vm))
        .route("/v1/vms/{vm}/start", post(start_vm))
        .route("/v1/vms/{vm}/restart", post(restart_vm))
        .route("/v1/vms/{vm}/stop", post(stop_vm))
        .route("/v1/vms/{vm}/kill", post(kill_vm))
        .route("/v1/vms/{vm}/ssh", get(ssh_access))
        .route("/v1/vms/{vm}/secrets", get(secrets))
        .route("/v1/vms/{vm}/ports", get(inspect::ports))
        .route("/v1/vms/{vm}/stats", get(inspect::stats))
        .route("/v1/vms/{vm}/log", get(inspect::log))
        .route("/v1/images", get(list_images).post(build_image))
        .route("/v1/images/{image}", get(show_image).delete(delete_image))
        .route("/v1/operations", get(list_operations))
        .route("/v1/operations/{id}", get(show_operation).delete(cancel_operation))
        .route("/v1/operations/{id}/events", get(events::of_operation))
        .route("/v1/events", get(events::all))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Shared { engine, stop, started_at: now() })
}

/// An [`ApiError`] as a reply.
pub struct Refusal(ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

type Reply<T> = Result<T, Refusal>;

/// A JSON body whose rejection is an [`ApiError`] too.
pub struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;
    async fn from_request(request: HttpRequest, state: &S) -> Reply<Self> {
        let parsed = Json::from_request(request, state).await;
        let invalid = |e: JsonRejection| Refusal(ApiError::new(ErrorKind::Invalid, e.body_text()));
        parsed.map(|Json(value)| Self(value)).map_err(invalid)
    }
}

/// A query whose rejection is an [`ApiError`] too.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Self> {
        let parsed = Query::from_request_parts(parts, state).await;
        let invalid = |e: QueryRejection| Refusal(ApiError::new(ErrorKind::Invalid, e.body_text()));
        parsed.map(|Query(value)| Self(value)).map_err(invalid)
    }
}

async fn no_such_route() -> Refusal {
    Refusal(ApiError::new(ErrorKind::NotFound, "there is no such path in the API"))
}

async fn no_such_method() -> Refusal {
    Refusal(ApiError::new(ErrorKind::Invalid, "this path does not take that method"))
}

async fn daemon(State(shared): State<Shared>) -> Reply<Json<DaemonStatus>> {
    let rows = shared.engine.store.run(|db| vms::list(db)).await.map_err(store_error)?;
    Ok(Json(DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: BUILD.to_owned(),
        pid: std::process::id(),
        started_at: shared.started_at,
        operations: shared.engine.active_operations() as u64,
        running: rows.iter().filter(|row| row.vm.state.is_active()).count() as u64,
        kvm: shared.engine.kvm,
    }))
}

async fn doctor(State(shared): State<Shared>) -> Reply<Json<DoctorReport>> {
    let look = tokio::task::spawn_blocking(move || crate::doctor::report(&shared.engine.dirs));
    let failed = |e: JoinError| ApiError::new(ErrorKind::Internal, e.to_string());
    Ok(Json(look.await.map_err(failed)?))
}

async fn stop_daemon(
    State(shared): State<Shared>,
    Body(body): Body<StopDaemon>,
) -> Reply<StatusCode> {
    let under_way = shared.engine.active_operations();
    if under_way > 0 && !body.now {
        let message = format!("operations are under way: {under_way}");
        let refusal = ApiError::new(ErrorKind::Conflict, message);
        return Err(refusal.remedy("wait for their end, or cancel them with --now").into());
    }
    shared.stop.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// Runs to its end even if the client goes away, which would drop it half-way.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|e| Err(ApiError::new(ErrorKind::Internal, e.to_string())))
}

async fn list_vms(State(shared): State<Shared>) -> Reply<Json<Vec<Vm>>> {
    let rows = shared.engine.store.run(|db| vms::list(db)).await.map_err(store_error)?;
    Ok(Json(rows.into_iter().map(|row| row.vm).collect()))
}

async fn show_vm(State(shared): State<Shared>, Path(key): Path<String>) -> Reply<Json<Vm>> {
    Ok(Json(shared.engine.vm(&key).await?.vm))
}

async fn create_vm(
    State(shared): State<Shared>,
    Body(request): Body<CreateVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let id = whole(async move { engine.create(request).await }).await?;
    accepted(&shared, id).await
}

async fn request(
    shared: &Shared,
    key: &str,
    request: Request,
    wait: WaitFor,
) -> Reply<(StatusCode, Json<Operation>)> {
    let vm = shared.engine.vm(key).await?.vm;
    let id = shared.engine.request(&vm.id, request, wait).await?;
    accepted(shared, id).await
}

async fn accepted(shared: &Shared, id: OperationId) -> Reply<(StatusCode, Json<Operation>)> {
    Ok((StatusCode::ACCEPTED, Json(operation(shared, id).await?)))
}

async fn start_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Body(body): Body<StartVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Request::Start, body.wait).await
}

async fn restart_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Body(body): Body<StartVm>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Request::Restart, body.wait).await
}

async fn stop_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Request::Stop, WaitFor::Agent).await
}

async fn kill_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Request::Kill, WaitFor::Agent).await
}

async fn delete_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Reply<(StatusCode, Json<Operation>)> {
    request(&shared, &key, Request::Delete, WaitFor::Agent).await
}

async fn change_vm(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Body(change): Body<ChangeVm>,
) -> Reply<Json<Vm>> {
    let vm = shared.engine.vm(&key).await?.vm;
    Ok(Json(shared.engine.change(&vm.id, change).await?))
}

async fn ssh_access(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Reply<Json<SshAccess>> {
    let vm = shared.engine.vm(&key).await?.vm;
    let engine = shared.engine.clone();
    let found = tokio::task::spawn_blocking(move || {
        keys::client_key(engine.runner.as_ref(), &engine.dirs, &engine.config)
    });
    let internal = |message: String| ApiError::new(ErrorKind::Internal, message);
    let found = found.await.map_err(|e| internal(e.to_string()))?;
    let (key, _) = found.map_err(|e| internal(crate::error::chain(&e)))?;
    let dir = shared.engine.dirs.vm(vm.id.as_str());
    Ok(Json(SshAccess {
        user: "root".to_owned(),
        key,
        known_hosts: vm_files::known_hosts(&dir),
        host_key_alias: vm.id.to_string(),
    }))
}

async fn secrets(State(shared): State<Shared>, Path(key): Path<String>) -> Reply<Json<Secrets>> {
    let row = shared.engine.vm(&key).await?;
    Ok(Json(Secrets { opencode_password: row.opencode_password }))
}

async fn list_images(State(shared): State<Shared>) -> Reply<Json<Vec<ImageInfo>>> {
    let list = shared.engine.store.run(|db| images::list(db)).await.map_err(store_error)?;
    let mut infos = Vec::new();
    for image in list {
        infos.push(shared.engine.image_info(image).await?);
    }
    Ok(Json(infos))
}

async fn show_image(
    State(shared): State<Shared>,
    Path(key): Path<String>,
) -> Reply<Json<ImageInfo>> {
    let image = shared.engine.image(&key).await?;
    Ok(Json(shared.engine.image_info(image).await?))
}

async fn build_image(
    State(shared): State<Shared>,
    Body(request): Body<BuildImage>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let id = whole(async move { engine.build_image(request).await }).await?;
    accepted(&shared, id).await
}

async fn delete_image(State(shared): State<Shared>, Path(key): Path<String>) -> Reply<StatusCode> {
    let image = shared.engine.image(&key).await?;
    let engine = shared.engine.clone();
    whole(async move { engine.delete_image(&image.id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct ListOperations {
    #[serde(default)]
    unfinished: bool,
}

async fn list_operations(
    State(shared): State<Shared>,
    Params(query): Params<ListOperations>,
) -> Reply<Json<Vec<Operation>>> {
    let list = shared.engine.store.run(move |db| operations::list(db, query.unfinished));
    Ok(Json(list.await.map_err(store_error)?))
}

pub(super) async fn operation(shared: &Shared, id: OperationId) -> Reply<Operation> {
    let wanted = id.clone();
    let found = shared.engine.store.run(move |db| operations::get(db, &wanted));
    let found = found.await.map_err(store_error)?;
    let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no operation {id}"));
    Ok(found.ok_or_else(missing)?)
}

/// An operation's id in a path.
pub(super) fn operation_id(text: &str) -> Reply<OperationId> {
    let missing = |_| ApiError::new(ErrorKind::NotFound, format!("there is no operation {text}"));
    Ok(text.parse().map_err(missing)?)
}

async fn show_operation(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Reply<Json<Operation>> {
    Ok(Json(operation(&shared, operation_id(&id)?).await?))
}

async fn cancel_operation(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let found = operation(&shared, operation_id(&id)?).await?;
    shared.engine.cancel(&found.id);
    Ok((StatusCode::ACCEPTED, Json(found)))
}
