//! Forms that make images.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use banger_core::api::{
    ApiError, BuildDebian, BuildFrom, BuildSigned, CopyIn, CopyVm, ErrorKind, ImportImage,
    MakeImage, PullImage, RegisterImage,
};
use banger_core::size::Size;
use maud::{Markup, html};

use crate::serve::api::whole;
use crate::serve::web::Console;
use crate::serve::web::fields::Fields;
use crate::serve::web::layout::{Page, Problem, alert, see, status_of, token};
use crate::serve::web::pages::picker;
use crate::serve::web::session::Session;

/// What images can be made of: the end of the form's path, its title, and what it is good for.
const KINDS: [(&str, &str, &str); 8] = [
    ("debian", "Debian packages", "The usual way: a root of Debian's packages, with opencode."),
    ("alpine", "Alpine packages", "A small root, with OpenRC and musl."),
    ("void", "Void packages", "A release of Void Linux, brought up to date, with runit."),
    ("image", "Another image", "One that you have, with packages, files and scripts of yours."),
    ("vm", "A VM", "The root of a stopped VM, as you have set it up."),
    ("registry", "A container of a registry", "What 'docker pull' would get."),
    ("archive", "A container in a file", "What 'docker save' wrote, or a layout of the OCI."),
    ("files", "Files of yours", "A root file system and a kernel, which stay where they lie."),
];

pub fn routes() -> Router<Console> {
    Router::new().route("/new/image", get(choose)).route("/new/image/{kind}", get(show).post(make))
}

async fn choose() -> Page {
    let body = html! {
        h1 { "Make an image" }
        ul.choices {
            @for (kind, title, what) in KINDS {
                li { a href=(format!("/new/image/{kind}")) { (title) } p.note { (what) } }
            }
        }
    };
    Page::new("Make an image", body)
}

async fn show(
    State(console): State<Console>,
    session: Session,
    Path(kind): Path<String>,
) -> Result<Page, Problem> {
    let mut fields = Fields::of([("size", "4G".to_owned()), ("suite", "bookworm".to_owned())]);
    if kind != "debian" {
        fields.set("size", "");
    }
    let default = match kind.as_str() {
        "debian" | "alpine" | "void" => kind.as_str(),
        _ => "",
    };
    fields.set("name", default);
    fields.set("opencode", "on");
    page(&console, &session, &kind, &fields, None).await
}

async fn page(
    console: &Console,
    session: &Session,
    kind: &str,
    fields: &Fields,
    wrong: Option<&ApiError>,
) -> Result<Page, Problem> {
    let Some((_, title, what)) = KINDS.iter().find(|(known, ..)| *known == kind) else {
        let message = format!("there are no images of '{kind}'");
        return Err(Problem(ApiError::new(ErrorKind::NotFound, message)));
    };
    let path = format!("/new/image/{kind}");
    let body = html! {
        p { a href="/new/image" { "‹ Make an image" } }
        h1 { "Image of: " (title) }
        p.note { (what) }
        @if let Some(wrong) = wrong { (alert(wrong)) }
        form method="post" action=(path) {
            (token(session, &path))
            // The first button is what Enter means: not Browse.
            button.hidden name="do" value="make" tabindex="-1" aria-hidden="true" { "Make it" }
            div.fields {
                (text(fields, "name", "Name of the image", true, ""))
                (of_kind(console, kind, fields).await?)
            }
            p.acts {
                button name="do" value="make" { "Make it" }
                a.button.plain href="/images" { "Cancel" }
            }
        }
    };
    Ok(Page::new(format!("Image of: {title}"), body))
}

