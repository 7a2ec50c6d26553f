//! Operations: what was begun and how it ended.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_core::api::{ApiError, ErrorKind};
use banger_core::id::OperationId;
use banger_core::operation::Operation;
use serde::Deserialize;

use crate::engine::store_error;
use crate::serve::api::{Key, Params, Refusal, Reply, Shared, whole};
use crate::serve::openapi::{Internal, Invalid, NotFound};
use crate::store::operations;

/// The operation that a path names.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OperationKey {
    /// The operation's whole id.
    #[param(value_type = OperationId)]
    id: String,
}

/// The query of a list of operations.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListOperations {
    /// Only those that are under way.
    #[serde(default)]
    unfinished: bool,
}

/// The operations that are remembered
#[utoipa::path(
    get, path = "/v1/operations", tag = "operations",
    params(ListOperations),
    responses(
        (status = 200, description = "The operations", body = Vec<Operation>),
        Invalid, Internal
    )
)]
pub(super) async fn list_operations(
    State(shared): State<Shared>,
    Params(query): Params<ListOperations>,
) -> Reply<Json<Vec<Operation>>> {
    let list = shared.engine.store.read(move |db| operations::list(db, query.unfinished));
    Ok(Json(list.await.map_err(store_error)?))
}

/// One operation
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "operations",
    params(OperationKey),
    responses(
        (status = 200, description = "The operation", body = Operation),
        Invalid, NotFound, Internal
    )
)]
pub(super) async fn show_operation(
    State(shared): State<Shared>,
    Key(key): Key<OperationKey>,
) -> Reply<Json<Operation>> {
    Ok(Json(named(&shared, &key).await?))
}

/// Cancels an operation
///
/// What it has made is unwound; its last event says how it ended. One that
/// has ended stays as it is.
#[utoipa::path(
    delete, path = "/v1/operations/{id}", tag = "operations",
    params(OperationKey),
    responses(
        (status = 202, description = "The operation as it was", body = Operation),
        Invalid, NotFound, Internal
    )
)]
pub(super) async fn cancel_operation(
    State(shared): State<Shared>,
    Key(key): Key<OperationKey>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let cancelled = async move {
        let found = named(&shared, &key).await?;
        shared.engine.cancel(&found.id);
        Ok::<_, Refusal>(found)
    };
    Ok((StatusCode::ACCEPTED, Json(whole(cancelled).await?)))
}

/// The operation that a path names.
pub(super) async fn named(shared: &Shared, key: &OperationKey) -> Reply<Operation> {
    let text = &key.id;
    let missing = |_| ApiError::new(ErrorKind::NotFound, format!("there is no operation {text}"));
    operation(shared, text.parse().map_err(missing)?).await
}

async fn operation(shared: &Shared, id: OperationId) -> Reply<Operation> {
    let wanted = id.clone();
    let found = shared.engine.store.read(move |db| operations::get(db, &wanted));
    let found = found.await.map_err(store_error)?;
    let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no operation {id}"));
    Ok(found.ok_or_else(missing)?)
}

/// The reply to a request that begins an operation.
pub(super) async fn accepted(
    shared: &Shared,
    id: OperationId,
) -> Reply<(StatusCode, Json<Operation>)> {
    Ok((StatusCode::ACCEPTED, Json(operation(shared, id).await?)))
}
