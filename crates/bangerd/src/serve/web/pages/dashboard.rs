//! The dashboard, and the list of VMs.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use maud::html;

use crate::serve::web::Console;
use crate::serve::web::layout::{Page, Problem};
use crate::serve::web::session::Session;
use crate::serve::web::view::{Subject, View};

pub fn routes() -> Router<Console> {
    Router::new().route("/", get(dashboard)).route("/vms", get(list))
}

async fn dashboard(State(console): State<Console>, session: Session) -> Result<Page, Problem> {
    let mut view = View::new(&console, &session, Subject::Dashboard);
    let tick = console.engine.tick().await?;
    let pieces = view.pieces(Some(&tick)).await?;
    let body = html! {
        h1.hidden { "Dashboard" }
        (pieces.slot("cards"))
        div.head { h2 { "VMs" } a.button href="/new/vm" { "Create a VM" } }
        (pieces.slot("vms"))
        h2 { "Under way" }
        (pieces.slot("operations"))
        div.head { h2 { "Images" } a.button href="/new/image" { "Make an image" } }
        (pieces.slot("images"))
        h2 { "This host" }
        (pieces.slot("readiness"))
    };
    Ok(Page::new("Dashboard", body).live("/live/dashboard"))
}

async fn list(State(console): State<Console>, session: Session) -> Result<Page, Problem> {
    let tick = console.engine.tick().await?;
    let pieces = View::new(&console, &session, Subject::Vms).pieces(Some(&tick)).await?;
    let body = html! {
        div.head { h1 { "VMs" } a.button href="/new/vm" { "Create a VM" } }
        (pieces.slot("vms"))
    };
    Ok(Page::new("VMs", body).live("/live/vms"))
}
