//! Images: the list, and one of them.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use banger_core::api::{ApiError, ErrorKind, ImageInfo};
use banger_core::id::ImageId;
use banger_core::image::{Image, Source};
use maud::{Markup, html};

use crate::clock::now;
use crate::serve::api::whole;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, Problem, form, see};
use crate::serve::web::session::Session;
use crate::serve::web::show::{bytes, facts, plain, since};
use crate::serve::web::view::{Subject, View};

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/images", get(list))
        .route("/images/{key}", get(show))
        .route("/images/{key}/packages", get(packages))
        .route("/images/{key}/promote", post(promote))
        .route("/images/{key}/delete", get(ask).post(delete))
}

async fn list(State(console): State<Console>, session: Session) -> Result<Page, Problem> {
    let pieces = View::new(&console, &session, Subject::Images).pieces(None).await?;
    let body = html! {
        div.head { h1 { "Images" } a.button href="/new/image" { "Make an image" } }
        (pieces.slot("images"))
    };
    Ok(Page::new("Images", body).live("/live/images"))
}

/// A row an image, with how many VMs use it.
pub fn table(images: &[Image], uses: &HashMap<ImageId, usize>) -> Markup {
    html! {
        @if images.is_empty() {
            p { "There is no image yet. " a href="/new/image" { "Make one" } "." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="Images" {
                table {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Of" } th scope="col" { "Size" }
                        th scope="col" { "opencode" } th scope="col" { "VMs" }
                    } }
                    tbody {
                        @for image in images {
                            tr {
                                td { a href=(format!("/images/{}", image.name)) { (image.name.as_str()) } }
                                td { (source(image)) }
                                td { (image.rootfs_size) }
                                td { (image.opencode.as_deref().unwrap_or("–")) }
                                td { (uses.get(&image.id).copied().unwrap_or(0)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What it was made of.
fn source(image: &Image) -> String {
    let parent = || image.parent.as_ref().map_or("another image", |parent| parent.name.as_str());
    match &image.source {
        Source::Debian { suite } => format!("Debian {suite}"),
        Source::Alpine { release } => format!("Alpine {release}"),
        Source::Void { release } => format!("Void {release}"),
        Source::Registered => "files of yours".to_owned(),
        Source::Image => format!("the image {}", parent()),
        Source::Vm { vm } => format!("the VM {vm}"),
        Source::Oci { reference, .. } => format!("the container {}", plain(reference)),
    }
}

async fn show(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
) -> Result<Page, Problem> {
    let image = console.engine.image(&key).await?;
    let info = console.engine.image_info(image, false).await?;
    let name = info.image.name.as_str();
    let at = |act: &str| format!("/images/{}/{act}", info.image.id);
    let promote = html! { button { "Promote" span.hidden { " " (name) } } };
    let body = html! {
        h1 { (name) }
        @if let Some(damage) = &info.damage {
            div.alert role="alert" { p { "It is damaged: " (damage) } }
        }
        div.acts {
            a.button href=(format!("/new/vm?image={name}")) { "Create a VM of it" }
            @if info.image.in_place.is_some() { (form(&session, &at("promote"), &promote)) }
            a.button.danger href=(at("delete")) { "Delete…" }
        }
        @if info.image.in_place.is_some() {
            p.note { "Its files stay where they lie, and must not change. To promote it copies them \
                      into banger's store." }
        }
        (about(&info))
        h2 { "Boot set" }
        (boot_set(&info.image))
        h2 { "Files" }
        (parts(&info.image))
        h2 { "VMs of it" }
        @if info.used_by.is_empty() { p { "None." } }
        @else {
            ul { @for vm in &info.used_by { li { a href=(format!("/vms/{vm}")) { (vm) } } } }
        }
        p { a href=(at("packages")) { "The packages in it" } }
    };
    Ok(Page::new(name, body))
}

fn about(info: &ImageInfo) -> Markup {
    let image = &info.image;
    facts([
        ("Id", html! { code { (image.id.as_str()) } }),
        ("Made of", html! { (source(image)) }),
        (
            "Began as",
            html! {
                @match &image.parent {
                    Some(parent) => a href=(format!("/images/{}", parent.id)) { (parent.name.as_str()) },
                    None => "–",
                }
            },
        ),
        ("Made", html! { (since(image.created_at, now())) " ago" }),
        ("Root file system", html! { (image.rootfs_size) }),
        (
            "Takes",
            html! { (bytes(info.real_bytes)) " of the disk, for files of "
            (bytes(info.apparent_bytes)) },
        ),
        ("Started by", html! { (image.init.name()) }),
        ("opencode", html! { (image.opencode.as_deref().unwrap_or("–")) }),
    ])
}

fn boot_set(image: &Image) -> Markup {
    let set = &image.boot_set;
    facts([
        ("Kernel", html! { (plain(&set.kernel_release)) }),
        ("Arguments", html! { code { (plain(&set.boot_args)) } }),
        (
            "Agent",
            html! {
                (set.agent_version.as_deref().unwrap_or("none: its initramfs is not banger's"))
            },
        ),
    ])
}

fn parts(image: &Image) -> Markup {
    html! {
        @if image.parts.is_empty() { p { "Nothing was written down about them." } }
        @else {
            div.wide tabindex="0" role="region" aria-label="Files" {
                table {
                    thead { tr { th scope="col" { "File" } th scope="col" { "Length" } th scope="col" { "Digest" } } }
                    tbody {
                        @for part in &image.parts {
                            tr {
                                td { (part.name) }
                                td { (bytes(part.bytes)) }
                                td { code { (part.digest) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

async fn packages(
    State(console): State<Console>,
    Path(key): Path<String>,
) -> Result<Page, Problem> {
    let image = console.engine.image(&key).await?;
    let name = image.name.as_str();
    let list = console.engine.image_packages(&image).await?;
    let body = html! {
        p { a href=(format!("/images/{name}")) { "‹ " (name) } }
        h1 { "Packages in " (name) }
        div.wide tabindex="0" role="region" aria-label="Packages" {
            table {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Version" }
                    th scope="col" { "For" }
                } }
                tbody {
                    @for package in &list {
                        tr {
                            td { (plain(&package.name)) }
                            td { (plain(&package.version)) }
                            td { (plain(&package.architecture)) }
                        }
                    }
                }
            }
        }
    };
    Ok(Page::new(format!("Packages in {name}"), body))
}

async fn promote(
    State(console): State<Console>,
    Path(key): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let engine = console.engine.clone();
    let begun = whole(async move {
        let image = engine.image(&key).await?;
        engine.promote_image(image).await
    });
    Ok(see(format!("/operations/{}", begun.await?)))
}

async fn ask(
    State(console): State<Console>,
    session: Session,
    Path(key): Path<String>,
) -> Result<Page, Problem> {
    let image = console.engine.image(&key).await?;
    let in_place = image.in_place.is_some();
    let info = console.engine.image_info(image, false).await?;
    let name = info.image.name.as_str();
    if !info.used_by.is_empty() {
        let message = format!("the image is used by {}", info.used_by.join(", "));
        let error = ApiError::new(ErrorKind::Conflict, message);
        return Err(Problem(error.remedy("delete those VMs first")));
    }
    let button = html! {
        button.danger { "Delete " (name) }
        " " a.button href=(format!("/images/{name}")) { "Keep it" }
    };
    let body = html! {
        h1 { "Delete the image " (name) "?" }
        p {
            @if in_place { "banger forgets it; your files stay." }
            @else { "Its files go for good. No VM uses it." }
        }
        (form(&session, &format!("/images/{}/delete", info.image.id), &button))
    };
    Ok(Page::new(format!("Delete {name}"), body))
}

async fn delete(
    State(console): State<Console>,
    Path(key): Path<String>,
    _: Fields,
) -> Result<Response, Problem> {
    let engine = console.engine.clone();
    let deleted = whole(async move {
        let image = engine.image(&key).await?;
        engine.delete_image(&image.id).await
    });
    deleted.await?;
    Ok(see("/images"))
}
