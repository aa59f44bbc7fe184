//! Showing a download: a bar on a terminal, lines elsewhere.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mic_run::cli::note;

use crate::download::Event;
use crate::text::bytes;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// Shows what a download does.
pub(crate) struct Progress {
    quiet: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    name: String,
    total: u64,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            state: RefCell::default(),
        }
    }

    pub(crate) fn hear(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        match event {
            Event::Note(text) => match &state.bar {
                Some(bar) => bar.suspend(|| note(&text)),
                None => note(&text),
            },
            _ if self.quiet => (),
            Event::Begin(name, at, total) => state.begin(name, at, total),
            Event::At(at) => state.at(at),
            Event::End => {
                if let Some(bar) = state.bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

impl State {
    fn begin(&mut self, name: String, at: u64, total: u64) {
        (self.name, self.total) = (name, total);
        self.told = Some(Instant::now());
        if !std::io::stderr().is_terminal() {
            return;
        }
        let style = "{msg}  {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(total));
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(self.name.clone());
        bar.set_position(at);
        // The speed is that of this process.
        bar.reset_eta();
    }

    fn at(&mut self, at: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(at),
            None if self.told.is_some_and(|told| told.elapsed() >= LINES) => {
                self.told = Some(Instant::now());
                let (at, total) = (bytes(at), bytes(self.total));
                note(&format!("{}: {at} of {total}", self.name));
            }
            None => (),
        }
    }
}
