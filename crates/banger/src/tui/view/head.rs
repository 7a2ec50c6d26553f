//! The first lines: tabs, and how the host is; the last: what can be pressed.

use banger_core::dashboard::{HostUse, Pressure};
use banger_core::doctor::Check;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr as _;

use super::super::keys::{Action, BINDINGS, Binding};
use super::super::model::{Link, Model, Tab};
use super::Theme;
use super::text::{bar, fit};

/// The least and the most columns of a bar.
const BAR: (usize, usize) = (4, 16);

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    tabs(frame, model, theme, Rect { height: 1, ..area });
    let line = Rect { y: area.y + 1, height: 1, ..area };
    let spans = match (&model.link, &model.host) {
        (Link::Away(why), _) => {
            let text =
                format!(" the daemon is away: {why}; what is here is as it was (R starts it)");
            vec![Span::styled(fit(&text, area.width.into()), theme.bad())]
        }
        (_, Some(host)) => status(model, host, theme, area.width.into()),
        (_, None) => vec![Span::styled(" connecting …", theme.busy())],
    };
    frame.render_widget(Paragraph::new(Line::from(spans)), line);
}

fn tabs(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let mut spans = vec![Span::styled(" banger ", theme.title())];
    let mut x = area.x + 8;
    for (i, tab) in Tab::ALL.into_iter().enumerate() {
        let count = match tab {
            Tab::Vms => Some(model.lists.vms.len()),
            Tab::Images => Some(model.lists.images.len()),
            Tab::Operations => Some(model.active().count()),
            Tab::Doctor => None,
        };
        let count = count.map(|count| format!(" {count}")).unwrap_or_default();
        let text = format!(" {} {}{count} ", i + 1, tab.name());
        let width = u16::try_from(text.width()).unwrap_or(0);
        let place = Rect { x, width, ..area }.intersection(area);
        model.hits.tabs.push((place, tab));
        x += width + 1;
        let style = if tab == model.tab { theme.chosen() } else { theme.faint() };
        spans.extend([Span::styled(text, style), Span::raw(" ")]);
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let (text, style) = match &model.link {
        Link::Connecting => ("connecting ".to_owned(), theme.busy()),
        Link::Away(_) => ("away ".to_owned(), theme.bad()),
        Link::Up => {
            let daemon = model.dashboard.as_ref().map(|dashboard| &dashboard.daemon);
            let text = daemon.map(|d| format!("bangerd {} · {} ", d.version, d.pid));
            (text.unwrap_or_default(), theme.faint())
        }
    };
    let width = u16::try_from(text.width()).unwrap_or(0);
    if x + width <= area.right() {
        let right = Rect { x: area.right() - width, width, ..area };
        frame.render_widget(Paragraph::new(Span::styled(text, style)), right);
    }
}

/// What running VMs have reserved of the host, and what all take of its disk.
fn status(model: &Model, host: &HostUse, theme: Theme, width: usize) -> Vec<Span<'static>> {
    let capacity = host.capacity;
    let pressure = host.pressure;
    let parts = [
        (
            "CPU",
            (host.vcpus, capacity.cpus),
            format!("{}/{}", host.vcpus, capacity.cpus),
            pressure.cpu,
        ),
        (
            "RAM",
            (host.memory.as_bytes(), capacity.memory.as_bytes()),
            format!("{}/{}", host.memory, capacity.memory),
            pressure.memory,
        ),
        (
            "disk",
            (host.disk.as_bytes(), capacity.disk.as_bytes()),
            format!("{}/{}", host.disk, capacity.disk),
            pressure.disk,
        ),
    ];
    let dashboard = model.dashboard.as_ref();
    let checks: Vec<Span<'_>> = dashboard
        .into_iter()
        .flat_map(|dashboard| [("sudo", &dashboard.sudo), ("KVM", &dashboard.kvm)])
        .flat_map(|(name, check)| check_spans(name, check, theme))
        .collect();
    let fixed: usize =
        parts.iter().map(|(name, _, numbers, _)| name.len() + numbers.width() + 5).sum::<usize>()
            + checks.iter().map(Span::width).sum::<usize>();
    let each = (width.saturating_sub(fixed) / parts.len()).clamp(BAR.0, BAR.1);
    let mut spans = Vec::new();
    for (name, (taken, of), numbers, pressure) in parts {
        let style = theme.pressure(pressure);
        spans.push(Span::raw(format!(" {name} ")));
        spans.extend(bar(theme, style, taken, of, each));
        // Without colours, too, one sees which is near its end.
        let mark = match pressure {
            Pressure::Green => " ",
            Pressure::Yellow => "!",
            Pressure::Red => "‼",
        };
        spans.push(Span::styled(format!(" {numbers}{mark}"), style));
    }
    spans.extend(checks);
    spans
}

