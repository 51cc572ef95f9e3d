//! One cell, one contestant, one seed: build the path, start both ends, let them warm up, measure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netem::tun::{Site, SiteSettings};
use netem::{Conditions, Direction, Profile, Report, Script, Wan, parse_knobs};

use super::cell::{Cell, Change, Contestant, Scenario, Turn};
use super::figures::{Mark, Measured};
use super::iperf::Iperf;
use super::process::Process;
use super::settings::{self, Extra};
use super::stop::Stop;
use super::timeline::{Point, Timeline};
use crate::end::sample::{SenderSample, SinkSample};
use crate::end::{CUT, READY, RELOAD, RESET};
use crate::pki;

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long a receiving end may take to listen.
const LISTEN: Duration = Duration::from_secs(10);

/// How long a session may take to begin: some handshakes over a path that loses 5 % and takes 600 ms, and more. The
/// first record is not waited for: on a path that starves a contestant it takes minutes.
const SESSION: Duration = Duration::from_secs(60);

/// What is the same in all trials of a bench.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// How long a steady cell is measured.
    pub(crate) seconds: Duration,
    /// How long it runs before that.
    pub(crate) warm_up: Duration,
    /// Bytes of a record's value.
    pub(crate) record_bytes: usize,
    /// Partitions of the bulk topic.
    pub(crate) partitions: i32,
    /// Settings to be tried.
    pub(crate) extra: Extra,
    /// Where the ends' logs go.
    pub(crate) logs: PathBuf,
    pub(crate) stop: Stop,
}

/// What is measured now.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) cell: &'a Cell,
    pub(crate) contestant: Contestant,
    pub(crate) seed: u64,
}

/// Both ends over a path.
struct Pair {
    receiver: Process<SinkSample>,
    sender: Process<SenderSample>,
}

