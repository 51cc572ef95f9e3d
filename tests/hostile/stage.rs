//! The receiver under attack and its healthy link, which carries 500 records per second meanwhile.
//!
//! The receiver serves two links: the healthy one, and one for the attacker whose certificate has [`EVIL_NAME`].
//! [`Stage::during`] runs an attack and measures what it costs; [`Stage::finish`] proves that the healthy link carried
//! every record exactly once and that both processes leave on SIGTERM within 10 s.

use std::fmt;
use std::fs;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::journal::{Load, Writer, millis_now};
use harness::latency::Latencies;
use harness::pair::Pair;
use harness::process::Process;
use harness::{topics, verify, wait};
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::attacker::tls::Authority;
use crate::attacker::{Attacker, EVIL_NAME};

/// DNS name in the healthy sender's certificate.
const HEALTHY_NAME: &str = "healthy.test";

const PATIENCE: Duration = Duration::from_secs(60);
/// Time limit of SIGTERM, as `docs/operate.md` promises it.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// Worst delay of a healthy record on two busy cores, and most growth of memory next to an attack that holds nothing.
const CALM_DELAY: Duration = Duration::from_secs(3);
const CALM_GROWTH: u64 = 16 << 20;

const RATE: u32 = 500;
const PARTITIONS: i32 = 4;

/// Running receiver and healthy link. Dropping it ends both.
pub(crate) struct Stage {
    pub(crate) receiver: Process,
    pub(crate) sender: Process,
    /// Attacker of this receiver.
    pub(crate) attacker: Attacker,
    /// Configuration of both sides.
    pub(crate) files: LinkFiles,
    /// Runtime on which attacks run.
    runtime: Runtime,
    latencies: Latencies,
    writer: Writer,
    pub(crate) pair: Pair,
}

/// What an attack cost the receiver and its healthy link.
#[derive(Debug)]
pub(crate) struct Cost {
    what: String,
    pub(crate) took: Duration,
    /// Resident memory of the receiver before, at its peak during, and after the attack, in bytes.
    pub(crate) resident_before: u64,
    pub(crate) resident_peak: u64,
    pub(crate) resident_after: u64,
    /// Most threads of the receiver.
    pub(crate) threads: usize,
    pub(crate) cpu_seconds: f64,
    /// Lines that the receiver logged.
    pub(crate) log: Vec<String>,
    /// Delays of the healthy link's records that were written during the attack and just after it, in milliseconds.
    pub(crate) delays: Histogram<u64>,
}

impl Stage {
    /// Starts a receiver and a healthy link whose names begin with `name`.
    pub(crate) fn start(name: &str) -> Result<Self> {
        Self::start_with(name, |_| {})
    }

