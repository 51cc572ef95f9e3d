//! `causeway demo`: a whole link in one process, with a load, restarts and a cut WAN, and every record compared.
//!
//! `load` writes records to the source and notes each one in the `journal`; the link carries them over a `wan`; `reader`
//! reads them from the target and has the journal compare them. The clusters are `embedded` in this process.

#![forbid(unsafe_code)]

mod embedded;
mod files;
mod journal;
mod load;
mod reader;
mod record;
mod screen;
mod tasks;
mod wan;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use kafka::catalog::{Catalog, NewTopic};
use service::logging::{Format, Level, LogSettings};
use service::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::time::{Instant, sleep, sleep_until};

use embedded::{Embedded, EmbeddedCatalog};
use journal::Journal;
use screen::{Screen, print_line};
use tasks::{Tasks, Wire};
use wan::Wan;
use worker::Worker;

/// The restart of the sender, as a share of the time.
const SENDER_AT: f64 = 0.2;
/// The cut of the WAN, as a share of the time.
const CUT_AT: f64 = 0.45;
/// The restart of the receiver, as a share of the time.
const RECEIVER_AT: f64 = 0.7;
/// Time without a new record, after the load, until the missing ones count as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Interval at which the demo looks at its counters.
const POLL: Duration = Duration::from_millis(100);

