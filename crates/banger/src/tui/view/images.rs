//! The list of images, and the details of one.

use banger_core::image::Source;
use banger_core::size::Size;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::words;
use super::Theme;
use super::detail::pair;
use super::text::fit;

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let rows: Vec<Line<'_>> = model
        .shown_images()
        .into_iter()
        .map(|image| {
            let info = model.images.get(&image.id);
            let size =
                info.map(|info| Size::bytes(info.real_bytes).to_string()).unwrap_or_default();
            let users = model.users(image).len();
            let users = if users == 0 { String::new() } else { format!("{users} VMs") };
            let mut line = Line::from(format!(
                " {:<20} {:<22} {size:>9} {users:>8} ",
                fit(image.name.as_str(), 20),
                fit(&words::source(image), 22),
            ));
            if info.is_some_and(|info| info.damage.is_some()) {
                line.push_span(Span::styled("damaged", theme.bad()));
            }
            line
        })
        .collect();
    let empty = if model.lists.images.is_empty() {
        " no images yet: b builds one"
    } else {
        " none has these words"
    };
    super::doctor::list(frame, model, theme, area, "images", rows, empty);
}

pub fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Some(image) = model.image() else { return Vec::new() };
    let boot = &image.boot_set;
    let mut lines = vec![
        pair(theme, "name", Span::styled(image.name.to_string(), theme.title())),
        pair(theme, "made of", words::source(image)),
        pair(theme, "root", format!("{}, {}", image.rootfs_size, image.init.name())),
        pair(theme, "kernel", boot.kernel_release.clone()),
        pair(theme, "boot args", boot.boot_args.clone()),
        pair(theme, "agent", boot.agent_version.clone().unwrap_or_else(|| "-".to_owned())),
        pair(theme, "opencode", image.opencode.clone().unwrap_or_else(|| "-".to_owned())),
    ];
    if let Source::Oci { reference, .. } = &image.source {
        lines.push(pair(theme, "reference", reference.clone()));
    }
    if let Some(parent) = &image.parent {
        lines.push(pair(theme, "parent", parent.name.to_string()));
    }
    if let Some(info) = model.images.get(&image.id) {
        let (real, apparent) = (Size::bytes(info.real_bytes), Size::bytes(info.apparent_bytes));
        lines.push(pair(theme, "on disk", format!("{real} ({apparent} with holes)")));
        if let Some(damage) = &info.damage {
            lines.push(pair(theme, "damage", Span::styled(damage.clone(), theme.bad())));
        }
    }
    if let Some(place) = &image.in_place {
        lines.push(pair(theme, "files", format!("yours: {} (P copies them)", place.rootfs)));
    }
    let users = model.users(image).join(", ");
    lines.push(pair(theme, "used by", if users.is_empty() { "no VM".to_owned() } else { users }));
    lines.push(pair(theme, "id", image.id.to_string()));
    lines
}
