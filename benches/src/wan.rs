//! `wan`: the product's transport between two network namespaces, over every path of the plan, beside TCP and plain
//! QUIC. In the order in which a cell meets them:
//!
//! - [`plan`]: every [`cell`] there is, and what it must reach; [`short`]: those of the gate
//! - [`agenda`]: which of them are due
//! - [`settings`]: how the product is configured in it
//! - [`trial`]: a path, two ends, a warm-up and a measurement; [`process`], [`iperf`] run what it needs
//! - [`timeline`], [`figures`], [`limit`]: from counters to figures
//! - [`store`]: results as they come, so that a bench can be stopped and go on
//! - [`verdict`], [`table`], [`plot`]: what to make of them
//! - [`stop`]: how it ends before its time

pub(crate) mod agenda;
pub(crate) mod cell;
pub(crate) mod figures;
pub(crate) mod iperf;
pub(crate) mod limit;
pub(crate) mod plan;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod settings;
pub(crate) mod short;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod timeline;
pub(crate) mod trial;
pub(crate) mod verdict;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use agenda::{Agenda, Wanted};
use cell::{Cell, Contestant, Figure};
use settings::Extra;
use stop::{Stop, Stopped};
use store::{Key, Line, Store};
use trial::{Bench, Trial};
use verdict::{Row, Verdict};

/// How often a trial is run whose emulator was late.
const ATTEMPTS: u32 = 3;

/// How much is measured where nothing else is said.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// For how long a steady cell is measured, in seconds.
    seconds: u64,
    /// How long it runs before that, in seconds.
    warm_up: u64,
    /// Trials of each contestant in each cell.
    seeds: u64,
}

const WHOLE: Form = Form { seconds: 15, warm_up: 6, seeds: 3 };
const QUICK: Form = Form { seconds: 10, warm_up: 4, seeds: 1 };
const SHORT: Form = Form { seconds: 6, warm_up: 3, seeds: 1 };

/// What is to be measured, and how.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WanArgs {
    /// Only this cell; may be given several times
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,
    /// Eight cells, one seed, within ten minutes
    #[arg(long)]
    quick: bool,
    /// The gate's short form: four cells, one seed, within two minutes; fails where one is not as it must be
    #[arg(long, conflicts_with_all = ["quick", "cells"])]
    short: bool,
    /// List the cells and what each must reach
    #[arg(long)]
    list: bool,
    /// How long a steady cell is measured, in seconds [default: 15; quick: 10; short: 6]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How long it runs before that, in seconds [default: 6; quick: 4; short: 3]
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<u64>,
    /// Trials of each contestant in each cell; the median counts [default: 3; quick and short: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Causeway alone, without TCP and plain QUIC beside it
    #[arg(long)]
    ours_only: bool,
    /// Where results go; those that are there already are not measured again
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    record_bytes: usize,
    /// Partitions of the topic
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    partitions: i32,
    /// A line of the sender's `[wan]`, such as 'linger = "1 ms"'; may be given several times
    #[arg(long, value_name = "TOML")]
    wan_line: Vec<String>,
    /// A line of the sender's top level, such as 'memory = "1 GiB"'
    #[arg(long, value_name = "TOML")]
    sender_line: Vec<String>,
    /// A line of the receiver's top level
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
            ensure!(all.iter().any(|cell| cell.name == *name), "there is no cell `{name}`; `wan --list` names them");
        }
        all.retain(|cell| self.cells.contains(&cell.name));
        Ok(all)
    }

    fn form(&self) -> Form {
        match (self.short, self.quick) {
            (true, _) => SHORT,
            (_, true) => QUICK,
            _ => WHOLE,
        }
    }

    fn bench(&self, logs: PathBuf, stop: Stop) -> Bench {
        let form = self.form();
        Bench {
            seconds: Duration::from_secs(self.seconds.unwrap_or(form.seconds)),
            warm_up: Duration::from_secs(self.warm_up.unwrap_or(form.warm_up)),
            record_bytes: self.record_bytes,
            partitions: self.partitions,
            extra: Extra {
                sender: self.sender_line.clone(),
                wan: self.wan_line.clone(),
                receiver: self.receiver_line.clone(),
            },
            logs,
            stop,
        }
    }

    fn seeds(&self) -> u64 {
        self.seeds.unwrap_or_else(|| self.form().seeds)
    }
}