/// Runs the demo, with a load of `seconds` seconds. Returns true if no record was lost, doubled, reordered or changed.
pub fn run(seconds: u64) -> Result<bool> {
    if std::env::var_os("RUST_LOG").is_some() {
        LogSettings { level: Level::Info, format: Format::Text }.start()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(obey_interrupts(trigger));
        tokio::select! {
            result = play(seconds, &shutdown) => result,
            () = shutdown.reached(Phase::Now) => Err(anyhow!("interrupted")),
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// Ends the load on the first interrupt, and the demo on the second one.
async fn obey_interrupts(trigger: Trigger) {
    for phase in [Phase::Drain, Phase::Now] {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        trigger.advance(phase);
    }
}

async fn play(seconds: u64, shutdown: &Shutdown) -> Result<bool> {
    print_line("causeway demo: two embedded Kafka clusters, and a link of real QUIC and TLS between them\n");
    let source = Embedded::start("source")?;
    let target = Embedded::start("target")?;
    create_topics(&EmbeddedCatalog::over(&source)?)?;
    let [from, to] = [&source.address, &target.address];
    print_line(format_args!("  source {from}  >  sender  ==>  receiver  >  target {to}"));
    let stage = Stage {
        wire: Wire::default(),
        wan: Wan::start()?,
        journal: Arc::new(Journal::new(load::partitions().len())),
        screen: Screen::new(),
        seconds,
        shutdown: shutdown.clone(),
    };
    let exact = stage.play(source, target).await?;
    print_line(
        "  Restarts here are drained: embedded clusters do not fence. That the link stays exactly-once when any",
    );
    print_line("  part of it crashes is proven on real Kafka: cargo xtask check");
    Ok(exact)
}

fn create_topics(catalog: &EmbeddedCatalog) -> Result<()> {
    let topics = record::TOPICS.map(|(name, partitions)| NewTopic {
        name: name.to_owned(),
        partitions,
        replication: None,
        configs: Vec::new(),
    });
    Ok(catalog.create(&topics)?)
}

/// Everything of a demo but its clusters and its two ends.
struct Stage {
    wire: Wire,
    wan: Wan,
    journal: Arc<Journal>,
    screen: Screen,
    seconds: u64,
    shutdown: Shutdown,
}

impl Stage {
    /// Runs the load and the restarts, and prints the verdict. Returns true if every record arrived exactly once.
    async fn play(&self, source: Arc<Embedded>, target: Arc<Embedded>) -> Result<bool> {
        let ends = Tasks::start(Arc::clone(&source), Arc::clone(&target), self.wire.clone(), &self.wan).await?;
        let reader = reader::start(&target.address, Arc::clone(&self.journal))?;
        let load = load::start(&source.address, Arc::clone(&self.journal))?;
        self.screen.begin();
        let trouble = tokio::select! {
            outcome = self.story(ends, load, reader) => outcome?,
            never = self.draw() => match never {},
        };
        self.screen.verdict(&self.journal, self.wire.bytes(), &trouble);
        Ok(self.journal.counts().exact())
    }

    async fn story(&self, mut ends: Tasks, load: Worker, reader: Worker) -> Result<Vec<String>> {
        let began = Instant::now();
        let at = |share: f64| began + Duration::from_secs(self.seconds).mul_f64(share);
        if let Some(round_trip) = ends.round_trip() {
            self.screen.say(&format!("WAN: round trip {:.0} ms, as QUIC measures it", round_trip.as_secs_f64() * 1e3));
        }
        if self.reaches(at(SENDER_AT)).await {
            self.restart("sender", ends.restart_sender()).await?;
        }
        let cut = self.reaches(at(CUT_AT)).await;
        if cut {
            self.cut(&ends).await?;
        }
        if self.reaches(at(RECEIVER_AT)).await {
            self.restart("receiver", ends.restart_receiver()).await?;
        }
        if !self.reaches(at(1.0)).await {
            self.screen.say("interrupted: the load ends early");
        }
        load.stop().await?;
        self.wait_for_records().await;
        let mut trouble = ends.trouble();
        ends.stop().await?;
        // Only now, because a duplicate may come late.
        reader.stop().await?;
        let late = self.wan.report(self.wire.bytes(), cut)?.invalid();
        trouble.extend(late.map(|why| format!("WAN: {why}; the times above may be too long")));
        Ok(trouble)
    }

    /// Cuts the WAN for a while, and prints how soon records arrive over it again.
    async fn cut(&self, ends: &Tasks) -> Result<()> {
        let sessions = ends.sessions();
        let arrived = || self.journal.counts().arrived;
        self.screen.say(&format!("WAN: cut for {} s, nothing passes", wan::CUT.as_secs()));
        self.wan.set_down(true);
        sleep(wan::CROSSED).await;
        let crossed = arrived();
        sleep(wan::CUT - wan::CROSSED).await;
        let before = arrived();
        self.wan.set_down(false);
        let restored = Instant::now();
        tasks::until("a record over the restored WAN", async || Ok(arrived() > before)).await?;
        let took = restored.elapsed().as_secs_f64();
        let same = if ends.sessions() == sessions { ", in the same session" } else { "" };
        let again = match before == crossed {
            true => format!("records arrive again after {took:.2} s"),
            // In this case the first record over the restored path is not known.
            false => "the target is still busy with what had crossed before".to_owned(),
        };
        self.screen.say(&format!("WAN: back; {again}{same}"));
        Ok(())
    }

    /// Waits until `moment`; returns whether it came before an interrupt.
    async fn reaches(&self, moment: Instant) -> bool {
        tokio::select! {
            () = sleep_until(moment) => self.shutdown.phase() == Phase::Run,
            () = self.shutdown.reached(Phase::Drain) => false,
        }
    }

    async fn restart(&self, end: &str, restart: impl Future<Output = Result<()>>) -> Result<()> {
        self.screen.say(&format!("{end}: drained, stopped, started again"));
        let stopped = Instant::now();
        restart.await?;
        self.screen.say(&format!("{end}: back in session after {:.2} s", stopped.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Waits until every record has arrived, or no new one has for [`PATIENCE`].
    async fn wait_for_records(&self) {
        let mut arrived = 0;
        let mut changed = Instant::now();
        loop {
            let counts = self.journal.counts();
            if counts.lost == 0 || changed.elapsed() > PATIENCE {
                return;
            }
            if counts.arrived > arrived {
                arrived = counts.arrived;
                changed = Instant::now();
            }
            sleep(POLL).await;
        }
    }

    async fn draw(&self) -> std::convert::Infallible {
        loop {
            self.screen.progress(&self.journal.counts(), self.wire.bytes());
            sleep(POLL).await;
        }
    }
}
