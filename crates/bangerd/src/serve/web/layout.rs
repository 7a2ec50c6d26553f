//! The frame of all pages.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use banger_core::api::{ApiError, ErrorKind};
use maud::{DOCTYPE, Markup, html};

use crate::serve::web::assets;
use crate::serve::web::session::Session;
use crate::serve::web::show::plain;

/// The parts of the console, as its menu has them.
const MENU: [(&str, &str); 4] =
    [("/", "Dashboard"), ("/vms", "VMs"), ("/images", "Images"), ("/operations", "Operations")];

/// A page.
pub struct Page {
    title: String,
    status: StatusCode,
    /// Where what changes on it is told.
    live: Option<String>,
    /// Whether to ask for it again and again where there are no scripts.
    polls: bool,
    /// Whether a person has logged in.
    menu: bool,
    /// Whether the console's files cannot be reached.
    bare: bool,
    scripts: &'static [&'static str],
    body: Markup,
}

impl Page {
    /// A page with this title.
    pub fn new(title: impl Into<String>, body: Markup) -> Self {
        let (title, status) = (title.into(), StatusCode::OK);
        Self {
            title,
            status,
            live: None,
            polls: false,
            menu: true,
            bare: false,
            scripts: &[],
            body,
        }
    }

    /// The same with what changes on it.
    #[must_use]
    pub fn live(self, path: impl Into<String>) -> Self {
        Self { live: Some(path.into()), ..self }
    }

    /// The same for as long as something is under way.
    #[must_use]
    pub fn polls(self, polls: bool) -> Self {
        Self { polls, ..self }
    }

    /// The same with another status.
    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same for those who are not logged in.
    #[must_use]
    pub fn without_menu(self) -> Self {
        Self { menu: false, ..self }
    }

    /// The same without anything but itself: on another host than the console's.
    #[must_use]
    pub fn bare(self) -> Self {
        Self { bare: true, ..self.without_menu() }
    }

    /// The same with scripts of its own.
    #[must_use]
    pub fn scripts(self, scripts: &'static [&'static str]) -> Self {
        Self { scripts, ..self }
    }

    /// What who is not logged in sees.
    pub fn logged_out(path: &str) -> Self {
        // A browser takes what begins with two slashes for another host.
        let path = if path.starts_with("//") { "/" } else { path };
        let body = html! {
            h1 { "Not logged in" }
            p { "Type this in a terminal; it opens this console in your browser:" }
            pre { "banger web" }
            p {
                "If you have done that already, " a href=(path) { "go on to the page" } "."
            }
        };
        Self::new("Not logged in", body).status(StatusCode::UNAUTHORIZED).without_menu()
    }

    /// A page that leads on, so that neither its address nor its origin comes along.
    pub fn step(to: &str) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { "banger" }
                    meta http-equiv="refresh" content=(format!("0; url={to}"));
                }
                body { p { a href=(to) { "Go on" } } }
            }
        }
    }

    fn render(self) -> Markup {
        let here = |path: &str| {
            let title = MENU.iter().find(|(known, _)| *known == path).map(|(_, title)| *title);
            (title == Some(self.title.as_str())).then_some("page")
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=r#"{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false,"historyEnabled":false,"selfRequestsOnly":true}"#;
                    title { (self.title) " · banger" }
                    @if !self.bare { link rel="icon" href=(assets::path("icon.svg")); }
                    @if !self.bare { link rel="stylesheet" href=(assets::path("style.css")); }
                    @if self.scripts.contains(&"xterm.js") {
                        link rel="stylesheet" href=(assets::path("xterm.css"));
                    }
                    @if self.live.is_some() || self.menu {
                        script src=(assets::path("htmx.js")) defer {}
                        script src=(assets::path("htmx-sse.js")) defer {}
                        script src=(assets::path("console.js")) defer {}
                    }
                    @for script in self.scripts {
                        script src=(assets::path(script)) defer {}
                    }
                    @if self.polls {
                        noscript { meta http-equiv="refresh" content="2"; }
                    }
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        span.brand { "banger" }
                        @if self.menu {
                            nav aria-label="Main" {
                                @for (path, title) in MENU {
                                    a href=(path) aria-current=[here(path)] { (title) }
                                }
                            }
                            a.out href="/logout" { "Log out" }
                        }
                    }
                    main id="main" hx-ext=[self.live.as_ref().map(|_| "sse")]
                        sse-connect=[self.live.as_ref()] sse-close=[self.live.as_ref().map(|_| "end")] {
                        @if self.live.is_some() {
                            p #stale .alert.warning role="status" sse-swap="stale" hidden {
                                "What you see may be old: the daemon does not answer, or you are "
                                "logged out. Load the page again."
                            }
                        }
                        (self.body)
                    }
                }
            }
        }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let (status, html) = (self.status, self.render());
        (status, Html(html)).into_response()
    }
}