/// Runs the bench; returns the exit code. What needs the machine's rights is done as the first process of a PID
/// namespace, so that nothing outlives it however it ends.
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
    let wanted = Wanted { seeds: args.seeds(), ours_only: args.ours_only };
    let agenda = Agenda::new(wanted, cells, bench.seconds, &store.done(), agenda::missing);
    for why in &agenda.left_out {
        eprintln!("benches: {why}");
    }
    let due = &agenda.due;
    let minutes = agenda.takes(&bench).as_secs().div_ceil(60);
    println!("{} trials, about {minutes} min, results in {}", due.len(), dir.display());
    for (index, (cell, key)) in due.iter().enumerate() {
        print!("{:>4}/{} {:<18} {:<11} seed {} ", index + 1, due.len(), cell.name, key.contestant.name(), key.seed);
        std::io::Write::flush(&mut std::io::stdout())?;
        let line = try_often(&bench, cell, key)?;
        println!("{}", in_short(&line));
        store.append(line)?;
        write(cells, &store, bench.record_bytes)?;
    }
    write(cells, &store, bench.record_bytes)?;
    let results = store.results();
    println!("\n{}", table::markdown(cells, &results));
    Ok(i32::from(args.short && !cells.iter().all(|cell| counts_and_is_met(cell, &results))))
}

/// Whether a cell is as it must be, by trials whose emulator was not late.
fn counts_and_is_met(cell: &Cell, results: &[&Line]) -> bool {
    let row = Row::of(cell, Contestant::Causeway, results);
    row.faults.is_empty() && Verdict::of(cell, &row) == Verdict::Met
}

/// Runs a trial, again where the emulator was late; the last one counts, whatever it was.
fn try_often(bench: &Bench, cell: &Cell, key: &Key) -> Result<Line> {
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
            return Ok(Line { key: key.clone(), attempts, error, measured });
        }
        print!("(the emulator was late, once more) ");
        std::io::Write::flush(&mut std::io::stdout())?;
        attempts += 1;
    }
}

fn in_short(line: &Line) -> String {
    if let Some(error) = &line.error {
        return format!("FAILED: {error}");
    }
    let figures = &line.measured.figures;
    let show = |figure: Figure| figures.get(&figure).map(|value| format!("{} {}", figure.label(), figure.show(*value)));
    let shown = [
        Figure::Goodput,
        Figure::OfLimit,
        Figure::Delivered,
        Figure::Loss,
        Figure::QueueP50,
        Figure::Settled,
        Figure::Share,
        Figure::LatencyP99,
        Figure::SenderCpu,
        Figure::ReceiverCpu,
    ];
    let mut parts: Vec<String> = shown.into_iter().filter_map(show).collect();
    if let Some(why) = &line.measured.invalid {
        parts.push(format!("INVALID after {} attempts: {why}", line.attempts));
    }
    parts.join(", ")
}

/// Table and pictures as far as they go.
fn write(cells: &[Cell], store: &Store, record_bytes: usize) -> Result<()> {
    let results = store.results();
    let table = Some(table::markdown(cells, &results));
    let (matrix, timelines) = (plot::matrix(cells, &results, record_bytes), plot::timelines(cells, &results));
    for (name, text) in [("table.md", table), ("matrix.svg", matrix), ("timelines.svg", timelines)] {
        let path = store.dir().join(name);
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
    fn the_quick_set_takes_ten_minutes_at_most_with_everybody_in_it() {
        let args = args(&["--quick"]);
        let (cells, bench) = (args.chosen().unwrap(), args.bench(PathBuf::new(), Stop::default()));
        let wanted = Wanted { seeds: args.seeds(), ours_only: false };
        let agenda = Agenda::new(wanted, &cells, bench.seconds, &HashSet::new(), |_, _| None);
        assert!(agenda.due.len() > cells.len());
        assert!(agenda.takes(&bench) <= Duration::from_secs(600), "{:?}", agenda.takes(&bench));
    }

    #[test]
    fn the_short_form_takes_two_minutes_at_most() {
        let args = args(&["--short"]);
        let (cells, bench) = (args.chosen().unwrap(), args.bench(PathBuf::new(), Stop::default()));
        let agenda =
            Agenda::new(Wanted { seeds: 1, ours_only: false }, &cells, bench.seconds, &HashSet::new(), |_, _| None);
        assert!(agenda.takes(&bench) <= Duration::from_secs(120), "{:?}", agenda.takes(&bench));
    }

    #[test]
    fn a_cell_is_found_by_its_name_and_a_wrong_name_is_said() {
        assert_eq!(args(&["--cell", "dark-3s", "--cell", "cpu"]).chosen().unwrap().len(), 2);
        let error = args(&["--cell", "darkness"]).chosen().unwrap_err().to_string();
        assert!(error.contains("`darkness`"), "{error}");
    }
}
