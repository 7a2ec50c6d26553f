//! What is asked or told, over everything else.

use banger_core::vm::SSH_PORT;
use crossterm::event::KeyCode;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph};
use tui_input::Input;
use unicode_width::UnicodeWidthStr as _;

use super::super::dialog::{Confirm, Dialog, Palette, PortList, Problem};
use super::super::form::{Form, Value};
use super::super::keys::{BINDINGS, Scope};
use super::super::model::{Model, Ports, Tab};
use super::Theme;
use super::head::tail;
use super::text::{fit, fold, row};

/// How wide dialogs are, where there is room.
const WIDTH: u16 = 76;
/// How many options of a choice are shown beneath it.
const OPTIONS: usize = 5;

/// What a dialog shows.
struct Content {
    title: String,
    lines: Vec<Line<'static>>,
    /// The lines that a click is meant for, and what it means.
    hits: Vec<(usize, usize)>,
    /// Where the cursor is: line and column.
    cursor: Option<(usize, usize)>,
    /// The first line that is shown.
    from: usize,
    /// What stays at the bottom, however long the rest is.
    foot: Vec<Line<'static>>,
    /// What the last line names: a key, how it is called, what it does.
    keys: Vec<(KeyCode, &'static str, &'static str)>,
    style: Style,
}

impl Content {
    fn new(title: impl Into<String>, lines: Vec<Line<'static>>, style: Style) -> Self {
        let title = title.into();
        let (hits, foot, keys) = (Vec::new(), Vec::new(), Vec::new());
        Self { title, lines, hits, cursor: None, from: 0, foot, keys, style }
    }
}

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let Some(dialog) = model.dialogs.last().filter(|_| !model.is_typing()) else { return };
    let width = WIDTH.min(area.width.saturating_sub(2));
    let inside = usize::from(width.saturating_sub(2));
    // Besides the margins, the frame and the keys.
    let room = usize::from(area.height.saturating_sub(5)).max(1);
    let mut content = match dialog {
        Dialog::Problem(told, from) => problem(told, *from, model.problems(), theme, inside),
        Dialog::Help(from) => help(*from, theme),
        Dialog::Palette(asked) => palette(asked, model, theme, inside, room),
        Dialog::Confirm(asked) => confirm(asked, theme, inside),
        Dialog::Form(filled) => form(filled, model, theme, inside),
        Dialog::Ports(list) => ports(list, model, theme, inside, room),
    };
    let wanted = content.lines.len() + content.foot.len() + 3;
    let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
    let height = wanted.min(area.height.saturating_sub(2)).max(3);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(content.style)
        .title(Line::styled(
            format!(" {} ", fit(&content.title, inside.saturating_sub(2))),
            theme.title(),
        ));
    let inner = block.inner(place);
    // At least half of it is for what scrolls; the last lines of the rest say what to do.
    let height = usize::from(inner.height.saturating_sub(1));
    let foot = content.foot.split_off(content.foot.len().saturating_sub(height / 2));
    let room = height - foot.len();
    // The line that the person is at stays in sight.
    let at = content.cursor.map_or(content.from, |(line, _)| (line + 2).saturating_sub(room));
    let from = at.min(content.lines.len().saturating_sub(room));
    frame.render_widget(Clear, place);
    let scrolls = content.lines.len() > room;
    let mut shown: Vec<_> = content.lines.into_iter().skip(from).take(room).collect();
    shown.extend(foot);
    if scrolls && matches!(model.dialogs.last(), Some(Dialog::Problem(..) | Dialog::Help(_))) {
        content.keys.push((KeyCode::Down, "↑ ↓", "scroll"));
    }
    frame.render_widget(Paragraph::new(shown).block(block), place);
    keys_line(frame, model, theme, row(inner, height), &content.keys);
    if let Some((line, column)) = content.cursor
        && let Some(down) = line.checked_sub(from).filter(|down| *down < room)
    {
        let x = inner
            .x
            .saturating_add(u16::try_from(column).unwrap_or(0))
            .min(inner.right().saturating_sub(1));
        frame.set_cursor_position((x, inner.y + u16::try_from(down).unwrap_or(0)));
    }
    let hits = content.hits.into_iter().filter_map(|(line, meant)| {
        let down = line.checked_sub(from).filter(|down| *down < room)?;
        Some((row(inner, down), meant))
    });
    let hits = hits.collect();
    if let Some(Dialog::Help(line) | Dialog::Problem(_, line)) = model.dialogs.last_mut() {
        *line = u16::try_from(from).unwrap_or(0);
    }
    model.hits.dialog = hits;
}

