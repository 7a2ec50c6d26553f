//! The pages, by what they are about.

mod create;
mod dashboard;
mod entry;
pub mod images;
pub mod log;
mod make;
mod operations;
mod picker;
mod terminal;
pub mod vm;

use axum::Router;
use axum::http::Uri;
use banger_core::api::{ApiError, ErrorKind};

use crate::serve::web::Console;
use crate::serve::web::layout::Problem;

/// All of them.
pub fn routes() -> Router<Console> {
    Router::new()
        .merge(dashboard::routes())
        .merge(entry::routes())
        .merge(create::routes())
        .merge(vm::routes())
        .merge(log::routes())
        .merge(terminal::routes())
        .merge(images::routes())
        .merge(make::routes())
        .merge(operations::routes())
}

/// What is none.
pub async fn no_such_page(uri: Uri) -> Problem {
    Problem(ApiError::new(ErrorKind::NotFound, format!("there is no page {}", uri.path())))
}
