//! Command `link`: what a whole link costs, and how long its records take, from one real Kafka cluster to another over
//! an emulated WAN. It prints one binary's figures beside those of an earlier one, from one run.
//!
//! - `stage`: clusters, the path between them, and a link's processes
//! - `records`: records that are written to the source
//! - `latency`: from the write to a reader of the target, at a steady rate
//! - `backlog`: how fast a backlog is carried, and what it costs
//! - `start`: from the start of a process to the first record
//! - `hub`: one receiver with many links

mod backlog;
mod hub;
mod latency;
mod records;
mod stage;
mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use harness::process::use_binary;

use stage::{Settings, Stage};

/// Arguments of the command `link`.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// Binary to measure; build it with `cargo build --release`
    #[arg(long, default_value = "target/release/causeway")]
    binary: PathBuf,
    /// Binary of an earlier release, measured beside it
    #[arg(long)]
    before: Option<PathBuf>,
    /// Rows to measure, by their beginning; every row if none is given
    rows: Vec<String>,
    /// Property of the sender's Kafka client, such as `fetch.min.bytes=4096`
    #[arg(long = "source-client", value_name = "KEY=VALUE")]
    source_client: Vec<String>,
    /// Property of the receiver's Kafka client, such as `linger.ms=1`
    #[arg(long = "target-client", value_name = "KEY=VALUE")]
    target_client: Vec<String>,
    /// Setting of the sender, such as `lanes.count=2`
    #[arg(long = "sender", value_name = "KEY=VALUE")]
    sender: Vec<String>,
    /// Runs of each row, the binaries in turns; each run is printed
    #[arg(long, default_value_t = 1)]
    runs: u32,
}

/// Runs of the heaviest row of latencies before the first that counts. During the first two, Java's compiler takes 40 % of a core of
/// the target's broker.
const WARM_UPS: usize = 4;

/// What one row measures.
type Measure = fn(&Stage, &Path) -> Result<Vec<Figure>>;

/// One figure of a row.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit }
    }
}

/// The rows, in the order in which they are measured.
const ROWS: [(&str, Measure); 14] = [
    ("20/s, 8 partitions", |stage, binary| latency::measure(stage, binary, 20, 8)),
    ("300/s, 8 partitions", |stage, binary| latency::measure(stage, binary, 300, 8)),
    ("3000/s, 8 partitions", |stage, binary| latency::measure(stage, binary, 3_000, 8)),
    ("300/s, 64 partitions", |stage, binary| latency::measure(stage, binary, 300, 64)),
    ("3000/s, 64 partitions", |stage, binary| latency::measure(stage, binary, 3_000, 64)),
    ("backlog, 1 partition", |stage, binary| backlog::measure(stage, binary, 1)),
    ("backlog, 8 partitions", |stage, binary| backlog::measure(stage, binary, 8)),
    ("backlog, 32 partitions", |stage, binary| backlog::measure(stage, binary, 32)),
    ("backlog, 128 partitions", |stage, binary| backlog::measure(stage, binary, 128)),
    ("start", start::measure_start),
    ("restart of the receiver under load", start::measure_restart),
    ("hub, 20 links of 4 partitions", |stage, binary| hub::measure(stage, binary, 20)),
    ("hub, 40 links of 4 partitions", |stage, binary| hub::measure(stage, binary, 40)),
    ("hub, 200 links of 4 partitions", |stage, binary| hub::measure(stage, binary, 200)),
];

/// Measures every row that was asked for. Returns the exit code.
pub(crate) fn run(args: &LinkArgs) -> Result<i32> {
    let wanted = |name: &str| args.rows.is_empty() || args.rows.iter().any(|row| name.starts_with(row.as_str()));
    let rows: Vec<_> = ROWS.iter().filter(|(name, _)| wanted(name)).collect();
    if rows.is_empty() {
        bail!(
            "no row begins with {:?}; the rows are {}",
            args.rows,
            ROWS.map(|(name, _)| format!("{name:?}")).join(", ")
        )
    }
    let binaries: Vec<&Path> = args.before.iter().chain([&args.binary]).map(PathBuf::as_path).collect();
    for binary in &binaries {
        ensure!(binary.is_file(), "{} is no file; `cargo build --release` makes one", binary.display());
    }
    use_binary(&args.binary)?;
    let settings = Settings {
        source_client: properties(&args.source_client)?,
        target_client: properties(&args.target_client)?,
        sender: properties(&args.sender)?,
    };
    let stage = Stage::start(settings)?;
    if rows.iter().any(|(name, _)| name.contains("/s")) {
        println!("warming up for two minutes: Java compiles the brokers' code");
        (0..WARM_UPS).try_for_each(|_| latency::measure(&stage, &args.binary, 3_000, 64).map(drop))?;
    }
    for (name, measure) in rows {
        println!("{name}");
        for run in 1..=args.runs {
            for binary in &binaries {
                let label =
                    if binaries.len() > 1 && args.before.as_deref() == Some(*binary) { "before" } else { "now" };
                match measure(&stage, binary) {
                    Ok(figures) => println!("  {label:<7} {run}: {}", line(&figures)),
                    Err(error) => println!("  {label:<7} {run}: failed: {error:#}"),
                }
            }
        }
    }
    Ok(0)
}

/// Returns the key and the value of each property.
fn properties(texts: &[String]) -> Result<Vec<(String, String)>> {
    let split = |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    texts.iter().map(|text| split(text).with_context(|| format!("{text:?} is no KEY=VALUE"))).collect()
}

fn line(figures: &[Figure]) -> String {
    let text = |figure: &Figure| format!("{} {:.*} {}", figure.name, decimals(figure.value), figure.value, figure.unit);
    figures.iter().map(text).collect::<Vec<_>>().join(" · ")
}

fn decimals(value: f64) -> usize {
    if value < 10.0 { 2 } else { 0 }
}
