//! A VM's serial console, as its guest wrote it.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use banger_core::console::Filter;
use banger_core::dirs::vm_files;
use banger_core::vm::Vm;
use maud::{Markup, html};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::serve::console;
use crate::serve::web::Console;
use crate::serve::web::layout::{Page, Problem};
use crate::serve::web::live::{OVER, sse};
use crate::serve::web::show::plain;

/// How many lines a page begins with.
const LINES: u64 = 500;

pub fn routes() -> Router<Console> {
    Router::new().route("/vms/{key}/log", get(show)).route("/vms/{key}/log/download", get(download))
}

async fn show(State(console): State<Console>, Path(key): Path<String>) -> Result<Page, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    let mut feed = feed(&console, &vm, LINES, false);
    let mut text = Text::default();
    let mut shown = String::new();
    while let Some(Ok(bytes)) = feed.recv().await {
        shown.push_str(&text.push(&bytes));
    }
    let name = vm.name.as_str();
    let at = format!("/vms/{name}");
    let body = html! {
        p { a href=(at) { "‹ " (name) } }
        h1 { "Console log of " (name) }
        div.acts {
            a.button href=(format!("{at}/log/download")) { "Download all of it" }
            noscript { a.button href=(format!("{at}/log")) { "Look again" } }
        }
        pre.log.tail #log tabindex="0" sse-swap="tail" { (tail(&shown)) }
    };
    Ok(Page::new(format!("Console log of {name}"), body).live(format!("/live/vms/{}/log", vm.id)))
}

/// What was there, and the place of what comes.
fn tail(text: &str) -> Markup {
    html! {
        @if text.is_empty() { span.note { "It has written nothing yet." } }
        (text)
        span sse-swap="more" hx-swap="beforeend" {}
    }
}

/// What is added, as it is. One that connects anew begins anew.
pub async fn follow(
    State(console): State<Console>,
    Path(key): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    let mut feed = feed(&console, &vm, LINES, true);
    let (sender, receiver) = mpsc::channel::<Result<Event, Infallible>>(4);
    tokio::spawn(async move {
        let (mut text, mut name) = (Text::default(), "tail");
        let mut sent = sender.send(Ok(event(name, tail("")))).await;
        loop {
            let next = tokio::select! {
                next = feed.recv() => next,
                () = sender.closed() => return,
            };
            let Some(Ok(bytes)) = next else { break };
            let added = text.push(&bytes);
            let shown = if name == "tail" {
                tail(&added)
            } else {
                html! { (added) }
            };
            sent = sender.send(Ok(event(name, shown))).await;
            name = "more";
            if sent.is_err() {
                return;
            }
        }
        if sent.is_ok() {
            // The VM is gone. Without an end it would be asked for again and again.
            let _ = sender.send(Ok(event("end", html! { (OVER) }))).await;
        }
    });
    Ok(sse(receiver))
}

fn event(name: &str, html: Markup) -> Event {
    Event::default().event(name).data(html.into_string().replace('\r', ""))
}

/// All of it, byte by byte.
async fn download(
    State(console): State<Console>,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    let feed = feed(&console, &vm, u64::MAX, false);
    let name = format!("attachment; filename=\"{}.log\"", vm.name);
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(feed))).into_response())
}

fn feed(
    console: &Console,
    vm: &Vm,
    lines: u64,
    follow: bool,
) -> mpsc::Receiver<std::io::Result<axum::body::Bytes>> {
    let path = vm_files::console(&console.engine.dirs.vm(vm.id.as_str()));
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = console::feed(&path, lines, follow, &sender).await {
            // The reader sees that the stream breaks; it has no other end than that.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// Bytes of a console as text: what a terminal would obey is left out, colours too. What is cut
/// anywhere comes out whole.
#[derive(Default)]
struct Text {
    filter: Filter,
    in_colour: bool,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        // The filter lets no other escape through than that of a colour, which ends with an m.
        for c in self.filter.push(bytes).chars() {
            match c {
                '\x1b' => self.in_colour = true,
                'm' if self.in_colour => self.in_colour = false,
                _ if self.in_colour => {}
                c => out.push(c),
            }
        }
        plain(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_wherever_they_are_cut() {
        let whole = b"\x1b[1;32m<ok>\x1b[0m done\x1b]0;title\x07\r\nnext \x1b[2Jm";
        let mut text = Text::default();
        let at_once = Text::default().push(whole);
        let pieces: String = whole.iter().map(|byte| text.push(&[*byte])).collect();
        assert_eq!(at_once, pieces);
        insta::assert_snapshot!(at_once, @"
        <ok> done
        next m
        ");
        assert_eq!(tail("<b>").into_string().matches("&lt;b&gt;").count(), 1);
    }
}