/// The last line: keys, which a click presses, too.
fn keys_line(
    frame: &mut Frame<'_>,
    model: &mut Model,
    theme: Theme,
    area: Rect,
    keys: &[(KeyCode, &'static str, &'static str)],
) {
    let mut x = area.x;
    for (code, name, what) in keys {
        let spans = [
            Span::styled(format!(" {name}"), theme.key()),
            Span::styled(format!(" {what} "), theme.faint()),
        ];
        let width = spans.iter().map(Span::width).sum::<usize>();
        let width = u16::try_from(width).unwrap_or(0);
        let place = Rect { x, width, ..area }.intersection(area);
        frame.render_widget(Paragraph::new(Line::from(spans.to_vec())), place);
        model.hits.keys.push((place, *code));
        x = x.saturating_add(width);
    }
}

fn problem(told: &Problem, from: u16, count: usize, theme: Theme, width: usize) -> Content {
    let mut lines: Vec<Line<'_>> =
        told.message.lines().map(|line| Line::from(format!(" {line}"))).collect();
    if !told.console.is_empty() {
        lines.push(Line::from(Span::styled(" the end of its console:", theme.faint())));
        let tail = told.console.lines().rev().take(8).collect::<Vec<_>>();
        lines.extend(tail.into_iter().rev().map(|line| Line::from(format!(" │ {line}"))));
    }
    let mut foot = vec![Line::default()];
    if let Some(remedy) = &told.remedy {
        foot.push(Line::from(vec![Span::styled(" hint ", theme.key()), Span::raw(remedy.clone())]));
    }
    let mut title = format!("failed: {}", told.title);
    let mut keys = vec![(KeyCode::Enter, "Enter", "dismiss"), (KeyCode::Char('y'), "y", "copy")];
    if count > 1 {
        title = format!("{count} failures · {title}");
        keys.insert(1, (KeyCode::Char('a'), "a", "dismiss all"));
    }
    let content = Content::new(title, fold(lines, width), theme.bad());
    Content { from: from.into(), foot: fold(foot, width), keys, ..content }
}

fn help(from: u16, theme: Theme) -> Content {
    let mut lines = Vec::new();
    for scope in Scope::ALL {
        lines.push(Line::from(Span::styled(format!(" {}", scope.title()), theme.title())));
        for binding in BINDINGS.iter().filter(|binding| binding.scope == scope) {
            lines.push(Line::from(vec![
                Span::styled(format!("   {:<14} ", binding.keys()), theme.key()),
                Span::raw(binding.help),
            ]));
        }
    }
    lines.push(Line::from(Span::styled(" Mouse", theme.title())));
    for line in [
        "a click selects; on what is selected it shows the details",
        "on a tab, a heading or a key that is named it does what that does",
        "the wheel scrolls what it is over; Shift selects text, as the terminal does",
    ] {
        lines.push(Line::from(format!("   {line}")));
    }
    let mut content = Content::new("keys", lines, theme.busy());
    content.from = from.into();
    content.keys = vec![(KeyCode::Esc, "Esc", "leave")];
    content
}

/// An input behind some words; where its cursor is.
fn input(label: &str, input: &Input, theme: Theme, width: usize) -> (Line<'static>, usize) {
    let before = label.width();
    let room = width.saturating_sub(before + 1).max(1);
    let from = input.visual_scroll(room);
    let value = tail(input.value(), from);
    let line = Line::from(vec![Span::styled(label.to_owned(), theme.key()), Span::raw(value)]);
    (line, before + input.visual_cursor().saturating_sub(from))
}

