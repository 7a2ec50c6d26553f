//! One VM: what it is, what it takes, and what can be done with it.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use banger_core::agent::Port;
use banger_core::api::{ApiError, ChangeVm};
use banger_core::vm::{OPENCODE_PORT, SSH_PORT, Vm, VmState, WaitFor};
use maud::{Markup, html};

use crate::engine::task::Wish;
use crate::serve::api::whole;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, Problem, form, see};
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
    let vm = console.engine.vm(&key).await?.vm;
    let tick = console.engine.tick().await?;
    let mut view = View::new(&console, &session, Subject::Vm(key));
    let pieces = view.pieces(Some(&tick)).await?;
    let name = vm.name.as_str();
    let body = html! {
        h1 { (name) }
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
        (changes(&session, &vm))
    };
    Ok(Page::new(name, body).live(format!("/live/vms/{}", vm.id)))
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

/// What can be changed of it.
fn changes(session: &Session, vm: &Vm) -> Markup {
    let at = |act: &str| format!("/vms/{}/{act}", vm.id);
    let spec = &vm.spec;
    let rename = html! {
        label for="name" { "Name" }
        input id="name" name="name" required maxlength="40" value=(vm.name.as_str())
            autocomplete="off";
        button { "Rename" }
    };
    let overlay = spec.overlay.map(|limit| limit.exact()).unwrap_or_default();
    let resize = html! {
        p.note {
            "vCPUs, memory and the work disk can be changed while it is stopped; a work disk only \
             grows. What may be taken by the root overlay can be raised at any time."
        }
        div.fields {
            div { label for="vcpus" { "vCPUs" }
                input id="vcpus" name="vcpus" inputmode="numeric" value=(spec.vcpus); }
            div { label for="memory" { "Memory" }
                input id="memory" name="memory" value=(spec.memory.exact()); }
            div { label for="disk" { "Work disk" }
                input id="disk" name="disk" value=(spec.disk.exact()); }
            div { label for="overlay" { "Limit of the root overlay" }
                input id="overlay" name="overlay" value=(overlay) placeholder="none"; }
        }
        button { "Resize" }
    };
    html! {
        details { summary { "Rename" } (form(session, &at("rename"), &rename)) }
        details { summary { "Resize" } (form(session, &at("resize"), &resize)) }
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
    Path(key): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let change = ChangeVm { name: fields.value("name", "Name")?, ..ChangeVm::default() };
    change_to(&console, key, change).await
}

async fn resize(
    State(console): State<Console>,
    Path(key): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let now = console.engine.vm(&key).await?.vm.spec;
    // What is as it was is not asked for: some of it can only be changed while it is stopped.
    let change = ChangeVm {
        name: None,
        vcpus: fields.value("vcpus", "vCPUs")?.filter(|new| *new != now.vcpus),
        memory: fields.value("memory", "Memory")?.filter(|new| *new != now.memory),
        disk: fields.value("disk", "Work disk")?.filter(|new| *new != now.disk),
        overlay: fields.value("overlay", "Root overlay")?.filter(|new| Some(*new) != now.overlay),
    };
    change_to(&console, key, change).await
}

async fn change_to(console: &Console, key: String, change: ChangeVm) -> Result<Response, Problem> {
    let engine = console.engine.clone();
    let changed = whole(async move {
        let vm = engine.vm(&key).await?.vm;
        if change == ChangeVm::default() {
            return Ok(vm);
        }
        engine.change(&vm.id, change).await
    });
    Ok(see(format!("/vms/{}", changed.await?.name)))
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