/// The fields that only such an image has.
async fn of_kind(console: &Console, kind: &str, fields: &Fields) -> Result<Markup, ApiError> {
    let size = |hint| text(fields, "size", "Size of its root", false, hint);
    let packages = || area(fields, "packages", "Packages", "names, apart by blanks");
    let mirror = || text(fields, "mirror", "Mirror", false, "the distribution's own");
    let opencode = || {
        html! {
            div.tick {
                input id="opencode" type="checkbox" name="opencode" checked[fields.ticked("opencode")];
                " " label.inline for="opencode" { "With the opencode server" }
            }
        }
    };
    let boot_set = async || {
        let names = console.engine.images().await?;
        let names = names.iter().map(|image| image.name.to_string()).collect::<Vec<_>>();
        Ok::<_, ApiError>(select(fields, "boot_set", "Kernel of the image", &names, true))
    };
    Ok(match kind {
        "debian" => html! {
            (text(fields, "suite", "Suite", true, "bookworm, trixie …"))
            (size("")) (mirror()) (packages()) (opencode())
        },
        "alpine" | "void" => html! {
            (text(fields, "release", "Release", false, "the one that banger knows best"))
            (size("as it needs")) (mirror())
            (path(fields, "keys", "Another public key to trust", false))
            (packages()) (opencode())
        },
        "image" => {
            let names = console.engine.images().await?;
            let names = names.iter().map(|image| image.name.to_string()).collect::<Vec<_>>();
            html! {
                (select(fields, "image", "Image to begin with", &names, false))
                (size("that of the image"))
                (packages())
                (area(fields, "copies", "Files to copy", "/path/here:/path/in/the/image, a line each"))
                (path(fields, "scripts", "Script to run in it", false))
                (path(fields, "modules", "Folder of a kernel's modules", false))
            }
        }
        "vm" => {
            let names = console.engine.vms();
            let names = names.iter().map(|vm| vm.name.to_string()).collect::<Vec<_>>();
            select(fields, "vm", "VM, which must be stopped", &names, false)
        }
        "registry" => html! {
            (text(fields, "reference", "Reference", true, "registry.example/team/dev:1"))
            (size("4G, or more if it needs more")) (boot_set().await?)
        },
        "archive" => html! {
            (path(fields, "path", "File or folder", true))
            (text(fields, "reference", "Name in there", false, "if there are several"))
            (size("4G, or more if it needs more")) (boot_set().await?)
        },
        _ => html! {
            (path(fields, "rootfs", "Root file system (ext4)", true))
            (path(fields, "kernel", "Kernel", true))
            (path(fields, "initramfs", "Initramfs, if not banger's", false))
            (path(fields, "modules", "Folder of the kernel's modules", false))
            (path(fields, "work_seed", "File system that work disks start from", false))
            (text(fields, "boot_args", "Kernel's arguments", false, "banger's"))
        },
    })
}

fn text(fields: &Fields, name: &str, label: &str, needed: bool, hint: &str) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) required[needed] autocomplete="off"
                value=(fields.shown(name)) placeholder=(hint);
        }
    }
}

fn area(fields: &Fields, name: &str, label: &str, hint: &str) -> Markup {
    html! {
        div.broad {
            label for=(name) { (label) }
            textarea id=(name) name=(name) rows="3" placeholder=(hint) { (fields.shown(name)) }
        }
    }
}

fn select(fields: &Fields, name: &str, label: &str, all: &[String], may_lack: bool) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) required[!may_lack] {
                option value="" { (if may_lack { "the default one" } else { "choose one" }) }
                @for one in all { option value=(one) selected[one == fields.shown(name)] { (one) } }
            }
        }
    }
}

/// A path of this host, with a way to look for it. What was filled in comes along.
fn path(fields: &Fields, name: &str, label: &str, needed: bool) -> Markup {
    html! {
        div.broad {
            label for=(name) { (label) @if needed { " (needed)" } }
            div.pick {
                input id=(name) name=(name) autocomplete="off" value=(fields.shown(name))
                    placeholder="/an/absolute/path";
                button.plain name="pick" value=(name) formnovalidate {
                    "Browse…" span.hidden { " for: " (label) }
                }
            }
        }
    }
}

async fn make(
    State(console): State<Console>,
    session: Session,
    Path(kind): Path<String>,
    fields: Fields,
) -> Result<Response, Problem> {
    let path = format!("/new/image/{kind}");
    if fields.text("pick").is_some() {
        return Ok(picker::page(&session, &path, &fields).await?.into_response());
    }
    if fields.text("do") != Some("make") {
        // Back from there.
        return Ok(page(&console, &session, &kind, &fields, None).await?.into_response());
    }
    let engine = console.engine.clone();
    let begun = match request(&kind, &fields) {
        Ok(request) => whole(async move { engine.make(request).await }).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(operation) => Ok(see(format!("/operations/{operation}"))),
        Err(error) => {
            let page = page(&console, &session, &kind, &fields, Some(&error)).await?;
            Ok(page.status(status_of(&error)).into_response())
        }
    }
}