    /// Starts them with changes to their configuration.
    pub(crate) fn start_with(name: &str, configure: impl FnOnce(&mut LinkFiles)) -> Result<Self> {
        let pair = Pair::shared_alone()?;
        let topic = topics::create_unique(&pair.source, name, PARTITIONS)?;
        let mut files = LinkFiles::new(&topics::unique(name), &pair.source, &pair.target, &[&topic])?;
        let evil = topics::unique("evil");
        let authority = Authority::new(&files.pki().join("attacked"))?;
        authority.write("receiver", &["127.0.0.1"])?;
        authority.write("healthy", &[HEALTHY_NAME])?;
        for (side, certificate) in [(&mut files.receiver, "receiver"), (&mut files.sender, "healthy")] {
            for (key, file) in [
                ("ca", "ca.pem".to_owned()),
                ("certificate", format!("{certificate}.pem")),
                ("key", format!("{certificate}.key")),
            ] {
                side.set("tls", key, &format!("{:?}", authority.dir().join(file)));
            }
        }
        files.receiver.set("", "memory", "\"128 MiB\"").set("[links]", "senders", &format!("[{HEALTHY_NAME:?}]"));
        for (key, value) in [
            ("name", format!("{evil:?}")),
            ("senders", format!("[{EVIL_NAME:?}]")),
            ("topics", format!("[\"{evil}.*\"]")),
        ] {
            files.receiver.set("[links]#2", key, &value);
        }
        files.sender.set("", "memory", "\"64 MiB\"").set("lanes", "count", "2");
        configure(&mut files);

        let receiver = files.receiver.start()?;
        receiver.admin.wait_until_ready(PATIENCE)?;
        let sender = files.sender.start()?;
        let listen = files.receiver.get("", "listen").context("the receiver has no address")?;
        let attacker = Attacker::new(listen.trim_matches('"').parse()?, authority, evil, pair.source.id().to_owned());
        // The link is open once its first record has arrived: attacks begin then.
        let writer = Load::new(&topic, PARTITIONS).rate(RATE).value_max(1_000).stamped_now().start(&pair.source)?;
        let latencies = Latencies::start_when_created(&pair.target, &topic, PARTITIONS, PATIENCE)?;
        wait::until("the healthy link's first record", PATIENCE, || latencies.newest())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { receiver, sender, attacker, files, runtime, latencies, writer, pair })
    }

    /// Runs an attack and returns its result and its cost. Waits until the healthy link has carried what was written
    /// before the attack ended.
    pub(crate) fn during<T>(&self, what: &str, attack: impl Future<Output = Result<T>>) -> Result<(T, Cost)> {
        let pid = self.receiver.pid();
        let resident_before = self.receiver.resident()?;
        // Resets the peak of the resident memory (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let cpu = self.receiver.cpu_seconds()?;
        let logged = self.receiver.log()?.lines().count();
        let began = millis_now();
        let started = Instant::now();
        let is_over = AtomicBool::new(false);
        let threads = AtomicUsize::new(0);
        let done = thread::scope(|scope| {
            scope.spawn(|| {
                let sample = || {
                    let found = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
                    threads.fetch_max(found, Ordering::Relaxed);
                    is_over.load(Ordering::Relaxed).then_some(())
                };
                let _ = wait::until("the attack to end", Duration::from_secs(600), sample);
            });
            let done = self.runtime.block_on(attack);
            is_over.store(true, Ordering::Relaxed);
            done
        });
        let ended = millis_now();
        let done = done.with_context(|| what.to_owned())?;
        let carried = wait::until("the healthy link's records", PATIENCE, || {
            self.latencies.newest().filter(|&newest| newest >= ended)
        })?;
        let cost = Cost {
            what: what.to_owned(),
            took: started.elapsed(),
            resident_before,
            resident_peak: self.receiver.resident_peak()?,
            resident_after: self.receiver.resident()?,
            threads: threads.into_inner(),
            cpu_seconds: self.receiver.cpu_seconds()? - cpu,
            log: self.receiver.log()?.lines().skip(logged).map(str::to_owned).collect(),
            delays: self.latencies.between(began, carried)?,
        };
        println!("{cost}");
        Ok((done, cost))
    }

    /// Stops the writer, compares every record of the healthy link, and ends both processes by SIGTERM.
    pub(crate) fn finish(mut self) -> Result<()> {
        let written = self.writer.stop()?.written;
        verify::wait_until_delivered(&written, &self.pair.target, "{topic}", PATIENCE)?;
        println!("healthy link: {}", verify::ensure_exactly_once(&written, &self.pair.target, "{topic}")?);
        for process in [&mut self.receiver, &mut self.sender] {
            let asked = Instant::now();
            let code = process.terminate(LEAVES_WITHIN)?;
            println!("left {:?} after SIGTERM", asked.elapsed());
            ensure!(code == 0, "exit code {code}");
        }
        Ok(())
    }
}

impl Cost {
    /// Memory that the attack added at its peak, in bytes.
    pub(crate) fn growth(&self) -> u64 {
        self.resident_peak.saturating_sub(self.resident_before)
    }

    /// Ensures that the healthy link was carried without a long delay, and that the receiver's memory grew by little.
    pub(crate) fn ensure_calm(&self) -> Result<()> {
        ensure!(!self.delays.is_empty(), "{}: no record of the healthy link", self.what);
        let worst = Duration::from_millis(self.delays.max());
        ensure!(worst <= CALM_DELAY, "{}: a record of the healthy link took {worst:?}", self.what);
        ensure!(self.growth() <= CALM_GROWTH, "{}: memory grew by {}", self.what, mib(self.growth()));
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.1} s; RSS {} before, {} peak, {} after; {} threads; {:.2} s CPU; {} log lines of {} bytes; \
             healthy link: {} records, median {} ms, worst {} ms",
            self.what,
            self.took.as_secs_f64(),
            mib(self.resident_before),
            mib(self.resident_peak),
            mib(self.resident_after),
            self.threads,
            self.cpu_seconds,
            self.log.len(),
            self.log.iter().map(String::len).sum::<usize>(),
            self.delays.len(),
            self.delays.value_at_quantile(0.5),
            self.delays.max(),
        )
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
