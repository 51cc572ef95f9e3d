//! The command `wan`: measures the product's transport between two network namespaces, over every path of the plan, and
//! TCP and plain QUIC for comparison. In the order in which a cell passes through them:
//!
//! - [`plan`]: every [`cell`] and its bounds; [`short`]: the cells of the gate; [`limit`]: the highest possible goodput
//! - [`agenda`]: the trials that are due
//! - [`trial`]: configures and runs both ends over a path, and measures
//! - [`results`]: figures, their store, and the verdict, table and plots made of them
//! - [`stop`]: ends the bench early
pub(crate) mod agenda;
pub(crate) mod cell;
pub(crate) mod limit;
pub(crate) mod plan;
pub(crate) mod results;
pub(crate) mod short;
pub(crate) mod stop;
pub(crate) mod trial;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use agenda::{Agenda, Selection};
use cell::{Cell, Contestant, Figure};
use results::store::{Store, TrialKey, TrialResult};
use results::verdict::{Row, Verdict};
use results::{plot, table};
use stop::{Stop, Stopped};
use trial::settings::ExtraLines;
use trial::{Bench, Trial};

/// Attempts at a trial whose emulator is late.
const ATTEMPTS: u32 = 3;

/// Durations and number of seeds of a set of cells, unless the user gives others.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    /// Time for which a steady cell is measured, in seconds.
    seconds: u64,
    /// Warm-up of a steady cell, in seconds.
    warm_up: u64,
    seeds: u64,
}

const FULL: Defaults = Defaults { seconds: 15, warm_up: 6, seeds: 3 };
const QUICK: Defaults = Defaults { seconds: 10, warm_up: 4, seeds: 1 };
const SHORT: Defaults = Defaults { seconds: 6, warm_up: 3, seeds: 1 };

#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WanArgs {
    /// Measure only this cell; can be repeated
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,
    /// Measure eight cells with one seed, within ten minutes
    #[arg(long)]
    quick: bool,
    /// Measure the gate's short set: four cells with one seed, within two minutes; fails if a cell misses a bound
    #[arg(long, conflicts_with_all = ["quick", "cells"])]
    short: bool,
    /// List the cells and their bounds
    #[arg(long)]
    list: bool,
    /// Time for which a steady cell is measured, in seconds [default: 15; quick: 10; short: 6]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Warm-up of a steady cell, in seconds [default: 6; quick: 4; short: 3]
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<u64>,
    /// Trials of each contestant in each cell, of which the median counts [default: 3; quick and short: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Measure only Causeway, without TCP and plain QUIC
    #[arg(long)]
    ours_only: bool,
    /// Directory of results; trials that it contains are not repeated
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    record_bytes: usize,
    /// Partitions of the topic
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    partitions: i32,
    /// Line to add to the sender's `[wan]`, such as 'linger = "1 ms"'; can be repeated
    #[arg(long, value_name = "TOML")]
    wan_line: Vec<String>,
    /// Line to add to the sender's top level, such as 'memory = "1 GiB"'; can be repeated
    #[arg(long, value_name = "TOML")]
    sender_line: Vec<String>,
    /// Line to add to the receiver's top level; can be repeated
    #[arg(long, value_name = "TOML")]
    receiver_line: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p benches -- wan --quick
  cargo run --release -p benches -- wan --cell 300-200ms-2pct --seeds 1 --ours-only
  cargo run --release -p benches -- wan --resume target/wan";

impl WanArgs {
    fn chosen(&self) -> Result<Vec<Cell>> {
        if self.short {
            return Ok(short::all());
        }
        if self.cells.is_empty() {
            return Ok(if self.quick { plan::quick() } else { plan::all() });
        }
        let mut all = plan::all();
        for name in &self.cells {
            ensure!(
                all.iter().any(|cell| cell.name == *name),
                "there is no cell `{name}`; `wan --list` shows all cells"
            );
        }
        all.retain(|cell| self.cells.contains(&cell.name));
        Ok(all)
    }

    fn defaults(&self) -> Defaults {
        match (self.short, self.quick) {
            (true, _) => SHORT,
            (_, true) => QUICK,
            _ => FULL,
        }
    }

    fn bench(&self, logs: PathBuf, stop: Stop) -> Bench {
        let defaults = self.defaults();
        Bench {
            seconds: Duration::from_secs(self.seconds.unwrap_or(defaults.seconds)),
            warm_up: Duration::from_secs(self.warm_up.unwrap_or(defaults.warm_up)),
            record_bytes: self.record_bytes,
            partitions: self.partitions,
            extra: ExtraLines {
                sender: self.sender_line.clone(),
                wan: self.wan_line.clone(),
                receiver: self.receiver_line.clone(),
            },
            logs,
            stop,
        }
    }

    fn seeds(&self) -> u64 {
        self.seeds.unwrap_or_else(|| self.defaults().seeds)
    }
}

/// Runs the bench and returns the exit code. Trials run in a PID namespace, so that no process outlives the bench.
pub(crate) fn run(args: &WanArgs) -> Result<i32> {
    let cells = args.chosen()?;
    if args.list {
        list(&cells);
        return Ok(0);
    }
    Ok(netem::tun::run_as_first_process(|| {
        let measured = measure(args, &cells);
        Ok(measured.unwrap_or_else(|error| {
            eprintln!("benches: {error:#}");
            if error.is::<Stopped>() { 130 } else { 1 }
        }))
    })?)
}

fn list(cells: &[Cell]) {
    for cell in cells {
        println!("{:<18} {cell}", cell.name);
        println!("{:<18} {}", "", cell.bounds());
    }
}

