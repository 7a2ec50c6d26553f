//! The API's description, OpenAPI 3.1, made from the handlers and their types.
//!
//! `docs/openapi.json` is this document; a test compares them.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use banger_core::api::{ApiError, ErrorKind};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi, ToSchema as _};

use crate::serve::api::{Reply, Shared, described};

const DESCRIPTION: &str = "\
A manager of microVMs. The API is served on a Unix socket, to its owner and root only: \
`curl --unix-socket $XDG_RUNTIME_DIR/banger/bangerd.sock http://localhost/v1/vms`.

**Keys.** VMs and images are named in paths by their name, their id (16 hexadecimal digits), \
or a start of the id that no other has (409 if several have it).

**Operations.** What takes long answers 202 with an operation and goes on by itself, whether \
anybody watches or not. `/v1/operations/{id}/events` tells how it goes; its last event, \
`finished`, says how it ended and carries what was made or changed, whole. \
Cancelling it undoes what it has done so far.

**Errors.** Every reply of 400 or more is an `ApiError`: what failed and, where it is known, \
what to do. A path that is not described here answers 404, a method that a path does not take 405.

**Numbers.** Sizes are in bytes; times are seconds since 1970-01-01 00:00 UTC, or milliseconds \
where the name ends in `_ms`. A field without a value is left out. Replies may gain fields; \
requests with fields that are not known are refused.";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "banger",
        description = DESCRIPTION,
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "http://localhost", description = "The Unix socket; the host does not matter")),
    tags(
        (name = "vms", description = "Virtual machines"),
        (name = "images", description = "What VMs are made from"),
        (name = "operations", description = "Long work, and the log of what happens"),
        (name = "daemon", description = "The daemon and its host")
    ),
    components(schemas(ApiError))
)]
struct Frame;

/// The document without its paths.
pub(super) fn frame() -> openapi::OpenApi {
    let mut document = Frame::openapi();
    if let Some(components) = &mut document.components {
        components.responses.extend(refusals());
    }
    document
}

/// The document as text, for people and programs.
///
/// # Errors
/// It cannot be written as JSON: a bug of ours.
pub fn json() -> Result<String, serde_json::Error> {
    let mut text = described().into_openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "daemon",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object), Internal)
)]
pub(super) async fn show_openapi(State(_): State<Shared>) -> Reply<HttpResponse> {
    let text = json().map_err(|e| ApiError::new(ErrorKind::Internal, e.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// Replies whose body is an [`ApiError`], each a type that handlers list and
/// a shared part of the document.
macro_rules! refusals {
    ($($status:literal $name:ident $description:literal;)*) => {
        $(
            #[doc = $description]
            pub(super) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let shared = Ref::from_response_name(stringify!($name));
                    BTreeMap::from([($status.to_owned(), RefOr::Ref(shared))])
                }
            }
        )*

        fn refusals() -> [(String, RefOr<Response>); [$($status),*].len()] {
            [$((stringify!($name).to_owned(), refusal($description))),*]
        }
    };
}

refusals! {
    "400" Invalid "The request makes no sense.";
    "404" NotFound "There is no such object.";
    "409" Conflict "The object's state does not allow it, the name is taken, or the key is ambiguous.";
    "500" Internal "Something failed inside.";
}

fn refusal(description: &str) -> RefOr<Response> {
    let error = Ref::from_schema_name(ApiError::name());
    let content = ContentBuilder::new().schema(Some(error)).build();
    let response = ResponseBuilder::new().description(description);
    RefOr::T(response.content("application/json", content).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == json().unwrap(),
            "docs/openapi.json is not what the code says: write it anew with 'cargo xtask openapi'"
        );
    }
}
