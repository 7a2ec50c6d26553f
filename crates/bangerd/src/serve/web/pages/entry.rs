//! Logging in and out.

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use maud::html;

use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Html, Page, form};
use crate::serve::web::session::{COOKIE, Session, remove_cookie, set_cookie};

pub fn routes() -> Router<Console> {
    Router::new().route("/login", get(log_in)).route("/logout", get(ask).post(log_out))
}

/// Exchanges a token for a session. What follows has neither in its address.
async fn log_in(
    State(console): State<Console>,
    session: Option<Extension<Session>>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let cookie = fields.text("token").and_then(|token| console.sessions.log_in(token));
    let step = || (no_referrer(), Html(Page::step("/"))).into_response();
    match (cookie, session) {
        (Some(cookie), _) => {
            ([(header::SET_COOKIE, set_cookie(COOKIE, &cookie))], step()).into_response()
        }
        // It was used before, by this browser itself: gone back to, or opened once more.
        (None, Some(_)) => step(),
        (None, None) => {
            let mut reply = Page::logged_out("/").into_response();
            if fields.text("token").is_some() {
                reply = used_up().into_response();
            }
            reply
        }
    }
}

fn used_up() -> Page {
    let body = html! {
        h1 { "This way in is used up" }
        p { "It is good once, and for two minutes. Type this in a terminal for another one:" }
        pre { "banger web" }
    };
    Page::new("Not logged in", body).status(StatusCode::UNAUTHORIZED).without_menu()
}

fn no_referrer() -> [(header::HeaderName, &'static str); 1] {
    [(header::REFERRER_POLICY, "no-referrer")]
}

async fn ask(session: Session) -> Page {
    let button = html! { button { "Log out" } " " a.button.plain href="/" { "Cancel" } };
    let body = html! {
        h1 { "Log out" }
        p { "This browser forgets its session. VMs run on." }
        (form(&session, "/logout", &button))
    };
    Page::new("Log out", body)
}

async fn log_out(State(console): State<Console>, session: Session, _: Fields) -> Response {
    console.sessions.log_out(&session);
    ([(header::SET_COOKIE, remove_cookie(COOKIE))], Page::logged_out("/")).into_response()
}