fn measure(args: &WanArgs, cells: &[Cell]) -> Result<i32> {
    let stop = Stop::on_signals()?;
    let dir = match &args.resume {
        Some(dir) => dir.clone(),
        None => PathBuf::from(format!("target/wan-bench/{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))),
    };
    let mut store = Store::open(&dir)?;
    let bench = args.bench(dir.join("logs"), stop);
    fs::create_dir_all(&bench.logs)?;
    let selection = Selection { seeds: args.seeds(), causeway_only: args.ours_only };
    let agenda = Agenda::new(selection, cells, bench.seconds, &store.done(), agenda::missing);
    for why in &agenda.left_out {
        eprintln!("benches: {why}");
    }
    let due = &agenda.due;
    let minutes = agenda.takes(&bench).as_secs().div_ceil(60);
    println!("{} trials, about {minutes} min, results in {}", due.len(), dir.display());
    for (index, (cell, key)) in due.iter().enumerate() {
        print!("{:>4}/{} {:<18} {:<11} seed {} ", index + 1, due.len(), cell.name, key.contestant.name(), key.seed);
        std::io::Write::flush(&mut std::io::stdout())?;
        let result = run_until_valid(&bench, cell, key)?;
        println!("{}", summary(&result));
        store.append(result)?;
        write(cells, &store, bench.record_bytes)?;
    }
    write(cells, &store, bench.record_bytes)?;
    let results = store.results();
    println!("\n{}", table::markdown(cells, &results));
    Ok(i32::from(args.short && !cells.iter().all(|cell| counts_and_is_met(cell, &results))))
}

/// Returns true if a cell keeps its bounds, in trials whose emulator was not late.
fn counts_and_is_met(cell: &Cell, results: &[&TrialResult]) -> bool {
    let row = Row::of(cell, Contestant::Causeway, results);
    row.faults.is_empty() && Verdict::of(cell, &row) == Verdict::Met
}

/// Runs a trial, and repeats it while the emulator is late. The last attempt counts, even if it is invalid.
fn run_until_valid(bench: &Bench, cell: &Cell, key: &TrialKey) -> Result<TrialResult> {
    let trial = Trial { bench, cell, contestant: key.contestant, seed: key.seed };
    let mut attempts = 1;
    loop {
        let (error, measured) = match trial.run() {
            Ok(measured) => (None, measured),
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => (Some(format!("{error:#}")), Default::default()),
        };
        bench.stop.check()?;
        if measured.invalid.is_none() || attempts == ATTEMPTS {
            return Ok(TrialResult { key: key.clone(), attempts, error, measured });
        }
        print!("(the emulator was late, repeating) ");
        std::io::Write::flush(&mut std::io::stdout())?;
        attempts += 1;
    }
}

fn summary(result: &TrialResult) -> String {
    use Figure::*;
    if let Some(error) = &result.error {
        return format!("FAILED: {error}");
    }
    let figures = &result.measured.figures;
    let show = |figure: Figure| figures.get(&figure).map(|value| format!("{} {}", figure.label(), figure.show(*value)));
    let shown = [Goodput, OfLimit, Delivered, Loss, QueueP50, Recovery, Share, LatencyP99, SenderCpu, ReceiverCpu];
    let mut parts: Vec<String> = shown.into_iter().filter_map(show).collect();
    if let Some(why) = &result.measured.invalid {
        parts.push(format!("INVALID after {} attempts: {why}", result.attempts));
    }
    parts.join(", ")
}

fn write(cells: &[Cell], store: &Store, record_bytes: usize) -> Result<()> {
    let results = store.results();
    let table = Some(table::markdown(cells, &results));
    let matrix = plot::matrix(cells, &results, record_bytes);
    let timelines = plot::timelines(cells, &results);
    for (name, text) in [("table.md", table), ("matrix.svg", matrix), ("timelines.svg", timelines)] {
        let path = store.dir.join(name);
        if let Some(text) = text {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        wan: WanArgs,
    }

    fn args(words: &[&str]) -> WanArgs {
        CommandLine::try_parse_from([&["wan"], words].concat()).unwrap().wan
    }

    #[test]
    fn the_quick_set_takes_at_most_ten_minutes() {
        let args = args(&["--quick"]);
        let cells = args.chosen().unwrap();
        let bench = args.bench(PathBuf::new(), Stop::default());
        let selection = Selection { seeds: args.seeds(), causeway_only: false };
        let agenda = Agenda::new(selection, &cells, bench.seconds, &HashSet::new(), |_, _| None);
        assert!(agenda.due.len() > cells.len());
        assert!(agenda.takes(&bench) <= Duration::from_secs(600), "{:?}", agenda.takes(&bench));
    }

    #[test]
    fn the_short_set_takes_at_most_two_minutes() {
        let args = args(&["--short"]);
        let cells = args.chosen().unwrap();
        let bench = args.bench(PathBuf::new(), Stop::default());
        let selection = Selection { seeds: 1, causeway_only: false };
        let agenda = Agenda::new(selection, &cells, bench.seconds, &HashSet::new(), |_, _| None);
        assert!(agenda.takes(&bench) <= Duration::from_secs(120), "{:?}", agenda.takes(&bench));
    }

    #[test]
    fn a_cell_is_found_by_name_and_an_unknown_name_is_shown() {
        assert_eq!(args(&["--cell", "outage-3s", "--cell", "cpu"]).chosen().unwrap().len(), 2);
        let error = args(&["--cell", "outages"]).chosen().unwrap_err().to_string();
        assert!(error.contains("`outages`"), "{error}");
    }
}