fn palette(asked: &Palette, model: &Model, theme: Theme, width: usize, room: usize) -> Content {
    let found = asked.found(model.scopes());
    let (line, column) = input(" : ", &asked.typed, theme, width);
    let at = asked.at.min(found.len().saturating_sub(1));
    let mut lines = vec![line];
    let mut content = Content::new("what to do", Vec::new(), theme.busy());
    // Around the chosen, beneath what was typed.
    let shown = (room - 1).clamp(1, 15);
    let first = at.saturating_sub(shown / 2).min(found.len().saturating_sub(shown));
    for (i, binding) in found.iter().enumerate().skip(first).take(shown) {
        content.hits.push((lines.len(), i));
        let style = if i == at { theme.chosen() } else { Style::new() };
        let place = binding.scope.tab().map_or("", Tab::name);
        let text = format!(
            " {:<17} {:<38} {:<10} {:>5}",
            binding.title,
            fit(binding.help, 38),
            place,
            binding.keys.first().map(|k| k.name()).unwrap_or_default()
        );
        lines.push(Line::from(Span::styled(fit(&text, width), style)));
    }
    if found.is_empty() {
        lines.push(Line::from(Span::styled(" nothing is called so", theme.faint())));
    }
    content.lines = lines;
    content.cursor = Some((0, column));
    content.keys = vec![(KeyCode::Enter, "Enter", "do it"), (KeyCode::Esc, "Esc", "leave")];
    content
}

fn confirm(asked: &Confirm, theme: Theme, width: usize) -> Content {
    let mut lines: Vec<Line<'_>> = Vec::new();
    lines.extend(asked.text.lines().map(|line| Line::from(format!(" {line}"))));
    let mut lines = fold(lines, width);
    let mut content = Content::new(format!("{}?", asked.title), Vec::new(), theme.warning());
    match &asked.typed {
        None => {
            content.keys = vec![(KeyCode::Char('y'), "y", "yes"), (KeyCode::Char('n'), "n", "no")];
        }
        Some((word, typed)) => {
            lines.push(Line::from(vec![
                Span::raw(" type "),
                Span::styled(word.clone(), theme.key()),
                Span::raw(" to go on:"),
            ]));
            let (line, column) = input(" > ", typed, theme, width);
            content.cursor = Some((lines.len(), column));
            lines.push(line);
            if asked.is_met() {
                content.keys.push((KeyCode::Enter, "Enter", "do it"));
            }
            content.keys.push((KeyCode::Esc, "Esc", "leave it"));
        }
    }
    content.lines = lines;
    content
}

