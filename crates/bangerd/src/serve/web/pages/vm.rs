//! One VM: what it is, what it takes, and what can be done with it.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use banger_core::agent::Port;
use banger_core::api::{ApiError, ChangeVm};
use banger_core::vm::{OPENCODE_PORT, SSH_PORT, Vm, VmSpec, VmState, WaitFor};
use maud::{Markup, html};

use crate::engine::task::Wish;
use crate::serve::api::whole;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, Problem, alert, form, see, status_of};
use crate::serve::web::session::Session;
use crate::serve::web::show::{plain, vm as shown};
use crate::serve::web::view::{Subject, View};

pub fn routes() -> Router<Console> {
    let act =
        |wish: Wish| post(move |console, path, fields| begin(console, path, fields, wish.clone()));
    Router::new()
        .route("/vms/{key}", get(show))
        .route("/vms/{key}/start", act(Wish::Start(WaitFor::Ready)))
        .route("/vms/{key}/restart", act(Wish::Restart(WaitFor::Ready)))
        .route("/vms/{key}/stop", act(Wish::Stop))
        .route("/vms/{key}/kill", act(Wish::Kill))
        .route("/vms/{key}/delete", get(ask).post(delete))
        .route("/vms/{key}/rename", post(rename))
        .route("/vms/{key}/resize", post(resize))
        .route("/vms/{key}/ports/{port}", get(open))
}

async fn show(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
) -> Result<Page, Problem> {
    page(&console, &session, key, None).await
}

/// The page; with what was filled into one of its forms, and what is wrong with that.
async fn page(
    console: &Console,
    session: &Session,
    key: String,
    wrong: Option<(&Fields, &ApiError)>,
) -> Result<Page, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    let tick = console.engine.tick().await?;
    let mut view = View::new(console, session, Subject::Vm(key));
    let pieces = view.pieces(Some(&tick)).await?;
    let name = vm.name.as_str();
    let body = html! {
        h1 { (name) }
        @if let Some((_, error)) = wrong { (alert(error)) }
        (pieces.slot("state"))
        (pieces.slot("acts"))
        (pieces.slot("under-way"))
        h2 { "Use" }
        (pieces.slot("usage"))
        (pieces.slot("charts"))
        h2 { "Ports" }
        (pieces.slot("ports"))
        h2 { "The last start" }
        (pieces.slot("ready"))
        h2 { "What it is made of" }
        (pieces.slot("spec"))
        (changes(session, &vm, wrong.map(|(fields, _)| fields)))
    };
    let status = wrong.map_or(StatusCode::OK, |(_, error)| status_of(error));
    Ok(Page::new(name, body).live(format!("/live/vms/{}", vm.id)).status(status))
}

/// Where it stands.
pub fn state(vm: &Vm) -> Markup {
    html! {
        p role="status" {
            (shown::badge(&vm.state))
            @if let Some(cause) = shown::cause(&vm.state) { " " (cause) }
        }
    }
}

/// What can be done with it as it is.
pub fn acts(session: &Session, vm: &Vm) -> Markup {
    let (start, stop, kill) = match &vm.state {
        VmState::Stopped(_) | VmState::Failed { removing: false, .. } => (true, false, false),
        VmState::Starting | VmState::Running | VmState::Paused(_) => (false, true, true),
        VmState::Stopping => (false, false, true),
        _ => (false, false, false),
    };
    let at = |act: &str| format!("/vms/{}/{act}", vm.id);
    let button = |act: &str, word: &str, class: &str| {
        let button = html! { button id=(act) class=(class) { (word) span.hidden { " " (vm.name.as_str()) } } };
        form(session, &at(act), &button)
    };
    html! {
        div.acts {
            @if start { (button("start", "Start", "")) }
            @if stop { (button("stop", "Stop", "")) (button("restart", "Restart", "plain")) }
            @if kill { (button("kill", "Kill", "danger")) }
            @if vm.run.is_some() { a.button href=(at("terminal")) { "Terminal" } }
            a.button href=(at("log")) { "Console log" }
            @if vm.state != VmState::Deleting { a.button.danger href=(at("delete")) { "Delete…" } }
        }
    }
}

