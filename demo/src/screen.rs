//! The output of the demo: a line of progress, redrawn on a terminal; the events; and the verdict.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use service::format::grouped;
use service::lock::Lock;

use super::journal::{Counts, Journal};

const REDRAW: Duration = Duration::from_millis(200);
const REWRITE: Duration = Duration::from_secs(2);
/// Time over which records per second are averaged.
const RATE_OVER: Duration = Duration::from_secs(2);

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
        println!("\n     time        sent     arrived       lag  records/s   wire MB  wire/record byte");
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
        // A closed pipe is no reason to stop counting.
        let _ = if self.terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Prints an event. On a terminal the progress line before it stays.
    pub(crate) fn say(&self, what: &str) {
        let seconds = self.inner.lock().began.elapsed().as_secs_f64();
        self.end_line();
        println!("{seconds:>7.1} s  {}", self.painted("36", what));
    }

    pub(crate) fn verdict(&self, journal: &Journal, wire_bytes: u64, trouble: &[String]) {
        self.end_line();
        let counts = journal.counts();
        let row = |name: &str, value: String| println!("  {name:<22}{value:>14}");
        let bad = |name: &str, count: u64| {
            let value = format!("{:>14}", grouped(count));
            println!("  {name:<22}{}", if count == 0 { value } else { self.painted("31", &value) });
        };
        println!();
        row("records sent", grouped(counts.sent));
        row("records arrived", grouped(counts.arrived));
        bad("lost", counts.lost);
        bad("doubled", counts.doubled);
        bad("reordered", counts.reordered);
        bad("changed", counts.changed);
        let millis = |quantile| format!("{:.0} ms", journal.latency(quantile).as_secs_f64() * 1e3);
        row("replication p50", millis(0.50));
        row("replication p99", millis(0.99));
        row("record bytes", format!("{:.1} MB", megabytes(counts.bytes)));
        row("wire bytes", format!("{:.1} MB", megabytes(wire_bytes)));
        row("wire per record byte", format!("{:.2}", per(wire_bytes, counts.bytes)));
        println!();
        for line in trouble {
            println!("  {line}");
        }
        let (word, colour) = if counts.exact() { ("exact", "1;32") } else { ("BROKEN", "1;31") };
        let line = format!(
            "verdict: {word}: {} sent, {} arrived, {} lost, {} doubled, {} reordered, {} changed",
            grouped(counts.sent),
            grouped(counts.arrived),
            grouped(counts.lost),
            grouped(counts.doubled),
            grouped(counts.reordered),
            grouped(counts.changed)
        );
        println!("  {}", self.painted(colour, &line));
    }

    fn end_line(&self) {
        if self.terminal && self.inner.lock().shown.take().is_some() {
            println!();
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
