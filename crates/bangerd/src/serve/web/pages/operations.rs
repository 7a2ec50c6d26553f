//! Operations: what is under way and what was, each with its stages, its output and a way to
//! cancel it.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use banger_core::operation::EventKind;
use maud::html;

use crate::engine::store_error;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, Problem, see};
use crate::serve::web::session::Session;
use crate::serve::web::show::operation::{find, title};
use crate::serve::web::show::plain;
use crate::serve::web::view::{Subject, View};
use crate::store::operations;

/// How many events are read at a time.
const BATCH: u32 = 4096;

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/operations", get(list))
        .route("/operations/{id}", get(show))
        .route("/operations/{id}/output", get(output))
        .route("/operations/{id}/cancel", post(cancel))
}

async fn list(State(console): State<Console>, session: Session) -> Result<Page, Problem> {
    let pieces = View::new(&console, &session, Subject::Operations).pieces(None).await?;
    let body = html! {
        h1 { "Operations" }
        p { "What was begun in the last week, the newest first." }
        (pieces.slot("operations"))
    };
    Ok(Page::new("Operations", body).live("/live/operations"))
}

async fn show(
    State(console): State<Console>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Page, Problem> {
    let operation = find(&console.engine, &id).await?;
    let title = title(&operation);
    let mut view = View::new(&console, &session, Subject::Operation(id));
    let pieces = view.pieces(None).await?;
    let body = html! {
        h1 { (title) }
        (pieces.slot("acts"))
        (pieces.slot("stages"))
        (pieces.slot("output"))
    };
    let page = Page::new(title, body).polls(!view.over);
    Ok(if view.over { page } else { page.live(format!("/live/operations/{}", operation.id)) })
}

/// What its programs said, as text.
async fn output(
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let id = find(&console.engine, &id).await?.id;
    let (mut text, mut after) = (String::new(), 0);
    loop {
        let (id, last) = (id.clone(), i64::MAX.cast_unsigned());
        let read = console
            .engine
            .store
            .read(move |db| operations::events_after(db, Some(&id), after, last, BATCH));
        let events = read.await.map_err(store_error)?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        for event in &events {
            if let EventKind::Log { line } = &event.kind {
                text.push_str(&plain(line));
                text.push('\n');
            }
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

/// Asks it to stop. What it has made is undone, which its page shows.
async fn cancel(
    State(console): State<Console>,
    Path(id): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let operation = find(&console.engine, &id).await?;
    console.engine.cancel(&operation.id);
    Ok(see(format!("/operations/{}", operation.id)))
}
