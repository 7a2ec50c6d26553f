//! Charts, as SVG without styles of its own: the colours are the style sheet's.

use std::collections::VecDeque;

use banger_core::api::Stats;
use banger_core::duration::duration;
use banger_core::fold::StageView;
use maud::{Markup, html};

use super::bytes;

/// How many points a chart has: one a second.
const POINTS: usize = 120;
/// The width and height of a chart, in its own units.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 60.0;

/// What a VM took, second by second, since somebody looks.
#[derive(Default)]
pub struct History {
    cpu: VecDeque<f64>,
    memory: VecDeque<f64>,
    disk: VecDeque<f64>,
    /// When the last look was.
    at_ms: u64,
}

impl History {
    /// Adds what it took then, unless that was added before.
    pub fn add(&mut self, at_ms: u64, stats: &Stats) {
        // The first look knows nothing of CPUs: that takes two.
        let Some(cpu_percent) = stats.cpu_percent else { return };
        if std::mem::replace(&mut self.at_ms, at_ms) == at_ms {
            return;
        }
        let disk = stats.disk.overlay_bytes + stats.disk.work_bytes;
        for (line, value) in [
            (&mut self.cpu, cpu_percent),
            (&mut self.memory, stats.rss_bytes.unwrap_or(0) as f64),
            (&mut self.disk, disk as f64),
        ] {
            if line.len() == POINTS {
                line.pop_front();
            }
            line.push_back(value);
        }
    }

    /// CPU, memory and disk.
    pub fn show(&self) -> Markup {
        let percent = |value: f64| format!("{value:.1} %");
        let size = |value: f64| bytes(value as u64);
        html! {
            div.charts {
                (line("CPU", &self.cpu, 100.0, percent))
                (line("Memory", &self.memory, 1.0, size))
                (line("Disk", &self.disk, 1.0, size))
            }
        }
    }
}

/// A line that ends at the right, its top at the highest value, or at `least` if that is more.
fn line(name: &str, values: &VecDeque<f64>, least: f64, text: impl Fn(f64) -> String) -> Markup {
    let top = values.iter().copied().fold(least, f64::max);
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let x = (POINTS - values.len() + i) as f64 * WIDTH / (POINTS - 1) as f64;
            let y = HEIGHT - value / top * (HEIGHT - 2.0) - 1.0;
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let now = values.back().map_or_else(|| "not yet known".to_owned(), |value| text(*value));
    html! {
        figure {
            figcaption {
                (name) ": "
                @if values.is_empty() { span.note { (now) } }
                @else { strong { (now) } span.note { ", the top is " (text(top)) } }
            }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" preserveAspectRatio="none"
                aria-label=(format!("{name} of the last two minutes, now {now}")) {
                line.axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                polyline.line points=(points.join(" ")) {}
            }
        }
    }
}

/// Stages below each other, each where its time lies in the whole.
pub fn waterfall(stages: &[StageView]) -> Markup {
    const ROW: f64 = 22.0;
    const LEFT: f64 = 72.0;
    const RIGHT: f64 = 72.0;
    const ALL: f64 = 400.0;
    let begin = stages.first().map_or(0, |stage| stage.started_at_ms);
    let offset = |stage: &StageView| stage.started_at_ms.saturating_sub(begin);
    let end = stages.iter().map(|stage| offset(stage) + stage.ms.unwrap_or(0)).max();
    let end = end.unwrap_or(0).max(1) as f64;
    let scale = (ALL - LEFT - RIGHT) / end;
    let height = ROW * stages.len() as f64;
    html! {
        div.wide tabindex="0" role="region" aria-label="Stages of the last start" {
            svg.waterfall viewBox=(format!("0 0 {ALL} {height}")) role="img"
                aria-label=(stages.iter().map(told).collect::<Vec<_>>().join(", ")) {
                @for (i, stage) in stages.iter().enumerate() {
                    @let y = i as f64 * ROW;
                    @let x = LEFT + offset(stage) as f64 * scale;
                    @let width = (stage.ms.unwrap_or(0) as f64 * scale).max(2.0);
                    text x="0" y=(y + 15.0) { (stage.name) }
                    rect.bar x=(format!("{x:.1}")) y=(y + 5.0) width=(format!("{width:.1}"))
                        height="12" rx="2" {}
                    text x=(format!("{:.1}", x + width + 6.0)) y=(y + 15.0) {
                        (stage.ms.map_or_else(|| "…".to_owned(), duration))
                    }
                }
            }
        }
    }
}

fn told(stage: &StageView) -> String {
    format!("{}: {}", stage.name, stage.ms.map_or_else(|| "under way".to_owned(), duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waterfall_has_each_stage_where_it_was() {
        let stage = |name: &str, started_at_ms, ms| StageView {
            name: name.to_owned(),
            started_at_ms,
            ms,
            progress: None,
        };
        let stages = [
            stage("boot", 1000, Some(100)),
            stage("agent", 1100, Some(3000)),
            stage("ssh", 4100, None),
        ];
        let shown = waterfall(&stages).into_string().replace("><", ">\n<");
        insta::assert_snapshot!(shown, @r#"
        <div class="wide" tabindex="0" role="region" aria-label="Stages of the last start">
        <svg class="waterfall" viewBox="0 0 400 66" role="img" aria-label="boot: 100 ms, agent: 3.0 s, ssh: under way">
        <text x="0" y="15">boot</text>
        <rect class="bar" x="72.0" y="5" width="8.3" height="12" rx="2">
        </rect>
        <text x="86.3" y="15">100 ms</text>
        <text x="0" y="37">agent</text>
        <rect class="bar" x="80.3" y="27" width="247.7" height="12" rx="2">
        </rect>
        <text x="334.0" y="37">3.0 s</text>
        <text x="0" y="59">ssh</text>
        <rect class="bar" x="328.0" y="49" width="2.0" height="12" rx="2">
        </rect>
        <text x="336.0" y="59">…</text>
        </svg>
        </div>
        "#);
    }

    #[test]
    fn a_chart_keeps_two_minutes() {
        let stats = |cpu_percent| Stats {
            cpu_ms: None,
            cpu_percent: Some(cpu_percent),
            rss_bytes: Some(1 << 20),
            uptime_s: None,
            disk: banger_core::api::DiskUse { overlay_bytes: 0, work_bytes: 0 },
            traffic: None,
        };
        let mut history = History::default();
        (0..500).for_each(|i| history.add(u64::try_from(i).unwrap() + 1, &stats(f64::from(i))));
        history.add(500, &stats(7.0));
        assert_eq!(history.cpu.len(), POINTS);
        let shown = history.show().into_string();
        assert!(shown.contains("499.0 %") && shown.contains("240.0,1.0"), "{shown}");
        // Without a value there is no point, and none that is not a number.
        assert!(!History::default().show().into_string().contains("NaN"));
    }
}
