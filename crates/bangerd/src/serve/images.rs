//! Images.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_core::api::{BuildImage, ImageInfo};
use banger_core::operation::Operation;
use serde::Deserialize;

use crate::engine::store_error;
use crate::serve::api::{Body, Key, Params, Reply, Shared, whole};
use crate::serve::openapi::{Conflict, Internal, Invalid, NotFound};
use crate::serve::operations::accepted;
use crate::store::images;

/// The image that a path names.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ImageKey {
    /// The image: its name, its id, or a start of its id that no other has.
    image: String,
}

/// The query of a look at an image.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Look {
    /// Whether its files are read whole and compared with what was built; that takes a second
    /// or so.
    #[serde(default)]
    verify: bool,
}

/// All images
#[utoipa::path(
    get, path = "/v1/images", tag = "images",
    responses((status = 200, description = "All images", body = Vec<ImageInfo>), Internal)
)]
pub(super) async fn list_images(State(shared): State<Shared>) -> Reply<Json<Vec<ImageInfo>>> {
    let list = shared.engine.store.read(|db| images::list(db)).await.map_err(store_error)?;
    let mut infos = Vec::new();
    for image in list {
        infos.push(shared.engine.image_info(image, false).await?);
    }
    Ok(Json(infos))
}

/// One image
#[utoipa::path(
    get, path = "/v1/images/{image}", tag = "images",
    params(ImageKey, Look),
    responses(
        (status = 200, description = "The image", body = ImageInfo),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn show_image(
    State(shared): State<Shared>,
    Key(key): Key<ImageKey>,
    Params(look): Params<Look>,
) -> Reply<Json<ImageInfo>> {
    let image = shared.engine.image(&key.image).await?;
    Ok(Json(shared.engine.image_info(image, look.verify).await?))
}

/// Builds an image
#[utoipa::path(
    post, path = "/v1/images", tag = "images",
    request_body = BuildImage,
    responses(
        (status = 202, description = "The build has begun", body = Operation),
        Invalid, Conflict, Internal
    )
)]
pub(super) async fn build_image(
    State(shared): State<Shared>,
    Body(request): Body<BuildImage>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let id = whole(async move { engine.build_image(request).await }).await?;
    accepted(&shared, id).await
}

/// Deletes an image that no VM uses
#[utoipa::path(
    delete, path = "/v1/images/{image}", tag = "images",
    params(ImageKey),
    responses((status = 204, description = "It is gone"), Invalid, NotFound, Conflict, Internal)
)]
pub(super) async fn delete_image(
    State(shared): State<Shared>,
    Key(key): Key<ImageKey>,
) -> Reply<StatusCode> {
    let engine = shared.engine;
    let deleted = async move {
        let image = engine.image(&key.image).await?;
        engine.delete_image(&image.id).await
    };
    whole(deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}
