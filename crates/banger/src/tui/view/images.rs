//! The list of images, and the details of one.

use banger_core::image::{Image, Source};
use banger_core::lists::Watched;
use banger_core::operation::OperationKind;
use banger_core::size::Size;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::words;
use super::Theme;
use super::detail::pair;
use super::list::Listing;
use super::operations::doing;
use super::text::{ago, fit, pad, spinner};

/// The least and the most columns of a name.
const NAME: (usize, usize) = (12, 40);

/// A column beside the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Source,
    Kernel,
    Size,
    OnDisk,
    Vms,
    Age,
}

impl Shown {
    /// All, as they stand.
    const ALL: [Self; 6] =
        [Self::Source, Self::Kernel, Self::Size, Self::OnDisk, Self::Vms, Self::Age];

    /// Which are left out first, where there is little room.
    const SPARE: [Self; 5] = [Self::Kernel, Self::Size, Self::Source, Self::Age, Self::OnDisk];

    fn title(self) -> &'static str {
        match self {
            Self::Source => "SOURCE",
            Self::Kernel => "KERNEL",
            Self::Size => "SIZE",
            Self::OnDisk => "ON DISK",
            Self::Vms => "VMS",
            Self::Age => "AGE",
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Source => 18,
            Self::Kernel => 22,
            Self::Size | Self::OnDisk => 9,
            Self::Vms => 4,
            Self::Age => 10,
        }
    }

    /// A text in it, with the space before.
    fn cell(self, text: &str) -> String {
        let text = fit(text, self.width());
        match self {
            Self::Size | Self::OnDisk | Self::Vms => format!(" {text:>0$}", self.width()),
            _ => format!(" {}", pad(&text, self.width())),
        }
    }

    fn of(self, model: &Model, image: &Image) -> String {
        let size = |bytes: Option<u64>| bytes.map(|bytes| Size::bytes(bytes).to_string());
        let info = model.images.get(&image.id);
        let text = match self {
            Self::Source => Some(words::source(image)),
            Self::Kernel => Some(image.boot_set.kernel_release.clone()),
            Self::Size => size(info.map(|info| info.apparent_bytes)),
            Self::OnDisk => size(info.map(|info| info.real_bytes)),
            Self::Vms => Some(model.users(image).len().to_string()),
            Self::Age => Some(ago(image.created_at.saturating_mul(1000), model.now_ms)),
        };
        text.unwrap_or_else(|| "-".to_owned())
    }

    /// Those that have room in so many columns, and how many the name has.
    fn fitting(width: usize) -> (Vec<Self>, usize) {
        let mut shown = Self::ALL.to_vec();
        // The mark stands before.
        let left = |shown: &[Self]| {
            let taken: usize = shown.iter().map(|column| column.width() + 1).sum();
            width.saturating_sub(taken + 3)
        };
        for spare in Self::SPARE {
            if left(&shown) >= NAME.0 {
                break;
            }
            shown.retain(|column| *column != spare);
        }
        let name = left(&shown).min(NAME.1);
        (shown, name)
    }
}

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let (columns, name) = Shown::fitting(area.width.saturating_sub(2).into());
    let head: String = columns.iter().map(|column| column.cell(column.title())).collect();
    let images = model.shown_images();
    let rows = images.iter().map(|image| {
        let damaged = model.images.get(&image.id).is_some_and(|info| info.damage.is_some());
        let cells = columns.iter().map(|column| column.cell(&column.of(model, image)));
        let text = format!("{}{}", pad(image.name.as_str(), name), cells.collect::<String>());
        let mark = if damaged { " ✗ " } else { "   " };
        Line::from(vec![Span::styled(mark, theme.bad()), Span::raw(text)])
    });
    let rows: Vec<_> = rows.collect();
    let pending = pending(model, theme, name);
    let all = model.lists.images.len();
    let listing = Listing {
        title: match (rows.len(), pending.len()) {
            (shown, _) if shown < all => format!("images {shown} of {all}"),
            (_, 0) => format!("images {all}"),
            (_, pending) => format!("images {all} · {pending} being made"),
        },
        head: Some(format!("   {}{head}", pad("NAME", name))),
        empty: match (all, pending.len()) {
            (0, 0) => " no images yet: b builds one",
            (0, _) => "",
            _ => " none has these words: Esc shows all",
        },
        pending,
        rows,
    };
    listing.draw(frame, model, theme, area);
}

/// The operations by which images are made, or copied.
pub fn being_made(model: &Model) -> impl Iterator<Item = &Watched> {
    use OperationKind as K;
    let makes = |kind| {
        matches!(
            kind,
            K::ImageBuild | K::ImageRegister | K::ImagePromote | K::ImagePull | K::ImageImport
        )
    };
    model.active().filter(move |watched| makes(watched.operation.kind))
}

/// A line for each image that is being made, or copied.
fn pending(model: &Model, theme: Theme, name: usize) -> Vec<Line<'static>> {
    let line = being_made(model).map(|watched| {
        let operation = &watched.operation;
        let how = format!(" {}: {}", words::kind(operation.kind), doing(watched));
        Line::from(vec![
            Span::styled(format!(" {} ", spinner(model.now_ms)), theme.busy()),
            Span::raw(pad(&operation.target, name)),
            Span::styled(how, theme.busy()),
        ])
    });
    line.collect()
}

pub fn details(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let Some(image) = model.image() else { return Vec::new() };
    let (boot, info) = (&image.boot_set, model.images.get(&image.id));
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let mut lines = vec![pair(theme, "name", Span::styled(image.name.to_string(), theme.title()))];
    if let Some(damage) = info.and_then(|info| info.damage.clone()) {
        lines.push(pair(theme, "damage", Span::styled(damage, theme.bad())));
    }
    let users = model.users(image).join(", ");
    lines.extend([
        pair(theme, "used by", if users.is_empty() { "nobody".to_owned() } else { users }),
        pair(theme, "source", words::source(image)),
        pair(theme, "made", ago(image.created_at.saturating_mul(1000), model.now_ms)),
    ]);
    if let Some(parent) = &image.parent {
        lines.push(pair(theme, "parent", parent.name.to_string()));
    }
    let root = format!("root {}", image.rootfs_size);
    let size = info.map(|info| {
        let (real, all) = (Size::bytes(info.real_bytes), Size::bytes(info.apparent_bytes));
        format!("{all}, on disk {real}; {root}")
    });
    lines.extend([
        pair(theme, "size", size.unwrap_or(root)),
        pair(theme, "kernel", boot.kernel_release.clone()),
        pair(theme, "init", image.init.name()),
        pair(theme, "opencode", or_none(&image.opencode)),
    ]);
    if let Source::Oci { reference, digest } = &image.source {
        lines.push(pair(theme, "reference", reference.clone()));
        lines.push(pair(theme, "digest", digest.clone()));
    }
    if let Some(place) = &image.in_place {
        lines.push(pair(theme, "in place", format!("{} (P copies it)", place.rootfs)));
    }
    lines.extend([
        pair(theme, "agent", or_none(&boot.agent_version)),
        pair(theme, "boot args", boot.boot_args.clone()),
        pair(theme, "id", image.id.to_string()),
    ]);
    lines
}
