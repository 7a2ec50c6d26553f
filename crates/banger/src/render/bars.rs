//! A line a stage, the current one with a spinner or a bar.

use std::time::Duration;

use banger_core::fold::OperationView;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::duration;

/// The bars on the terminal.
pub struct Bars {
    all: MultiProgress,
    stages: Vec<ProgressBar>,
    warnings: usize,
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constant and valid; the default is readable too.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸ ")
}

impl Bars {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { all: MultiProgress::new(), stages: Vec::new(), warnings: 0 }
    }

    /// Brings the bars up to what is seen.
    pub fn show(&mut self, view: &OperationView) {
        for warning in view.warnings.iter().skip(self.warnings) {
            // Nobody is left to tell if the terminal is gone.
            let _ = self.all.println(format!("warning: {warning}"));
        }
        self.warnings = view.warnings.len();
        for (i, stage) in view.stages.iter().enumerate() {
            if self.stages.len() == i {
                let bar = self.all.add(ProgressBar::no_length());
                bar.set_style(style("{spinner} {prefix:12} {elapsed:>4} {msg}"));
                bar.set_prefix(stage.name.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                self.stages.push(bar);
            }
            let bar = &self.stages[i];
            if let Some(ms) = stage.ms {
                if !bar.is_finished() {
                    bar.set_style(style("✓ {prefix:12} {msg}"));
                    bar.finish_with_message(duration(ms));
                }
            } else if let Some((done, Some(total))) = stage.progress {
                bar.set_style(style(
                    "{spinner} {prefix:12} {elapsed:>4} {bar:24} {percent:>3} % {msg}",
                ));
                bar.set_length(total);
                bar.set_position(done);
            }
            if stage.ms.is_none()
                && let Some(line) = &view.last_line
            {
                bar.set_message(line.chars().take(60).collect::<String>());
            }
        }
    }

    /// Ends the spinners.
    pub fn end(&mut self) {
        for bar in &self.stages {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
    }
}