fn check_spans(name: &'static str, check: &Check, theme: Theme) -> [Span<'static>; 2] {
    let mark = if check.status == banger_core::doctor::Status::Ok { "✓" } else { "✗" };
    [Span::raw(format!(" {name} ")), Span::styled(mark, theme.status(check.status))]
}

/// The last line: the filter, a word, or what can be pressed here.
pub fn foot(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let width = usize::from(area.width);
    let search = model.log.as_ref().and_then(|log| log.search.as_ref());
    let input = search.or(model.filtering.then(|| &model.cursor().filter));
    if let Some(input) = input {
        let from = input.visual_scroll(width.saturating_sub(4));
        let line =
            Line::from(vec![Span::styled(" /", theme.key()), Span::raw(tail(input.value(), from))]);
        frame.render_widget(Paragraph::new(line), area);
        let x = input.visual_cursor().saturating_sub(from) + 2;
        let x = area.x.saturating_add(u16::try_from(x).unwrap_or(0)).min(area.right() - 1);
        if model.dialogs.is_empty() {
            frame.set_cursor_position((x, area.y));
        }
        return;
    }
    if model.problem_waits() {
        let text = " ! something failed: it is shown when this is closed";
        frame.render_widget(Paragraph::new(Span::styled(fit(text, width), theme.bad())), area);
        return;
    }
    if let Some(notice) = &model.notice {
        frame.render_widget(
            Paragraph::new(Span::styled(fit(&format!(" {notice}"), width), theme.title())),
            area,
        );
        return;
    }
    frame.render_widget(Paragraph::new(Line::from(hints(model, theme, width))), area);
}

/// The keys of this place, as many as have room beside those that are always shown.
fn hints(model: &Model, theme: Theme, width: usize) -> Vec<Span<'static>> {
    let here = model.scopes()[0];
    let always = [Action::Help, Action::Palette, Action::Filter, Action::Quit];
    let known = |binding: &&Binding| model.scopes().contains(&binding.scope);
    let (of_here, others): (Vec<_>, Vec<_>) =
        BINDINGS.iter().filter(known).partition(|binding| binding.scope == here);
    let wide = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let last: Vec<_> = others
        .into_iter()
        .filter(|binding| always.contains(&binding.action))
        .flat_map(|binding| hint(binding, theme))
        .collect();
    let mut spans = Vec::new();
    for hint in of_here.into_iter().map(|binding| hint(binding, theme)) {
        if wide(&spans) + wide(&hint) + wide(&last) > width {
            break;
        }
        spans.extend(hint);
    }
    spans.extend(last);
    spans
}

fn hint(binding: &Binding, theme: Theme) -> [Span<'static>; 2] {
    let key = binding.keys.first().map(|press| press.name()).unwrap_or_default();
    [
        Span::styled(format!(" {key}"), theme.key()),
        Span::styled(format!(" {}", binding.title), theme.faint()),
    ]
}

/// A text from so many columns on.
pub fn tail(text: &str, from: usize) -> String {
    let mut passed = 0;
    let skip = |c: &char| {
        let before = passed < from;
        passed += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
        before
    };
    text.chars().skip_while(skip).collect()
}
