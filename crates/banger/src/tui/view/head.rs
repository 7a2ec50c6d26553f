//! The first lines: tabs, and how the host is; the last: what can be pressed.

use banger_core::dashboard::{HostUse, Pressure};
use banger_core::doctor::Check;
use banger_core::vm::VmState;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr as _;

use super::super::keys::{Action, BINDINGS, Binding};
use super::super::model::{Link, Model, Tab};
use super::Theme;
use super::text::{bar, fit, short};

/// The least and the most columns of a bar.
const BAR: (usize, usize) = (4, 24);

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    tabs(frame, model, theme, Rect { height: 1, ..area });
    let line = Rect { y: area.y + 1, height: 1, ..area };
    let spans = match (&model.link, &model.host) {
        (Link::Away(why), _) => {
            let text =
                format!(" the daemon is away · R starts it · {why} · what is here is as it was");
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
            Tab::Vms => format!(" {}", model.lists.vms.len()),
            Tab::Images => format!(" {}", model.lists.images.len()),
            Tab::Operations => format!(" {}", model.active().count()),
            Tab::Doctor => String::new(),
        };
        let key = format!(" {} ", i + 1);
        let text = format!("{}{count} ", tab.name());
        let width = u16::try_from(key.width() + text.width()).unwrap_or(0);
        let place = Rect { x, width, ..area }.intersection(area);
        model.hits.tabs.push((place, tab));
        x += width + 1;
        let (of_key, style) = match tab == model.tab {
            true => (theme.chosen(), theme.chosen()),
            false => (theme.key(), theme.faint()),
        };
        spans.extend([Span::styled(key, of_key), Span::styled(text, style), Span::raw(" ")]);
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
    let (texts, style) = match &model.link {
        Link::Connecting => (vec!["connecting ".to_owned()], theme.busy()),
        Link::Away(_) => (vec!["away ".to_owned()], theme.bad()),
        Link::Up => {
            let daemon = model.dashboard.as_ref().map(|dashboard| &dashboard.daemon);
            let texts = daemon.map(|d| {
                let running = format!("{} running", running(model));
                let of_it = format!("bangerd {}", d.version);
                vec![
                    format!("{running} · {of_it} · pid {} ", d.pid),
                    format!("{running} · {of_it} "),
                    format!("{of_it} "),
                    format!("{} ", d.version),
                ]
            });
            (texts.unwrap_or_default(), theme.faint())
        }
    };
    // As much of it as there is room for.
    let left = usize::from(area.right().saturating_sub(x));
    if let Some(text) = texts.into_iter().find(|text| text.width() <= left) {
        let width = u16::try_from(text.width()).unwrap_or(0);
        let right = Rect { x: area.right() - width, width, ..area };
        frame.render_widget(Paragraph::new(Span::styled(text, style)), right);
    }
}

/// How many VMs run.
fn running(model: &Model) -> usize {
    model.lists.vms.values().filter(|vm| vm.state.is_active()).count()
}

/// What running VMs have reserved of the host, and what all take of its disk; at the right, what
/// works here.
fn status(model: &Model, host: &HostUse, theme: Theme, width: usize) -> Vec<Span<'static>> {
    let capacity = host.capacity;
    let pressure = host.pressure;
    let gone = capacity.disk.as_bytes().saturating_sub(capacity.disk_free.as_bytes());
    let cpu = (host.vcpus, host.vcpus, capacity.cpus);
    let memory = host.memory.as_bytes();
    let ram = (memory, memory, capacity.memory.as_bytes());
    let disk = (host.disk.as_bytes(), gone, capacity.disk.as_bytes());
    let of_disk = format!("{}/{}", short(host.disk), short(capacity.disk));
    let of_ram = format!("{}/{}", short(host.memory), short(capacity.memory));
    let parts = [
        ("CPU", cpu, format!("{}/{}", host.vcpus, capacity.cpus), pressure.cpu),
        ("RAM", ram, of_ram, pressure.memory),
        ("disk", disk, of_disk, pressure.disk),
    ];
    let free = format!(" {} free", short(capacity.disk_free));
    let dashboard = model.dashboard.as_ref();
    let checks: Vec<Span<'_>> = dashboard
        .into_iter()
        .flat_map(|dashboard| [("sudo", &dashboard.sudo), ("KVM", &dashboard.kvm)])
        .flat_map(|(name, check)| check_spans(name, check, theme))
        .collect();
    let wide = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let left = width.saturating_sub(wide(&checks) + 1);
    let fixed: usize =
        parts.iter().map(|(name, _, numbers, _)| name.len() + numbers.width() + 5).sum();
    let room = left.saturating_sub(fixed);
    // Bars first, then what is free.
    let free = Some(free).filter(|free| room >= free.width() + BAR.0 * parts.len());
    let room = room - free.as_ref().map_or(0, |free| free.width());
    let each = (room / parts.len()).min(BAR.1);
    let each = if each < BAR.0 { 0 } else { each };
    let mut spans = Vec::new();
    for (name, (taken, gone, of), numbers, pressure) in parts {
        let style = theme.pressure(pressure);
        let mut part = vec![Span::raw(format!(" {name} "))];
        if each > 0 {
            part.extend(bar(theme, style, taken, gone, of, each));
            part.push(Span::raw(" "));
        }
        // Without colours, too, one sees which is near its end.
        let mark = match pressure {
            Pressure::Green => " ",
            Pressure::Yellow => "!",
            Pressure::Red => "‼",
        };
        part.push(Span::styled(format!("{numbers}{mark}"), style));
        // What has no room is left out whole: what works here stays in sight.
        if wide(&spans) + wide(&part) <= left {
            spans.extend(part);
        }
    }
    spans.extend(free.map(|free| Span::styled(free, theme.faint())));
    spans.push(Span::raw(" ".repeat(left.saturating_sub(wide(&spans)))));
    spans.extend(checks);
    spans
}