fn request(kind: &str, fields: &Fields) -> Result<MakeImage, ApiError> {
    let name = fields.needed("name", "The name")?;
    let name = name.parse().map_err(|error| {
        ApiError::new(ErrorKind::Invalid, format!("Name of the image: {error}"))
    })?;
    let given = |field: &str| fields.text(field).map(str::to_owned);
    let size: Option<Size> = fields.value("size", "Size of its root")?;
    let signed = |name| BuildSigned {
        name,
        release: given("release"),
        mirror: given("mirror"),
        keys: fields.lines("keys"),
        packages: fields.words("packages"),
        size,
        opencode: Some(fields.ticked("opencode")),
        step: None,
    };
    Ok(match kind {
        "debian" => MakeImage::Debian(BuildDebian {
            name,
            suite: fields.needed("suite", "The suite")?,
            packages: fields.words("packages"),
            size: size.unwrap_or(Size::gib(4)),
            mirror: given("mirror"),
            opencode: fields.ticked("opencode"),
        }),
        "alpine" => MakeImage::Alpine(signed(name)),
        "void" => MakeImage::Void(signed(name)),
        "image" => MakeImage::Image(BuildFrom {
            image: fields.needed("image", "The image to begin with")?,
            name,
            size,
            vcpus: None,
            memory: None,
            copies: fields
                .lines("copies")
                .iter()
                .map(|line| copy(line))
                .collect::<Result<_, _>>()?,
            modules: given("modules"),
            packages: fields.words("packages"),
            scripts: fields.lines("scripts"),
        }),
        "vm" => MakeImage::Vm(CopyVm { vm: fields.needed("vm", "The VM")?, name }),
        "registry" => MakeImage::Registry(PullImage {
            reference: fields.needed("reference", "The reference")?,
            name,
            size,
            boot_set: given("boot_set"),
            docker_config: None,
        }),
        "archive" => MakeImage::Archive(ImportImage {
            path: fields.needed("path", "The file or folder")?,
            reference: given("reference"),
            name,
            size,
            boot_set: given("boot_set"),
        }),
        "files" => MakeImage::Files(RegisterImage {
            name,
            rootfs: fields.needed("rootfs", "The root file system")?,
            kernel: fields.needed("kernel", "The kernel")?,
            initramfs: given("initramfs"),
            modules: given("modules"),
            boot_args: given("boot_args"),
            work_seed: given("work_seed"),
        }),
        _ => {
            let message = format!("there are no images of '{kind}'");
            return Err(ApiError::new(ErrorKind::NotFound, message));
        }
    })
}

fn copy(line: &str) -> Result<CopyIn, ApiError> {
    let wrong = || {
        ApiError::new(ErrorKind::Invalid, format!("'{line}' does not say from where to where"))
            .remedy("write /path/here:/path/in/the/image")
    };
    let (from, to) = line.split_once(':').ok_or_else(wrong)?;
    Ok(CopyIn { from: from.trim().to_owned(), to: to.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: &str, form: &str) -> String {
        match request(kind, &Fields::parse(form.as_bytes())) {
            Ok(request) => serde_json::to_string(&request).unwrap(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn a_form_asks_for_what_is_in_it() {
        insta::assert_snapshot!(made("debian", "name=dev&suite=trixie&packages=tmux+git&size=8G&opencode=on"), @r#"{"debian":{"name":"dev","suite":"trixie","packages":["tmux","git"],"size":8589934592,"opencode":true}}"#);
        insta::assert_snapshot!(made("debian", "name=Dev&suite=trixie"), @"Name of the image: 'Dev' is not a valid name: use lowercase letters only");
        insta::assert_snapshot!(made("files", "name=mine&rootfs=/a&kernel="), @"The kernel is missing");
        insta::assert_snapshot!(made("image", "name=mine&image=debian&copies=/a:/b%0A/c"), @"'/c' does not say from where to where");
        insta::assert_snapshot!(made("nothing", "name=mine"), @"there are no images of 'nothing'");
    }
}
