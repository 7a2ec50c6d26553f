//! The API: HTTP/1.1 and JSON. Handlers only translate; the engine decides.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{
    DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request as HttpRequest,
};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use banger_core::api::{ApiError, ErrorKind};
use banger_core::size::Size;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::engine::Engine;
use crate::serve::web::Console;
use crate::serve::{daemon, events, images, inspect, openapi, operations, vms};

/// What this daemon was built from (see `build.rs`).
pub const BUILD: &str = env!("BANGER_BUILD");

/// The largest body of a request, in bytes, and how long it may take to arrive.
const BODY_SIZE: usize = 256 << 10;
const BODY_TIME: Duration = Duration::from_secs(10);

/// What handlers share.
#[derive(Clone)]
pub struct Shared {
    /// The engine.
    pub engine: Engine,
    /// Ends the daemon.
    pub stop: Arc<Notify>,
    /// The web console, if it is served.
    pub web: Option<Console>,
}

/// The routes, ready to be served.
pub fn router(engine: Engine, stop: Arc<Notify>, web: Option<Console>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_SIZE))
        .with_state(Shared { engine, stop, web })
}

/// The routes with their description: one cannot be without the other.
pub(super) fn described() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(daemon::show_daemon))
        .routes(routes!(daemon::show_dashboard))
        .routes(routes!(events::watch_stats))
        .routes(routes!(daemon::stop_daemon))
        .routes(routes!(daemon::invite_browser))
        .routes(routes!(daemon::doctor))
        .routes(routes!(openapi::show_openapi))
        .routes(routes!(daemon::list_leftovers))
        .routes(routes!(daemon::release_leftovers))
        .routes(routes!(vms::list_vms, vms::create_vm))
        .routes(routes!(vms::show_vm, vms::change_vm, vms::delete_vm))
        .routes(routes!(vms::start_vm))
        .routes(routes!(vms::restart_vm))
        .routes(routes!(vms::stop_vm))
        .routes(routes!(vms::kill_vm))
        .routes(routes!(vms::show_ssh_access))
        .routes(routes!(vms::show_secrets))
        .routes(routes!(inspect::list_ports))
        .routes(routes!(inspect::show_stats))
        .routes(routes!(inspect::show_log))
        .routes(routes!(images::list_images, images::make_image))
        .routes(routes!(images::promote_image))
        .routes(routes!(images::list_packages))
        .routes(routes!(images::show_image, images::delete_image))
        .routes(routes!(operations::list_operations))
        .routes(routes!(operations::show_operation, operations::cancel_operation))
        .routes(routes!(events::watch_operation))
        .routes(routes!(events::watch_all))
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

pub(super) type Reply<T> = Result<T, Refusal>;

fn invalid(reason: String) -> Refusal {
    Refusal(ApiError::new(ErrorKind::Invalid, reason))
}

/// A JSON body whose rejection is an [`ApiError`] too.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;
    async fn from_request(request: HttpRequest, state: &S) -> Reply<Self> {
        let parsed = tokio::time::timeout(BODY_TIME, Json::from_request(request, state)).await;
        let parsed = parsed.map_err(|_| invalid("the request's body did not arrive".to_owned()))?;
        parsed.map(|Json(value)| Self(value)).map_err(|e: JsonRejection| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => invalid(format!(
                "the request's body is larger than {}",
                Size::bytes(BODY_SIZE as u64)
            )),
            _ => invalid(e.body_text()),
        })
    }
}

/// A query whose rejection is an [`ApiError`] too.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Self> {
        let parsed = Query::from_request_parts(parts, state).await;
        parsed.map(|Query(value)| Self(value)).map_err(|e: QueryRejection| invalid(e.body_text()))
    }
}

/// What a path names, its rejection an [`ApiError`] too.
pub struct Key<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Key<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Reply<Self> {
        let parsed = Path::from_request_parts(parts, state).await;
        parsed.map(|Path(value)| Self(value)).map_err(|e: PathRejection| invalid(e.body_text()))
    }
}

async fn no_such_route() -> Refusal {
    Refusal(ApiError::new(ErrorKind::NotFound, "there is no such path in the API"))
}

async fn no_such_method() -> (StatusCode, Json<ApiError>) {
    let error = ApiError::new(ErrorKind::Invalid, "this path does not take that method");
    (StatusCode::METHOD_NOT_ALLOWED, Json(error))
}

/// Runs to its end even if the client goes away, which would drop it half-way.
pub(super) async fn whole<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ApiError> + Send + 'static,
{
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|e| Err(ApiError::new(ErrorKind::Internal, e.to_string()).into()))
}