impl Trial<'_> {
    /// Measures. The emulator's own verdict is in the result.
    ///
    /// # Errors
    /// The machine's, and what the ends died of.
    pub(crate) fn run(&self) -> Result<Measured> {
        let dir = tempfile::Builder::new().prefix("causeway-bench-").tempdir()?;
        pki::init(dir.path())?;
        settings::write(dir.path(), self.cell, &self.bench.extra)?;
        let tcp = match self.cell.scenario {
            Scenario::BesideTcp => Some("cubic"),
            _ => self.contestant.tcp(),
        };
        let settings = SiteSettings { tcp: tcp.map(str::to_owned), ..SiteSettings::default() };
        let site = Site::build(self.wan()?, &settings).context("building the namespaces")?;
        match self.contestant {
            Contestant::TcpCubic | Contestant::TcpBbr => self.tcp(&site, dir.path()),
            Contestant::Causeway | Contestant::QuinnCubic => self.quic(&site, dir.path()),
        }
    }

    fn wan(&self) -> Result<Wan<Vec<u8>>> {
        let mut profile = Profile::both(Conditions::default().with(parse_knobs(&self.cell.path)?));
        profile.set(Direction::Back, parse_knobs(&self.cell.back)?);
        Ok(Wan::new(&profile, Script::default(), self.seed))
    }

    /// TCP measures itself; the emulator counts what is on the wire meanwhile.
    fn tcp(&self, site: &Site, dir: &Path) -> Result<Measured> {
        let (warm_up, measured) = (self.bench.warm_up, self.bench.seconds);
        let flow = Iperf::start(site, warm_up, measured, &dir.join("iperf3.json"))?;
        self.bench.stop.sleep(warm_up)?;
        let began = site.emulator.report();
        self.bench.stop.sleep(measured)?;
        let wire = site.emulator.report().since(&began);
        let goodput = flow.finish(&self.bench.stop)?;
        Ok(Measured::of_tcp(self.cell, self.bench.record_bytes, goodput, &wire))
    }

    fn quic(&self, site: &Site, dir: &Path) -> Result<Measured> {
        let mut pair = self.start(site, dir)?;
        let measured = self.cell.duration(self.bench.seconds);
        let warm_up = self.cell.warm_up(self.bench.warm_up);
        let beside = match self.cell.scenario {
            Scenario::BesideTcp => Some(Iperf::start(site, warm_up, measured, &dir.join("iperf3.json"))?),
            _ => None,
        };
        self.bench.stop.sleep(warm_up)?;
        if self.contestant == Contestant::Causeway {
            pair.receiver.tell(RESET)?;
        }
        let began = mark(site, &pair)?;
        let timeline = self.watch(site, &mut pair, measured, dir)?;
        let ended = mark(site, &pair)?;
        let other = beside.map(|flow| flow.finish(&self.bench.stop)).transpose()?;
        let mut measured = Measured::of_quic(self.cell, self.bench.record_bytes, &began, &ended);
        measured.beside(other);
        measured.changes(self.cell, timeline);
        Ok(measured)
    }

    /// Starts both ends; returns once they are in session.
    fn start(&self, site: &Site, dir: &Path) -> Result<Pair> {
        let (sending, receiving) = match self.contestant {
            Contestant::QuinnCubic => ("plain-sender", "plain-receiver"),
            _ => ("sender", "receiver"),
        };
        let log = |end: &str| {
            let name = format!("{}.{}.{}.{end}.log", self.cell.name, self.contestant.name(), self.seed);
            self.bench.logs.join(name)
        };
        let mut receiver = Process::spawn(&site.target, &mut self.command(receiving, dir)?, &log("receiver"))?;
        self.wait(LISTEN, "the receiver does not listen", || {
            receiver.ensure_running()?;
            Ok(receiver.has_said(READY))
        })?;
        let sender = Process::spawn(&site.source, &mut self.command(sending, dir)?, &log("sender"))?;
        let mut pair = Pair { receiver, sender };
        self.wait(SESSION, "no session has begun", || {
            pair.ensure_running()?;
            Ok(pair.sender.last().sessions > 0)
        })?;
        Ok(pair)
    }

    /// This very program as one end.
    fn command(&self, role: &str, dir: &Path) -> Result<Command> {
        let Bench { record_bytes, partitions, .. } = self.bench;
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["end", role, "--dir"]).arg(dir);
        command.args(["--seed", &self.seed.to_string(), "--record-bytes", &record_bytes.to_string()]);
        command.args(["--partitions", &partitions.to_string()]);
        if let Scenario::Trickle { alone } = self.cell.scenario {
            command.arg("--trickle").args(alone.then_some("--idle"));
        }
        Ok(command)
    }

    fn wait(&self, within: Duration, otherwise: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let asked = Instant::now();
        while !done()? {
            if asked.elapsed() > within {
                bail!("{otherwise} after {} s", within.as_secs());
            }
            self.bench.stop.sleep(TICK / 10)?;
        }
        Ok(())
    }

    /// Looks at the counters until `measured` is over, and turns what the cell turns.
    fn watch(&self, site: &Site, pair: &mut Pair, measured: Duration, dir: &Path) -> Result<Timeline> {
        let began = Instant::now();
        let mut timeline = Timeline::default();
        let mut changes: &[Change] = match &self.cell.scenario {
            Scenario::Changes(changes) => changes,
            _ => &[],
        };
        let mut tick = began;
        while began.elapsed() < measured {
            while let Some((change, rest)) = changes.split_first().filter(|(change, _)| change.at <= began.elapsed()) {
                self.turn(&change.turn, site, pair, dir)?;
                changes = rest;
            }
            pair.ensure_running()?;
            let report = site.emulator.report();
            timeline.0.push(Point {
                at: began.elapsed().as_secs_f64(),
                offered: report.forward.offered_bytes,
                delivered: report.forward.delivered_bytes,
                goodput: pair.receiver.last().bytes,
            });
            tick += TICK;
            self.bench.stop.sleep(tick.saturating_duration_since(Instant::now()))?;
        }
        Ok(timeline)
    }

    fn turn(&self, turn: &Turn, site: &Site, pair: &mut Pair, dir: &Path) -> Result<()> {
        match turn {
            Turn::Path(knobs) => site.emulator.set_both(&parse_knobs(knobs)?),
            Turn::Budget(rate) => {
                settings::write_sender(dir, self.cell, *rate, &self.bench.extra)?;
                pair.sender.tell(RELOAD)?;
            }
            Turn::Channel(index) => pair.sender.tell(&format!("{CUT} {index}"))?,
        }
        Ok(())
    }
}

impl Pair {
    fn ensure_running(&mut self) -> Result<()> {
        self.receiver.ensure_running()?;
        self.sender.ensure_running()
    }
}

/// All counters at one moment.
fn mark(site: &Site, pair: &Pair) -> Result<Mark> {
    let wire: Report = site.emulator.report();
    Ok(Mark {
        wire,
        sink: pair.receiver.last(),
        sender: pair.sender.last(),
        sender_cpu: pair.sender.cpu()?,
        receiver_cpu: pair.receiver.cpu()?,
        at: Instant::now(),
    })
}
