//! The list of VMs.

use banger_core::size::Size;
use banger_core::vm::{StopCause, Vm, VmState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};

use super::super::list::Column;
use super::super::model::{Model, Taken};
use super::text::{age, fit, row, short, sparkline, spinner};
use super::{Theme, block, theme};

/// How wide a sparkline is.
const LINE: u16 = 10;

/// A column on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Name,
    State,
    Image,
    Vcpus,
    Reserved,
    Address,
    Uptime,
    Cpu,
    CpuLine,
    Memory,
    MemoryLine,
    Disk,
}

impl Shown {
    /// All, as they stand.
    const ALL: [Self; 12] = [
        Self::Name,
        Self::State,
        Self::Image,
        Self::Vcpus,
        Self::Reserved,
        Self::Address,
        Self::Uptime,
        Self::Cpu,
        Self::CpuLine,
        Self::Memory,
        Self::MemoryLine,
        Self::Disk,
    ];

    /// Which are left out first, where there is little room.
    const SPARE: [Self; 9] = [
        Self::MemoryLine,
        Self::Reserved,
        Self::Vcpus,
        Self::Address,
        Self::Image,
        Self::Disk,
        Self::Uptime,
        Self::CpuLine,
        Self::Memory,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::CpuLine | Self::MemoryLine => "",
            column => column.sorts().name(),
        }
    }

    /// What a click on its heading sorts by.
    fn sorts(self) -> Column {
        match self {
            Self::Name => Column::Name,
            Self::State => Column::State,
            Self::Image => Column::Image,
            Self::Vcpus => Column::Vcpus,
            Self::Reserved => Column::Memory,
            Self::Address => Column::Address,
            Self::Uptime => Column::Uptime,
            Self::Cpu | Self::CpuLine => Column::Cpu,
            Self::Memory | Self::MemoryLine => Column::Rss,
            Self::Disk => Column::Disk,
        }
    }

    /// Whether it stands at the right.
    fn is_number(self) -> bool {
        matches!(
            self,
            Self::Vcpus | Self::Reserved | Self::Uptime | Self::Cpu | Self::Memory | Self::Disk
        )
    }

    /// What it takes: its longest text, or its heading with the arrow.
    fn width(self) -> u16 {
        match self {
            Self::Name => 14,
            Self::State => 14,
            Self::Image => 10,
            Self::Cpu | Self::Reserved | Self::Uptime => 7,
            Self::Vcpus => 6,
            Self::Memory => 5,
            Self::Disk => 8,
            Self::Address => 15,
            Self::CpuLine | Self::MemoryLine => LINE,
        }
    }

    /// Those that have room in so many columns.
    fn fitting(width: u16, addresses: bool) -> Vec<Self> {
        let mut shown = Self::ALL.to_vec();
        // Without the network 'nat', no VM has an address.
        let bare = Some(Self::Address).filter(|_| !addresses);
        for spare in bare.into_iter().chain(Self::SPARE) {
            let taken: u16 = shown.iter().map(|column| column.width() + 1).sum();
            // The marks stand before.
            if taken + 2 <= width {
                break;
            }
            shown.retain(|column| *column != spare);
        }
        shown
    }
}

pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme, area: Rect) {
    let at = model.settle();
    let filter = model.cursor().filter.value().to_owned();
    let (all, shown) = (model.lists.vms.len(), model.shown_vms().len());
    let mut title = match filter.as_str() {
        "" => format!("VMs {all}"),
        filter => format!("VMs {shown} of {all} · /{filter}"),
    };
    if !model.marked.is_empty() {
        title.push_str(&format!(" · {} marked", model.marked.len()));
    }
    let inner = Block::bordered().inner(area);
    let addresses = model.lists.vms.values().any(|vm| vm.lease.is_some());
    let columns = Shown::fitting(inner.width, addresses);
    let order = model.order;
    if !columns.iter().any(|column| column.sorts() == order.column) {
        title.push_str(&format!(" · by {} {}", order.column.name(), order.arrow()));
    }
    let rows = usize::from(inner.height.saturating_sub(1));
    if shown > rows {
        title.push_str(&format!(" · {}/{shown}", at.map_or(0, |at| at + 1)));
    }
    let block = block(theme, &title);
    frame.render_widget(block, area);
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    model.hits.list = body;
    let height = usize::from(body.height).max(1);
    let line = at.unwrap_or(0);
    let top = model.cursor_mut().scroll_to(line, shown, height);
    if shown == 0 {
        let text = match (model.lists.vms.is_empty(), model.dashboard.is_some()) {
            (_, false) => vec![],
            (true, true) if model.lists.images.is_empty() => vec![
                " no VMs yet, and no image to make one of:",
                " b builds one of Debian, Alpine or Void, in about a minute",
                " n makes a VM of it",
            ],
            (true, true) => vec![" no VMs yet: n makes one"],
            (false, true) => vec![" none has these words: Esc shows all"],
        };
        let lines: Vec<_> = text.into_iter().map(|t| Line::styled(t, theme.faint())).collect();
        frame.render_widget(Paragraph::new(lines), body);
        return;
    }
    let fixed: u16 = columns.iter().skip(1).map(|column| column.width() + 1).sum();
    let spare = inner.width.saturating_sub(fixed + 2);
    let name = spare.clamp(Shown::Name.width(), 40);
    let image = Shown::Image.width() + spare.saturating_sub(name).min(20);
    let widths = columns.iter().map(|column| match column {
        Shown::Name => Constraint::Length(name + 2),
        Shown::Image => Constraint::Length(image),
        column => Constraint::Length(column.width()),
    });
    let places = Layout::horizontal(widths.clone()).spacing(1).split(head);
    let sorted = |column: &Shown| match column.title() {
        "" => String::new(),
        _ if column.sorts() == order.column => order.arrow().to_string(),
        _ => String::new(),
    };
    let titles = columns.iter().map(|column| {
        let indent = if *column == Shown::Name { "  " } else { "" };
        let text = format!("{indent}{}{}", column.title(), sorted(column));
        let line = Line::from(Span::styled(text, theme.title()));
        Cell::from(if column.is_number() { line.right_aligned() } else { line })
    });
    let titles = Row::new(titles.collect::<Vec<_>>());
    frame.render_widget(Table::new([titles], widths.clone()).column_spacing(1), head);
    let visible: Vec<_> = model.shown_vms().into_iter().skip(top).take(height).collect();
    let rows = visible.iter().map(|vm| {
        let cells = columns.iter().map(|column| {
            let width = match column {
                Shown::Name => name,
                Shown::Image => image,
                column => column.width(),
            };
            cell(model, vm, *column, theme, width)
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    frame.render_widget(Table::new(rows, widths).column_spacing(1), body);
    let chosen = row(body, line - top);
    frame.buffer_mut().set_style(chosen, theme.chosen());
    let hits = columns.iter().zip(places.iter()).map(|(column, place)| (*place, column.sorts()));
    model.hits.columns = hits.collect();
}

/// A state in a word or two: what went wrong, rather than that it is stopped.
fn in_short(state: &VmState) -> &'static str {
    match state {
        VmState::Stopped(StopCause::Crashed { .. }) => "crashed",
        VmState::Stopped(StopCause::StartFailed { .. }) => "start failed",
        state => state.name(),
    }
}

fn cell(model: &Model, vm: &Vm, column: Shown, theme: Theme, width: u16) -> Cell<'static> {
    let taken = model.taken.get(&vm.id);
    let right = |text: String| Cell::from(Text::from(Line::from(text).right_aligned()));
    let of_stats = |text: fn(&Taken) -> Option<String>| {
        right(taken.and_then(text).unwrap_or_else(|| "-".to_owned()))
    };
    match column {
        Shown::Name => {
            let mark = if model.marked.contains(&vm.id) { "● " } else { "  " };
            let name = fit(vm.name.as_str(), width.into());
            Cell::from(Line::from(vec![Span::styled(mark, theme.key()), Span::raw(name)]))
        }
        Shown::State => {
            let (text, style) = match model.under_way(&vm.id) {
                Some(watched) => {
                    let stage = watched.view.current().map(|stage| stage.name.as_str());
                    let doing = stage.unwrap_or_else(|| vm.state.name());
                    (format!("{} {doing}", spinner(model.now_ms)), theme.busy())
                }
                None => {
                    // Without colours, too, one sees that something went wrong.
                    let mark = if theme::is_bad(&vm.state) { " !" } else { "" };
                    (format!("{}{mark}", in_short(&vm.state)), theme.state(&vm.state))
                }
            };
            Cell::from(Span::styled(fit(&text, width.into()), style))
        }
        Shown::Image => Cell::from(fit(vm.spec.image_name.as_str(), width.into())),
        Shown::Vcpus => right(vm.spec.vcpus.to_string()),
        Shown::Reserved => right(short(vm.spec.memory)),
        Shown::Address => {
            let address = vm.lease.as_ref().map(|lease| lease.address.to_string());
            Cell::from(address.unwrap_or_else(|| "-".to_owned()))
        }
        Shown::Uptime => {
            let began = vm.run.as_ref().map(|run| run.started_at);
            let age = began.map(|at| age((model.now_ms / 1000).saturating_sub(at)));
            right(age.unwrap_or_else(|| "-".to_owned()))
        }
        Shown::Cpu => of_stats(|taken| Some(format!("{:.0} %", taken.stats.cpu_percent?))),
        Shown::CpuLine => {
            let most = 100 * u64::from(vm.spec.vcpus);
            let line = taken.map(|taken| sparkline(&taken.cpu, most, LINE.into()));
            Cell::from(Span::styled(line.unwrap_or_default(), theme.busy()))
        }
        Shown::Memory => of_stats(|taken| Some(short(Size::bytes(taken.stats.rss_bytes?)))),
        Shown::MemoryLine => {
            let line =
                taken.map(|taken| sparkline(&taken.memory, taken.most_memory(vm), LINE.into()));
            Cell::from(Span::styled(line.unwrap_or_default(), theme.good()))
        }
        Shown::Disk => of_stats(|taken| {
            let disk = taken.stats.disk;
            Some(short(Size::bytes(disk.overlay_bytes + disk.work_bytes)))
        }),
    }
}
