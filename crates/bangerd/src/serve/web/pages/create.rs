//! The form that makes a VM, with what it would leave of this host.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use banger_core::api::{ApiError, CreateVm, ErrorKind};
use banger_core::dashboard::{HostUse, Pressure, Pressures};
use banger_core::size::Size;
use banger_core::vm::{Limits, WaitFor};
use maud::{Markup, html};

use crate::serve::api::whole;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Html, Page, Problem, alert, see, status_of, token};
use crate::serve::web::session::Session;
use crate::serve::web::show::host;

const PATH: &str = "/new/vm";

pub fn routes() -> Router<Console> {
    Router::new().route(PATH, get(show).post(create)).route("/new/vm/preview", get(preview))
}

async fn show(
    State(console): State<Console>,
    session: Session,
    RawQuery(query): RawQuery,
) -> Result<Page, Problem> {
    let config = &console.engine.config;
    let mut fields = Fields::of([
        ("image", config.image.clone()),
        ("vcpus", config.vcpus.to_string()),
        ("memory", config.memory.exact()),
        ("disk", config.disk.exact()),
        ("start", "ready".to_owned()),
    ]);
    if config.opencode {
        fields.set("opencode", "on");
    }
    if let Some(image) = Fields::parse(query.unwrap_or_default().as_bytes()).text("image") {
        fields.set("image", image);
    }
    page(&console, &session, &fields, None).await
}

/// The form as it is filled in, and what is wrong with it.
async fn page(
    console: &Console,
    session: &Session,
    fields: &Fields,
    wrong: Option<&ApiError>,
) -> Result<Page, Problem> {
    let images = console.engine.images().await?;
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    let wanted = fields.shown("image");
    let body = html! {
        h1 { "Create a VM" }
        @if let Some(wrong) = wrong { (alert(wrong)) }
        @if images.is_empty() {
            p { "There is no image yet that a VM could be made from. "
                a href="/new/image" { "Make one first" } "." }
        } @else {
            form #create method="post" action=(PATH) {
                (token(session, PATH))
                div.fields {
                    div {
                        label for="name" { "Name" }
                        input id="name" name="name" maxlength="40" autocomplete="off"
                            placeholder="made up" value=(fields.shown("name"));
                    }
                    div {
                        label for="image" { "Image" }
                        select id="image" name="image" {
                            @if !names.contains(&wanted) {
                                option value="" disabled selected { "choose one" }
                            }
                            @for name in &names {
                                option value=(name) selected[*name == wanted] { (name) }
                            }
                        }
                    }
                    (input(fields, "vcpus", "vCPUs", ""))
                    (input(fields, "memory", "Memory", "such as 2G"))
                    (input(fields, "disk", "Work disk", "such as 16G"))
                    (choice(fields, "start", "Start it", &[
                        ("ready", "until opencode answers"), ("ssh", "until SSH answers"),
                        ("agent", "until the agent answers"), ("", "not now"),
                    ]))
                }
                p {
                    input id="opencode" type="checkbox" name="opencode"
                        checked[fields.ticked("opencode")];
                    " " label.inline for="opencode" { "opencode server, if the image has it" }
                }
                details open[wrong.is_some()] {
                    summary { "More" }
                    div.fields {
                        (choice(fields, "vmm", "VMM", &[
                            ("", "as configured"), ("qemu", "QEMU"), ("firecracker", "Firecracker"),
                        ]))
                        (choice(fields, "network", "Network", &[
                            ("", "the one that fits"), ("user", "user: outbound only"),
                            ("nat", "nat: with an address"), ("none", "none"),
                        ]))
                        (choice(fields, "root_disk", "Root disk", &[
                            ("", "the one that is instant"), ("qcow2", "qcow2"),
                            ("clone", "clone"), ("dm-snapshot", "dm-snapshot"),
                        ]))
                        (input(fields, "overlay", "Limit of the root overlay", "none"))
                        (input(fields, "disk_bandwidth", "Disk, bytes a second", "no limit"))
                        (input(fields, "disk_ops", "Disk, operations a second", "no limit"))
                        (input(fields, "net_bandwidth", "Network, bytes a second", "no limit"))
                        (input(fields, "net_ops", "Network, packets a second", "no limit"))
                    }
                }
                h2 { "This host with it" }
                div #preview hx-get="/new/vm/preview" hx-include="#vcpus, #memory"
                    hx-trigger="input delay:300ms from:#vcpus, input delay:300ms from:#memory" {
                    (preview_of(console, fields).await)
                }
                p.acts {
                    button name="do" value="create" { "Create" }
                    noscript { button.plain name="do" value="preview" { "Look at the host first" } }
                    a.button.plain href="/vms" { "Cancel" }
                }
            }
        }
    };
    Ok(Page::new("Create a VM", body))
}

