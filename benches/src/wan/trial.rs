//! A trial: one cell, one contestant and one seed. It creates the path, starts both ends, lets them warm up, and measures.

pub(crate) mod iperf;
pub(crate) mod process;
pub(crate) mod settings;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netem::tun::{Site, SiteSettings};
use netem::{Conditions, Direction, Profile, Script, Wan, parse_knobs};

use super::cell::{Action, Cell, Change, Contestant, Scenario};
use super::results::figures::{Measured, Snapshot};
use super::results::timeline::{Point, Timeline};
use super::stop::Stop;
use crate::end::protocol::{CUT, READY, RELOAD, RESET};
use crate::end::sample::{SenderSample, SinkSample};
use crate::pki;
use iperf::Iperf;
use process::Process;
use settings::ExtraLines;

/// Time between two samples of the counters.
const TICK: Duration = Duration::from_millis(100);
/// Longest time until a receiving end accepts connections.
const LISTEN: Duration = Duration::from_secs(10);
/// Longest time until a session begins: several handshakes over a path that loses 5 % with a round trip of 600 ms, and
/// more. The first record is not awaited: it takes minutes on a path that starves a contestant.
const SESSION: Duration = Duration::from_secs(60);

/// Settings that all trials of a bench share.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) seconds: Duration,
    pub(crate) warm_up: Duration,
    /// Bytes of a record's value.
    pub(crate) record_bytes: usize,
    pub(crate) partitions: i32,
    pub(crate) extra: ExtraLines,
    pub(crate) logs: PathBuf,
    pub(crate) stop: Stop,
}

#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) cell: &'a Cell,
    pub(crate) contestant: Contestant,
    pub(crate) seed: u64,
}

struct Ends {
    receiver: Process<SinkSample>,
    sender: Process<SenderSample>,
}

impl Trial<'_> {
    /// Runs the trial. The result contains the emulator's own verdict.
    pub(crate) fn run(&self) -> Result<Measured> {
        let dir = tempfile::Builder::new().prefix("causeway-bench-").tempdir()?;
        pki::init(dir.path())?;
        settings::write(dir.path(), self.cell, &self.bench.extra)?;
        let tcp = match self.cell.scenario {
            Scenario::WithTcpFlow => Some("cubic"),
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

    /// Measures a TCP flow. iperf3 measures the goodput, the emulator counts the packets.
    fn tcp(&self, site: &Site, dir: &Path) -> Result<Measured> {
        let warm_up = self.bench.warm_up;
        let measured = self.bench.seconds;
        let flow = Iperf::start(site, warm_up, measured, &dir.join("iperf3.json"))?;
        self.bench.stop.sleep(warm_up)?;
        let began = site.emulator.report();
        self.bench.stop.sleep(measured)?;
        let wire = site.emulator.report().since(&began);
        let goodput = flow.finish(&self.bench.stop)?;
        Ok(Measured::of_wire(self.cell, self.bench.record_bytes, goodput, &wire))
    }

    fn quic(&self, site: &Site, dir: &Path) -> Result<Measured> {
        let mut ends = self.start(site, dir)?;
        let measured = self.cell.duration(self.bench.seconds);
        let warm_up = self.cell.warm_up(self.bench.warm_up);
        let competitor = match self.cell.scenario {
            Scenario::WithTcpFlow => Some(Iperf::start(site, warm_up, measured, &dir.join("iperf3.json"))?),
            _ => None,
        };
        self.bench.stop.sleep(warm_up)?;
        if self.contestant == Contestant::Causeway {
            ends.receiver.send(RESET)?;
        }
        let began = snapshot(site, &ends)?;
        let timeline = self.watch(site, &mut ends, measured, dir)?;
        let ended = snapshot(site, &ends)?;
        let other = competitor.map(|flow| flow.finish(&self.bench.stop)).transpose()?;
        let mut measured = Measured::of_quic(self.cell, self.bench.record_bytes, &began, &ended);
        measured.add_share(other);
        measured.add_changes(self.cell, timeline);
        Ok(measured)
    }

    /// Starts both ends. Returns once they have a session.
    fn start(&self, site: &Site, dir: &Path) -> Result<Ends> {
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
            Ok(receiver.has_written(READY))
        })?;
        let sender = Process::spawn(&site.source, &mut self.command(sending, dir)?, &log("sender"))?;
        let mut ends = Ends { receiver, sender };
        self.wait(SESSION, "no session has begun", || {
            ends.ensure_running()?;
            Ok(ends.sender.last().sessions > 0)
        })?;
        Ok(ends)
    }

    /// Returns the command that runs this program as one end.
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

    /// Samples the counters until `measured` has passed, and makes the cell's changes.
    fn watch(&self, site: &Site, ends: &mut Ends, measured: Duration, dir: &Path) -> Result<Timeline> {
        let began = Instant::now();
        let mut timeline = Timeline::default();
        let mut changes: &[Change] = match &self.cell.scenario {
            Scenario::Changes(changes) => changes,
            _ => &[],
        };
        let mut tick = began;
        while began.elapsed() < measured {
            while let Some((change, rest)) = changes.split_first().filter(|(change, _)| change.at <= began.elapsed()) {
                self.act(&change.action, site, ends, dir)?;
                changes = rest;
            }
            ends.ensure_running()?;
            let report = site.emulator.report();
            timeline.0.push(Point {
                at: began.elapsed().as_secs_f64(),
                offered: report.forward.offered_bytes,
                delivered: report.forward.delivered_bytes,
                goodput: ends.receiver.last().bytes,
            });
            tick += TICK;
            self.bench.stop.sleep(tick.saturating_duration_since(Instant::now()))?;
        }
        Ok(timeline)
    }

    fn act(&self, action: &Action, site: &Site, ends: &mut Ends, dir: &Path) -> Result<()> {
        match action {
            Action::Path(knobs) => site.emulator.set_both(&parse_knobs(knobs)?),
            Action::Budget(rate) => {
                settings::write_sender(dir, self.cell, *rate, &self.bench.extra)?;
                ends.sender.send(RELOAD)?;
            }
            Action::Channel(index) => ends.sender.send(&format!("{CUT} {index}"))?,
        }
        Ok(())
    }
}

impl Ends {
    fn ensure_running(&mut self) -> Result<()> {
        self.receiver.ensure_running()?;
        self.sender.ensure_running()
    }
}

fn snapshot(site: &Site, ends: &Ends) -> Result<Snapshot> {
    Ok(Snapshot {
        wire: site.emulator.report(),
        sink: ends.receiver.last(),
        sender: ends.sender.last(),
        sender_cpu: ends.sender.cpu()?,
        receiver_cpu: ends.receiver.cpu()?,
        at: Instant::now(),
    })
}
