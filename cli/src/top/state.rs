//! What a process has said so far, and which part of it is on the screen. No I/O, no clock.

use std::time::Duration;

use super::ask::{Said, Shown};
use crate::history::{History, INTERVAL, Sample};
use jiff::Timestamp;

/// State of the screen.
pub(super) struct State {
    /// Admin port that is asked.
    pub(super) port: String,
    pub(super) now: Now,
    pub(super) history: History,
    /// Time of the newest sample for the curves.
    sampled: Option<Duration>,
    /// Lines above the screen.
    pub(super) top: usize,
}

/// What is known of this moment.
pub(super) enum Now {
    /// No answer yet.
    Asking,
    Known {
        at: Timestamp,
        /// Options of a command that name the port, with a space before them.
        options: String,
        shown: Box<Shown>,
    },
    Unreachable {
        since: Timestamp,
        reason: String,
    },
}

/// A request to show another part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scroll {
    Lines(isize),
    Pages(isize),
    Top,
    Bottom,
}

impl State {
    pub(super) fn new(port: String) -> Self {
        Self { port, now: Now::Asking, history: History::default(), sampled: None, top: 0 }
    }

    /// Takes in what was said; `at` is the time since the command started, `time` that of the clock.
    pub(super) fn handle(&mut self, said: Said, at: Duration, time: Timestamp) {
        match said {
            Said::Something { port, options, mut shown } => {
                self.port = port;
                if self.takes_sample(at) {
                    let (sample, links) = sample(&shown);
                    self.history.handle(at, sample);
                    self.history.handle_links(at, links);
                }
                if let Shown::Receiver { status, .. } = &mut *shown {
                    crate::overview::receiver::sort_by_trouble(status);
                }
                self.now = Now::Known { at: time, options, shown };
            }
            Said::Nothing { port, reason } => {
                self.port = port;
                let since = if let Now::Unreachable { since, .. } = self.now { since } else { time };
                if self.takes_sample(at) {
                    self.history.handle_silence(at);
                }
                self.now = Now::Unreachable { since, reason };
            }
        }
    }

    /// Returns whether it is time for the next sample.
    fn takes_sample(&mut self, at: Duration) -> bool {
        let is_time = self.sampled.is_none_or(|sampled| at.saturating_sub(sampled) >= INTERVAL);
        if is_time {
            self.sampled = Some(at);
        }
        is_time
    }

    /// Shows another part, of `height` lines of which `body` fit. It never ends above the last line.
    pub(super) fn scroll(&mut self, scroll: Scroll, height: usize, body: usize) {
        let last = height.saturating_sub(body);
        let top = self.top.min(last);
        self.top = match scroll {
            Scroll::Lines(lines) => top.saturating_add_signed(lines),
            Scroll::Pages(pages) => top.saturating_add_signed(pages * body.saturating_sub(1).max(1).cast_signed()),
            Scroll::Top => 0,
            Scroll::Bottom => last,
        }
        .min(last);
    }
}

fn sample(shown: &Shown) -> (Sample, Vec<(String, u64)>) {
    match shown {
        Shown::Sender { status, .. } => (Sample::of_sender(status), Vec::new()),
        Shown::Receiver { status, .. } => {
            let links = status.links.iter().map(|link| (link.link.clone(), link.counts.records));
            (Sample::of_receiver(status), links.collect())
        }
    }
}