fn input(fields: &Fields, name: &str, label: &str, hint: &str) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(fields.shown(name)) placeholder=(hint)
                autocomplete="off";
        }
    }
}

fn choice(fields: &Fields, name: &str, label: &str, all: &[(&str, &str)]) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                @for (value, word) in all {
                    option value=(value) selected[*value == fields.shown(name)] { (word) }
                }
            }
        }
    }
}

async fn preview(State(console): State<Console>, RawQuery(query): RawQuery) -> Html {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    Html(preview_of(&console, &fields).await)
}

/// What the host would look like if it ran, or what is wrong with what is asked for.
async fn preview_of(console: &Console, fields: &Fields) -> Markup {
    let with = async {
        let config = &console.engine.config;
        let vcpus = fields.value("vcpus", "vCPUs")?.unwrap_or(config.vcpus);
        let memory = fields.value("memory", "Memory")?.unwrap_or(config.memory);
        let host = console.engine.tick().await?.host;
        Ok::<_, ApiError>(with_another(host, vcpus, memory))
    };
    match with.await {
        Ok(host) => host::cards(&host),
        Err(error) => alert(&error),
    }
}

fn with_another(host: HostUse, vcpus: u32, memory: Size) -> HostUse {
    let vcpus = host.vcpus.saturating_add(u64::from(vcpus));
    let memory = Size::bytes(host.memory.as_bytes().saturating_add(memory.as_bytes()));
    let pressure = Pressures {
        cpu: Pressure::of_turns(vcpus, host.capacity.cpus),
        memory: Pressure::of_room(memory, host.capacity.memory),
        disk: host.pressure.disk,
    };
    HostUse { vcpus, memory, pressure, vms: host.vms + 1, running: host.running + 1, ..host }
}

async fn create(
    State(console): State<Console>,
    session: Session,
    fields: Fields,
) -> Result<Response, Problem> {
    if fields.text("do") == Some("preview") {
        return Ok(page(&console, &session, &fields, None).await?.into_response());
    }
    let engine = console.engine.clone();
    let begun = match request(&fields) {
        Ok(request) => whole(async move { engine.create(request).await }).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(operation) => Ok(see(format!("/operations/{operation}"))),
        Err(error) => {
            let page = page(&console, &session, &fields, Some(&error)).await?;
            Ok(page.status(status_of(&error)).into_response())
        }
    }
}

fn request(fields: &Fields) -> Result<CreateVm, ApiError> {
    let start: Option<WaitFor> = fields.choice("start", "Start it")?;
    let image = fields.text("image").map(str::to_owned);
    if image.is_none() {
        return Err(ApiError::new(ErrorKind::Invalid, "Image is missing"));
    }
    Ok(CreateVm {
        name: fields.value("name", "Name")?,
        image,
        vcpus: fields.value("vcpus", "vCPUs")?,
        memory: fields.value("memory", "Memory")?,
        disk: fields.value("disk", "Work disk")?,
        network: fields.choice("network", "Network")?,
        vmm: fields.choice("vmm", "VMM")?,
        root_disk: fields.choice("root_disk", "Root disk")?,
        overlay: fields.value("overlay", "Limit of the root overlay")?,
        limits: Limits {
            disk_bandwidth: fields.value("disk_bandwidth", "Disk, bytes a second")?,
            disk_ops: fields.value("disk_ops", "Disk, operations a second")?,
            net_bandwidth: fields.value("net_bandwidth", "Network, bytes a second")?,
            net_ops: fields.value("net_ops", "Network, packets a second")?,
        },
        // Ticked means if there can be one: to ask for it outright is refused without.
        opencode: (!fields.ticked("opencode")).then_some(false),
        start,
    })
}
