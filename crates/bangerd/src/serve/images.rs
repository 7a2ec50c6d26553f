//! Images.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use banger_core::api::{ImageInfo, MakeImage, Package};
use banger_core::operation::Operation;
use serde::Deserialize;

use crate::serve::api::{Body, Key, Params, Reply, Shared, whole};
use crate::serve::openapi::{Conflict, Internal, Invalid, NotFound};
use crate::serve::operations::accepted;

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
    let mut infos = Vec::new();
    for image in shared.engine.images().await? {
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

/// The packages in the root of an image
#[utoipa::path(
    get, path = "/v1/images/{image}/packages", tag = "images",
    params(ImageKey),
    responses(
        (status = 200, description = "The packages, sorted by name", body = Vec<Package>),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn list_packages(
    State(shared): State<Shared>,
    Key(key): Key<ImageKey>,
) -> Reply<Json<Vec<Package>>> {
    let image = shared.engine.image(&key.image).await?;
    Ok(Json(shared.engine.image_packages(&image).await?))
}

/// Makes an image
#[utoipa::path(
    post, path = "/v1/images", tag = "images",
    request_body = MakeImage,
    responses(
        (status = 202, description = "It has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn make_image(
    State(shared): State<Shared>,
    Body(request): Body<MakeImage>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let id = whole(async move { engine.make(request).await }).await?;
    accepted(&shared, id).await
}

/// Copies the files of a registered image into the store
#[utoipa::path(
    post, path = "/v1/images/{image}/promote", tag = "images",
    params(ImageKey),
    responses(
        (status = 202, description = "It has begun", body = Operation),
        Invalid, NotFound, Conflict, Internal
    )
)]
pub(super) async fn promote_image(
    State(shared): State<Shared>,
    Key(key): Key<ImageKey>,
) -> Reply<(StatusCode, Json<Operation>)> {
    let engine = shared.engine.clone();
    let begun = async move {
        let image = engine.image(&key.image).await?;
        engine.promote_image(image).await
    };
    let id = whole(begun).await?;
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
