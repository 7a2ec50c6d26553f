//! How far a measurement is, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over the runs; nothing where standard error is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of so many runs.
    pub fn of(what: &'static str, runs: u32) -> Self {
        let bar = ProgressBar::new(runs.into());
        // The template is constant and valid; the default is readable too.
        let style = ProgressStyle::with_template("{prefix:12} {bar:24} {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        bar.set_prefix(what);
        Self(bar)
    }

    /// One more run is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
