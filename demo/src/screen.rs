//! The output of the demo: a line of progress, redrawn on a terminal; the events; and the verdict.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use service::format::grouped;
use service::lock::Lock;

use super::journal::{Counts, Journal};

/// Interval of the progress line on a terminal, where it is drawn over.
const REDRAW: Duration = Duration::from_millis(200);
/// Interval of the progress line elsewhere, where each one stays.
const REWRITE: Duration = Duration::from_secs(2);
/// Time over which records per second are averaged.
const RATE_OVER: Duration = Duration::from_secs(2);

/// Prints a line. A reader that has closed the output is no reason to stop counting.
pub(crate) fn print_line(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Standard output, as a terminal or as a file.
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    inner: Lock<Inner>,
}

struct Inner {
    began: Instant,
    shown: Option<Instant>,
    arrived: VecDeque<(Instant, u64)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        let inner = Inner { began: Instant::now(), shown: None, arrived: VecDeque::new() };
        Self { terminal, colour, inner: Lock::new(inner) }
    }

    /// Starts the clock and prints the head of the table.
    pub(crate) fn begin(&self) {
        self.inner.lock().began = Instant::now();
        print_line("\n     time        sent     arrived       lag  records/s   wire MB  wire/record byte");
    }

    pub(crate) fn progress(&self, counts: &Counts, wire_bytes: u64) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let every = if self.terminal { REDRAW } else { REWRITE };
        if inner.shown.is_some_and(|shown| now - shown < every) {
            return;
        }
        inner.shown = Some(now);
        let line = inner.line(now, counts, wire_bytes);
        let mut out = std::io::stdout().lock();
        let _ = if self.terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Prints an event. On a terminal the progress line before it stays.
    pub(crate) fn say(&self, what: &str) {
        let seconds = self.inner.lock().began.elapsed().as_secs_f64();
        self.end_line();
        print_line(format_args!("{seconds:>7.1} s  {}", self.painted("36", what)));
    }

    pub(crate) fn verdict(&self, journal: &Journal, wire_bytes: u64, trouble: &[String]) {
        self.end_line();
        let counts = journal.counts();
        let row = |name: &str, value: String| print_line(format_args!("  {name:<22}{value:>14}"));
        print_line("");
        row("records sent", grouped(counts.sent));
        row("records arrived", grouped(counts.arrived));
        let wrong = [
            ("lost", counts.lost),
            ("doubled", counts.doubled),
            ("reordered", counts.reordered),
            ("changed", counts.changed),
        ];
        for (name, count) in wrong {
            let value = format!("{:>14}", grouped(count));
            row(name, if count == 0 { value } else { self.painted("31", &value) });
        }
        let millis = |quantile| format!("{:.0} ms", journal.latency(quantile).as_secs_f64() * 1e3);
        row("replication p50", millis(0.50));
        row("replication p99", millis(0.99));
        row("record bytes", format!("{:.1} MB", megabytes(counts.bytes)));
        row("wire bytes", format!("{:.1} MB", megabytes(wire_bytes)));
        row("wire per record byte", format!("{:.2}", per(wire_bytes, counts.bytes)));
        print_line("");
        for line in trouble {
            print_line(format_args!("  {line}"));
        }
        let (word, colour) = if counts.exact() { ("exact", "1;32") } else { ("BROKEN", "1;31") };
        let [sent, arrived] = [counts.sent, counts.arrived].map(grouped);
        let wrong = wrong.map(|(name, count)| format!(", {} {name}", grouped(count))).concat();
        let line = format!("verdict: {word}: {sent} sent, {arrived} arrived{wrong}");
        print_line(format_args!("  {}", self.painted(colour, &line)));
    }

    fn end_line(&self) {
        if self.terminal && self.inner.lock().shown.take().is_some() {
            print_line("");
        }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Drop for Screen {
    /// Ends the progress line, so that later output begins on a new one.
    fn drop(&mut self) {
        self.end_line();
    }
}

impl Inner {
    fn line(&mut self, now: Instant, counts: &Counts, wire_bytes: u64) -> String {
        self.arrived.push_back((now, counts.arrived));
        while self.arrived.len() > 2 && now - self.arrived[1].0 >= RATE_OVER {
            self.arrived.pop_front();
        }
        let (then, before) = self.arrived[0];
        let seconds = (now - then).as_secs_f64();
        let rate = if seconds > 0.0 { (counts.arrived - before) as f64 / seconds } else { 0.0 };
        format!(
            "{:>7.1} s {:>11} {:>11} {:>9} {:>10} {:>9.1} {:>17.2}",
            (now - self.began).as_secs_f64(),
            grouped(counts.sent),
            grouped(counts.arrived),
            grouped(counts.lost),
            grouped(rate.round() as u64),
            megabytes(wire_bytes),
            per(wire_bytes, counts.arrived_bytes),
        )
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn per(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
