//! The details of a VM.

use std::collections::VecDeque;

use banger_core::size::Size;
use banger_core::vm::{PauseCause, StopCause, Vm, VmState};
use ratatui::text::{Line, Span};

use super::super::model::{Model, PAST, Ports};
use super::super::words;
use super::Theme;
use super::operations::stages;
use super::text::{age, ago, graph, sparkline};
use crate::cmd::vm::{limits, name};
use crate::output::duration;

/// How many events are shown.
const EVENTS: usize = 12;
/// From how many lines on there is room for graphs, and how high they are.
const TALL: u16 = 40;
const GRAPH: usize = 5;

/// Where it stands what something has.
pub const INDENT: usize = 12;

/// A name and what it has.
pub fn pair(theme: Theme, name: &str, value: impl Into<Span<'static>>) -> Line<'static> {
    Line::from(vec![Span::styled(format!(" {name:<10} "), theme.faint()), value.into()])
}

/// A heading between others.
pub fn heading(theme: Theme, text: &str) -> Line<'static> {
    Line::from(Span::styled(format!(" {text}"), theme.title()))
}

pub fn lines(model: &Model, theme: Theme, width: u16, height: u16) -> Vec<Line<'static>> {
    let Some(vm) = model.vm() else { return Vec::new() };
    let spec = &vm.spec;
    let mut state = words::state(&vm.state);
    if let Some(run) = &vm.run {
        state.push_str(&format!(
            ", up {}",
            age((model.now_ms / 1000).saturating_sub(run.started_at))
        ));
    }
    let mut lines = vec![
        pair(theme, "name", Span::styled(vm.name.to_string(), theme.title())),
        pair(theme, "state", Span::styled(state, theme.state(&vm.state))),
    ];
    if let Some(help) = rescue(vm) {
        lines.push(pair(theme, "", Span::styled(help, theme.key())));
    }
    if let Some(watched) = model.under_way(&vm.id) {
        lines.push(heading(theme, &words::title(&watched.operation)));
        lines.extend(stages(watched, model.now_ms, theme));
    }
    lines.extend(resources(model, vm, theme, width, height));
    lines.extend(ports(model, vm, theme));
    if let Some(run) = &vm.run {
        let ready = run.ready.iter().map(|ready| format!("{} {}", ready.stage, duration(ready.ms)));
        let ready = ready.collect::<Vec<_>>().join(" · ");
        if !ready.is_empty() {
            lines.push(pair(theme, "ready", ready));
        }
    }
    lines.extend([
        pair(theme, "network", network(vm)),
        pair(theme, "image", spec.image_name.to_string()),
        pair(theme, "size", sizes(vm)),
        pair(theme, "runs on", runs_on(vm)),
        pair(theme, "root disk", format!("{}: {}", name(&spec.root_disk), spec.root_disk_reason)),
    ]);
    if let Some(limit) = spec.overlay {
        lines.push(pair(theme, "overlay", format!("at most {limit}")));
    }
    if !spec.limits.is_empty() {
        lines.push(pair(theme, "limits", limits(&spec.limits)));
    }
    lines.push(pair(theme, "opencode", if spec.opencode { "on" } else { "off" }));
    lines.push(pair(theme, "id", vm.id.to_string()));
    let events: Vec<_> = model
        .happened
        .iter()
        .rev()
        .filter(|line| line.vm.as_ref() == Some(&vm.id))
        .take(EVENTS)
        .collect();
    if !events.is_empty() {
        lines.push(heading(theme, "recent events"));
        lines.extend(events.iter().map(|line| {
            let at =
                Span::styled(format!(" {:<11} ", ago(line.at_ms, model.now_ms)), theme.faint());
            Line::from(vec![at, Span::raw(line.text.clone())])
        }));
    }
    lines
}

/// What helps a VM that stands still.
fn rescue(vm: &Vm) -> Option<&'static str> {
    match &vm.state {
        VmState::Paused(PauseCause::OverlayFull { .. }) => Some("z lets its overlay take more"),
        VmState::Paused(PauseCause::DiskFull { .. }) => {
            Some("it goes on when there is room on that disk")
        }
        VmState::Stopped(StopCause::Crashed { .. } | StopCause::StartFailed { .. }) => {
            Some("l shows its console, s starts it")
        }
        _ => None,
    }
}