/// What listens in it. Programs there have any name that they like.
pub fn ports(vm: &Vm, ports: &[Port]) -> Markup {
    // One that listens on several addresses is one.
    let one_each: BTreeMap<u16, &Port> = ports.iter().map(|port| (port.port, port)).collect();
    html! {
        @if one_each.is_empty() { p { "Nothing listens." } }
        @else {
            ul.ports {
                @for (port, found) in one_each {
                    @let process = plain(found.process.as_deref().unwrap_or_default());
                    li {
                        @if port == SSH_PORT { (port) " " (process) }
                        @else {
                            a href=(format!("/vms/{}/ports/{port}", vm.id)) target="_blank"
                                rel="noopener" {
                                (port) " " (process)
                                @if port == OPENCODE_PORT { ", logged in" }
                                span.hidden { " (opens another page)" }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What can be changed of it, as it is or as it was filled in.
fn changes(session: &Session, vm: &Vm, filled: Option<&Fields>) -> Markup {
    let at = |act: &str| format!("/vms/{}/{act}", vm.id);
    let spec = &vm.spec;
    let overlay = spec.overlay.map(|limit| limit.exact()).unwrap_or_default();
    let mut fields = Fields::of([
        ("name", vm.name.to_string()),
        ("vcpus", spec.vcpus.to_string()),
        ("memory", spec.memory.exact()),
        ("disk", spec.disk.exact()),
        ("overlay", overlay),
    ]);
    filled.into_iter().flat_map(Fields::kept).for_each(|(name, value)| fields.set(name, value));
    let is_open = |name| filled.is_some_and(|filled| filled.ticked(name));
    let cancel = html! { a.button.plain href=(format!("/vms/{}", vm.id)) { "Cancel" } };
    let rename = html! {
        label for="name" { "Name" }
        input id="name" name="name" required maxlength="40" value=(fields.shown("name"))
            autocomplete="off";
        button { "Rename" } " " (cancel)
    };
    let resize = html! {
        p.note {
            "vCPUs, memory and the work disk can be changed while it is stopped; a work disk only \
             grows. What may be taken by the root overlay can be raised at any time."
        }
        div.fields {
            div { label for="vcpus" { "vCPUs" }
                input id="vcpus" name="vcpus" inputmode="numeric" value=(fields.shown("vcpus")); }
            div { label for="memory" { "Memory" }
                input id="memory" name="memory" value=(fields.shown("memory")); }
            div { label for="disk" { "Work disk" }
                input id="disk" name="disk" value=(fields.shown("disk")); }
            div { label for="overlay" { "Limit of the root overlay" }
                input id="overlay" name="overlay" value=(fields.shown("overlay")) placeholder="none"; }
        }
        button { "Resize" } " " (cancel)
    };
    html! {
        details open[is_open("name")] { summary { "Rename" } (form(session, &at("rename"), &rename)) }
        details open[is_open("vcpus")] { summary { "Resize" } (form(session, &at("resize"), &resize)) }
    }
}

/// Begins what was wished for, and goes back to the VM, which shows it.
async fn begin(
    State(console): State<Console>,
    Path(key): Path<String>,
    _: Fields,
    wish: Wish,
) -> Result<Response, Problem> {
    let engine = console.engine.clone();
    let begun = whole(async move {
        let vm = engine.vm(&key).await?.vm;
        engine.request(&vm.id, wish).await?;
        Ok::<_, ApiError>(vm)
    });
    Ok(see(format!("/vms/{}", begun.await?.name)))
}

async fn ask(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
) -> Result<Page, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    let name = vm.name.as_str();
    let button = html! {
        button.danger { "Delete " (name) }
        " " a.button href=(format!("/vms/{name}")) { "Keep it" }
    };
    let body = html! {
        h1 { "Delete " (name) "?" }
        p { "It goes with all that is on its work disk. That cannot be undone." }
        (form(&session, &format!("/vms/{}/delete", vm.id), &button))
    };
    Ok(Page::new(format!("Delete {name}"), body))
}

async fn delete(
    State(console): State<Console>,
    Path(key): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let engine = console.engine.clone();
    let begun = whole(async move {
        let vm = engine.vm(&key).await?.vm;
        engine.request(&vm.id, Wish::Delete).await
    });
    Ok(see(format!("/operations/{}", begun.await?)))
}

async fn rename(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let name = value(&fields, "name", "Name", true);
    let change = name.map(|name| ChangeVm { name, ..ChangeVm::default() });
    change_to(&console, &session, key, &fields, change).await
}

async fn resize(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let change = resized(&fields, &console.engine.vm(&key).await?.vm.spec);
    change_to(&console, &session, key, &fields, change).await
}

/// What is as it was is not asked for: some of it can only be changed while it is stopped.
fn resized(fields: &Fields, now: &VmSpec) -> Result<ChangeVm, ApiError> {
    let overlay = value(fields, "overlay", "Limit of the root overlay", now.overlay.is_some())?;
    Ok(ChangeVm {
        name: None,
        vcpus: value(fields, "vcpus", "vCPUs", true)?.filter(|new| *new != now.vcpus),
        memory: value(fields, "memory", "Memory", true)?.filter(|new| *new != now.memory),
        disk: value(fields, "disk", "Work disk", true)?.filter(|new| *new != now.disk),
        overlay: overlay.filter(|new| Some(*new) != now.overlay),
    })
}

/// A value of a field, which must not be blank where it `was` not.
fn value<T: FromStr<Err: std::fmt::Display>>(
    fields: &Fields,
    name: &str,
    label: &str,
    was: bool,
) -> Result<Option<T>, ApiError> {
    if was {
        fields.needed(name, label)?;
    }
    fields.value(name, label)
}

/// Changes it, or shows the form again with what is wrong.
async fn change_to(
    console: &Console,
    session: &Session,
    key: String,
    fields: &Fields,
    change: Result<ChangeVm, ApiError>,
) -> Result<Response, Problem> {
    let (engine, vm) = (console.engine.clone(), console.engine.vm(&key).await?.vm);
    let changed = whole(async move {
        match change? {
            change if change == ChangeVm::default() => Ok(vm),
            change => engine.change(&vm.id, change).await,
        }
    });
    match changed.await {
        Ok(vm) => Ok(see(format!("/vms/{}", vm.name))),
        Err(error) => {
            let page = page(console, session, key, Some((fields, &error))).await?;
            Ok(page.into_response())
        }
    }
}

/// Leads to a port of the guest, with a ticket for it.
async fn open(
    State(console): State<Console>,
    session: Session,
    Path((key, port)): Path<(String, u16)>,
) -> Result<Response, Problem> {
    let vm = console.engine.vm(&key).await?.vm;
    Ok(see(console.ticket_to(&session, &vm, port)?))
}