/// A piece of HTML as a reply.
pub struct Html(pub Markup);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], self.0.into_string()).into_response()
    }
}

/// An [`ApiError`] as a page.
pub struct Problem(pub ApiError);

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// The status of an error.
pub fn status_of(error: &ApiError) -> StatusCode {
    match error.kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What went wrong, and what to do.
pub fn alert(error: &ApiError) -> Markup {
    html! {
        div.alert role="alert" {
            p { (plain(&error.message)) }
            @if let Some(remedy) = &error.remedy { p.remedy { "What to do: " (plain(remedy)) } }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = match self.0.kind {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Internal => "Something failed",
            _ => "Not possible",
        };
        let body = html! {
            h1 { (title) }
            (alert(&self.0))
            p { a href="/" { "To the dashboard" } }
        };
        Page::new(title, body).status(status_of(&self.0)).into_response()
    }
}

/// A form that is sent to `action`, with its token.
pub fn form(session: &Session, action: &str, content: &Markup) -> Markup {
    html! {
        form method="post" action=(action) {
            (token(session, action))
            (content)
        }
    }
}

/// The token of a form that is sent to `action`.
pub fn token(session: &Session, action: &str) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.token(action)); }
}

/// A piece of a page that is replaced when it changes. Its name is its id.
pub fn slot(name: &str, content: &Markup) -> Markup {
    html! { div id=(name) sse-swap=(name) { (content) } }
}

/// To another page, after something was done.
pub fn see(path: impl AsRef<str>) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path.as_ref())]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_what_goes_on_with_and_without_scripts() {
        let page = Page::new("VMs", html! { "…" }).live("/live/vms");
        let shown =
            page.render().0.replace(crate::serve::api::BUILD, "BUILD").replace("><", ">\n<");
        insta::assert_snapshot!(shown, @r##"
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="htmx-config" content="{&quot;allowEval&quot;:false,&quot;allowScriptTags&quot;:false,&quot;includeIndicatorStyles&quot;:false,&quot;historyEnabled&quot;:false,&quot;selfRequestsOnly&quot;:true}">
        <title>VMs · banger</title>
        <link rel="icon" href="/assets/BUILD/icon.svg">
        <link rel="stylesheet" href="/assets/BUILD/style.css">
        <script src="/assets/BUILD/htmx.js" defer>
        </script>
        <script src="/assets/BUILD/htmx-sse.js" defer>
        </script>
        <script src="/assets/BUILD/console.js" defer>
        </script>
        </head>
        <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header>
        <span class="brand">banger</span>
        <nav aria-label="Main">
        <a href="/">Dashboard</a>
        <a href="/vms" aria-current="page">VMs</a>
        <a href="/images">Images</a>
        <a href="/operations">Operations</a>
        </nav>
        <a class="out" href="/logout">Log out</a>
        </header>
        <main id="main" hx-ext="sse" sse-connect="/live/vms" sse-close="end">
        <p class="alert warning" id="stale" role="status" sse-swap="stale" hidden>What you see may be old: the daemon does not answer, or you are logged out. Load the page again.</p>…</main>
        </body>
        </html>
        "##);
        let polls = Page::new("Build", html! {}).polls(true).render().0;
        let again = r#"<noscript><meta http-equiv="refresh" content="2"></noscript>"#;
        assert!(polls.contains(again) && !shown.contains("noscript"), "{polls}");
    }
}