fn form(filled: &Form, model: &Model, theme: Theme, width: usize) -> Content {
    let errors = filled.errors(model);
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut content = Content::new(&filled.title, Vec::new(), theme.busy());
    for (i, (field, error)) in filled.fields.iter().zip(&errors).enumerate() {
        let focused = i == filled.focus;
        content.hits.push((lines.len(), i));
        let label = format!(" {} {:<12}", if focused { "▸" } else { " " }, field.label);
        // The value has its place, the note what is left.
        let space = 28.min(width.saturating_sub(16));
        let (value, column) = match &field.value {
            Value::Text(typed) => {
                let from = typed.visual_scroll(space.saturating_sub(1));
                (tail(typed.value(), from), typed.visual_cursor().saturating_sub(from))
            }
            Value::Choice { options, at } => {
                (format!("◂ {} ▸", options.get(*at).map_or("-", String::as_str)), 0)
            }
        };
        let value = fit(&value, space);
        let pad = space.saturating_sub(value.width());
        let left = width.saturating_sub(16 + space);
        // A field that nobody has been to is not wrong yet.
        let (note, style) = match error {
            Some(error) if field.seen || filled.tried => (error, theme.bad()),
            _ => (&field.hint, theme.faint()),
        };
        // Where the person is, it is read whole.
        let beneath = Some(note.clone()).filter(|note| focused && note.width() > left);
        let note = if beneath.is_some() { String::new() } else { fit(note, left) };
        if focused {
            content.cursor = Some((lines.len(), 15 + column));
        }
        lines.push(Line::from(vec![
            Span::styled(label, if focused { theme.key() } else { Style::new() }),
            Span::raw(value),
            Span::raw(" ".repeat(pad + 1)),
            Span::styled(note, style),
        ]));
        if let Some(note) = beneath {
            let line = Line::from(Span::styled(format!("   {note}"), style));
            lines.extend(fold(vec![line], width));
        }
        if let Value::Choice { options, at } = &field.value
            && focused
            && options.len() > 1
        {
            let first = at.saturating_sub(OPTIONS / 2).min(options.len().saturating_sub(OPTIONS));
            let part = options.iter().enumerate().skip(first).take(OPTIONS).map(|(n, option)| {
                let style = if n == *at { theme.chosen() } else { theme.faint() };
                Span::styled(format!(" {option} "), style)
            });
            let mut row = vec![Span::raw(" ".repeat(15))];
            row.extend(part);
            row.push(Span::styled(format!(" {} of {}", at + 1, options.len()), theme.faint()));
            lines.push(Line::from(row));
        }
    }
    let preview = filled.preview(model);
    if !preview.is_empty() {
        lines.push(Line::default());
        lines.extend(preview.into_iter().map(|line| {
            Line::from(vec![
                Span::styled(" ■ ", theme.pressure(line.pressure)),
                Span::styled(line.text, theme.pressure(line.pressure)),
            ])
        }));
    }
    content.keys = vec![
        (KeyCode::Enter, "Enter", "do it"),
        (KeyCode::Tab, "Tab ↑ ↓", "field"),
        (KeyCode::Right, "← →", "choose"),
        (KeyCode::Esc, "Esc", "leave"),
    ];
    content.lines = lines;
    content
}

fn ports(list: &PortList, model: &Model, theme: Theme, width: usize, room: usize) -> Content {
    let vm = model.lists.vms.get(&list.vm);
    let name = vm.map_or_else(|| "a VM that is gone".to_owned(), |vm| vm.name.to_string());
    let mut content = Content::new(format!("ports of {name}"), Vec::new(), theme.busy());
    let known = model.known_ports(&list.vm);
    let mut lines = Vec::new();
    let faint = |text| Line::from(Span::styled(text, theme.faint()));
    match model.ports.get(&list.vm) {
        _ if vm.is_none_or(|vm| vm.run.is_none()) => lines.push(faint(" it does not run")),
        Some(Ports::Known(_)) if known.is_empty() => lines.push(Line::from(" nothing listens")),
        Some(Ports::Known(_)) => {
            let at = list.line(&known);
            for (i, port) in known.iter().enumerate() {
                content.hits.push((lines.len(), i));
                let process = port.process.as_deref().unwrap_or("-");
                let address = match model.address(&list.vm, port.port) {
                    Some(address) => address,
                    None if port.port == SSH_PORT => {
                        "forwarded when you copy its address".to_owned()
                    }
                    None => "forwarded when you open it".to_owned(),
                };
                let text = format!(" {:>5}  {:<16} {address}", port.port, fit(process, 16));
                let style = if i == at { theme.chosen() } else { Style::new() };
                lines.push(Line::from(Span::styled(fit(&text, width), style)));
            }
            content.from = (at + 1).saturating_sub(room);
        }
        Some(Ports::Unknown(why)) => {
            lines.push(Line::from(Span::styled(format!(" {why}"), theme.warning())))
        }
        Some(Ports::Asked) | None => lines.push(faint(" asking the agent …")),
    }
    content.keys =
        vec![(KeyCode::Enter, "Enter", "open"), (KeyCode::Char('c'), "c", "copy address")];
    let at = known.get(list.line(&known)).map(|port| (list.vm.clone(), port.port));
    if at.is_some_and(|key| model.forwards.contains_key(&key)) {
        content.keys.push((KeyCode::Char('x'), "x", "end forward"));
    }
    if vm.is_some_and(|vm| vm.spec.opencode) {
        content.keys.push((KeyCode::Char('p'), "p", "copy password"));
    }
    content.keys.push((KeyCode::Esc, "Esc", "leave"));
    content.lines = fold(lines, width);
    content
}