fn sizes(vm: &Vm) -> String {
    let spec = &vm.spec;
    let cpus = if spec.vcpus == 1 { "vcpu" } else { "vcpus" };
    format!("{} {cpus}, memory {}, work disk {}", spec.vcpus, spec.memory, spec.disk)
}

fn runs_on(vm: &Vm) -> String {
    let pid = vm.run.as_ref().map(|run| format!(", pid {}", run.pid));
    format!("{}{}", name(&vm.spec.vmm), pid.unwrap_or_default())
}

fn network(vm: &Vm) -> String {
    match &vm.lease {
        Some(lease) => format!("{}, {} ({})", name(&vm.spec.network), lease.address, lease.mac),
        None => name(&vm.spec.network),
    }
}

/// What it takes of the host.
fn resources(model: &Model, vm: &Vm, theme: Theme, width: u16, height: u16) -> Vec<Line<'static>> {
    let Some(taken) = model.taken.get(&vm.id) else { return Vec::new() };
    let stats = &taken.stats;
    let mut lines = Vec::new();
    let mut add = |name, text: String, past: &VecDeque<u64>, most, style| {
        let mut first = pair(theme, name, format!("{text:<11}"));
        if height >= TALL {
            let room = usize::from(width).saturating_sub(INDENT + 1).min(PAST);
            lines.push(first);
            lines.extend(graph(past, most, room, GRAPH).into_iter().map(|line| {
                Line::from(vec![Span::raw(" ".repeat(INDENT)), Span::styled(line, style)])
            }));
            return;
        }
        let room = usize::from(width.saturating_sub(30)).min(40);
        let line = sparkline(past, most, room);
        first.push_span(Span::styled(line.trim_start().to_owned(), style));
        lines.push(first);
    };
    if let Some(percent) = stats.cpu_percent {
        let most = 100 * u64::from(vm.spec.vcpus);
        add("CPU", format!("{percent:.1} %"), &taken.cpu, most, theme.busy());
    }
    if let Some(bytes) = stats.rss_bytes {
        let (text, most) = (Size::bytes(bytes).to_string(), taken.most_memory(vm));
        add("RSS", text, &taken.memory, most, theme.good());
    }
    let size = |bytes| Size::bytes(bytes).to_string();
    let disk = format!(
        "root overlay {}, work disk {}",
        size(stats.disk.overlay_bytes),
        size(stats.disk.work_bytes)
    );
    lines.push(pair(theme, "on disk", disk));
    if let Some(traffic) = stats.traffic {
        let disk = format!(
            "read {}, written {}",
            size(traffic.disk_read_bytes),
            size(traffic.disk_written_bytes)
        );
        let net = format!(
            "received {}, sent {}",
            size(traffic.net_received_bytes),
            size(traffic.net_sent_bytes)
        );
        lines.extend([pair(theme, "disk I/O", disk), pair(theme, "traffic", net)]);
    }
    lines
}

fn ports(model: &Model, vm: &Vm, theme: Theme) -> Vec<Line<'static>> {
    match model.ports.get(&vm.id) {
        _ if vm.run.is_none() => Vec::new(),
        None => Vec::new(),
        Some(Ports::Asked) => vec![pair(theme, "ports", Span::styled("…", theme.faint()))],
        Some(Ports::Unknown(why)) => {
            vec![pair(theme, "ports", Span::styled(why.clone(), theme.warning()))]
        }
        Some(Ports::Known(_)) => {
            let shown = model.known_ports(&vm.id).into_iter().map(|port| {
                let process = port.process.as_deref().unwrap_or_default();
                let url =
                    model.address(&vm.id, port.port).map(|at| format!(" {at}")).unwrap_or_default();
                format!("{} {process}{url}", port.port).trim_end().to_owned()
            });
            let shown = shown.collect::<Vec<_>>().join(" · ");
            let shown = if shown.is_empty() { "nothing listens".to_owned() } else { shown };
            vec![pair(theme, "ports", shown)]
        }
    }
}