fn check_spans(name: &'static str, check: &Check, theme: Theme) -> [Span<'static>; 2] {
    let mark = if check.status == banger_core::doctor::Status::Ok { "✓" } else { "✗" };
    [Span::raw(format!(" {name} ")), Span::styled(mark, theme.status(check.status))]
}

/// The last line: the filter, a word, or what can be pressed here.
pub fn foot(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
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
        frame.set_cursor_position((x, area.y));
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
    let mut x = area.x;
    for binding in hints(model, width) {
        let spans = hint(binding, theme);
        let wide = u16::try_from(spans.iter().map(Span::width).sum::<usize>()).unwrap_or(0);
        let place = Rect { x, width: wide, ..area };
        frame.render_widget(Paragraph::new(Line::from(spans.to_vec())), place);
        model.hits.hints.push((place, binding.action));
        x += wide;
    }
}

/// What is wanted most where the person is, the first first.
fn wanted(model: &Model) -> &'static [Action] {
    use Action as A;
    if model.log.is_some() {
        return &[A::Back, A::Follow, A::Search, A::NextMatch, A::PreviousMatch];
    }
    match (model.tab, model.vm()) {
        (Tab::Vms, None) if model.lists.images.is_empty() => &[A::Build, A::Create],
        (Tab::Vms, None) => &[A::Create],
        (Tab::Vms, _) if !model.marked.is_empty() => {
            &[A::Start, A::Stop, A::Restart, A::Kill, A::Delete, A::Mark, A::MarkAll, A::Back]
        }
        (Tab::Vms, Some(vm)) if model.under_way(&vm.id).is_some() => {
            &[A::Cancel, A::Logs, A::Details, A::Create]
        }
        (Tab::Vms, Some(vm)) if matches!(vm.state, VmState::Paused(_)) => {
            &[A::Resize, A::Stop, A::Logs, A::Details, A::Kill, A::Delete, A::Mark]
        }
        (Tab::Vms, Some(vm)) if vm.run.is_some() => &[
            A::Ssh,
            A::Logs,
            A::Ports,
            A::Stop,
            A::Details,
            A::Create,
            A::Restart,
            A::Kill,
            A::Delete,
            A::Mark,
            A::Rename,
            A::PromoteVm,
            A::Sort,
        ],
        (Tab::Vms, Some(_)) => &[
            A::Start,
            A::Resize,
            A::Delete,
            A::Logs,
            A::Details,
            A::Create,
            A::Rename,
            A::PromoteVm,
            A::Mark,
            A::Sort,
        ],
        (Tab::Images, _) if model.image().is_none() => &[A::Build, A::Pull],
        (Tab::Images, _) => {
            &[A::Create, A::Build, A::Pull, A::DeleteImage, A::Details, A::PromoteImage]
        }
        (Tab::Operations, _) => match model.operation() {
            Some(watched) if watched.operation.outcome.is_none() => &[A::Cancel, A::Details],
            _ => &[A::Details, A::Copy],
        },
        (Tab::Doctor, _) => &[A::Examine, A::CleanUp, A::Copy],
    }
}

/// Whether there is anything to be done so.
fn can(model: &Model, action: Action) -> bool {
    match action {
        // There, it leads back.
        Action::Details => model.details.is_none(),
        Action::CleanUp => model.left_behind().is_some(),
        Action::PromoteImage => model.image().is_some_and(|image| image.in_place.is_some()),
        Action::DeleteImage => model.image().is_some_and(|image| model.users(image).is_empty()),
        _ => true,
    }
}

/// What can be pressed here, as much as has room beside what is always shown.
fn hints(model: &Model, width: usize) -> Vec<&'static Binding> {
    let scopes = model.scopes();
    let known = |action: &Action| {
        if !can(model, *action) {
            return None;
        }
        let mut bindings = BINDINGS.iter().filter(|binding| binding.action == *action);
        bindings.find(|binding| scopes.contains(&binding.scope))
    };
    let wide = |binding: &Binding| {
        binding.keys.first().map_or(0, |key| key.name().width()) + binding.title.width() + 2
    };
    let leaves = model.log.is_none()
        && (model.details.is_some() || !model.cursor().filter.value().is_empty());
    let first = leaves.then_some(&Action::Back).and_then(known);
    let last = [Action::Help, Action::Palette].iter().filter_map(known);
    let mut left = width.saturating_sub(last.clone().map(wide).sum());
    // In a log there is no list to be filtered.
    let rest: &[_] =
        if model.log.is_some() { &[Action::Quit] } else { &[Action::Filter, Action::Quit] };
    let here = first.into_iter().chain(wanted(model).iter().chain(rest).filter_map(known));
    let mut shown = Vec::new();
    for binding in here {
        // One that has no room may be followed by a shorter one.
        if let Some(after) = left.checked_sub(wide(binding)) {
            left = after;
            shown.push(binding);
        }
    }
    shown.extend(last);
    shown
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
