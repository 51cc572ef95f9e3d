//! `causeway demo`: a whole link in one process, with a load, restarts and a cut WAN in the middle, and every
//! record compared while it runs.
//!
//! `load` writes to the source and notes each record in the `journal`; the link carries it over a `wan`; `reader`
//! takes it from the target and has it compared. The clusters are `embedded` in this process.

#![forbid(unsafe_code)]

mod embedded;
mod files;
mod journal;
mod load;
mod reader;
mod record;
mod screen;
mod tasks;
mod wait;
mod wan;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use kafka::catalog::{Catalog, NewTopic};
use service::logging::{Format, Level, LogSettings};
use service::shutdown::{self, Phase, Shutdown, Trigger};
use tokio::time::{Instant, sleep, sleep_until};

use embedded::{Embedded, EmbeddedCatalog};
use journal::Journal;
use load::Load;
use reader::Reader;
use screen::Screen;
use tasks::Tasks;
use wan::Wan;

/// When the sender is restarted, the WAN cut and the receiver restarted, as shares of the time.
const SENDER_AT: f64 = 0.2;
const CUT_AT: f64 = 0.45;
const RECEIVER_AT: f64 = 0.7;

/// After the load has ended, records that do not come for so long will not come.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(100);

/// Runs the demo, with a load of `seconds` seconds. Returns true if no record was lost, doubled, reordered or
/// changed.
///
/// # Errors
/// An end of the link failed, or an interrupt ended the demo.
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

/// The first interrupt ends the load, the second the demo.
async fn obey_interrupts(trigger: Trigger) {
    for phase in [Phase::Drain, Phase::Now] {
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        trigger.advance(phase);
    }
}

/// Plays the demo between two clusters in this process.
async fn play(seconds: u64, shutdown: &Shutdown) -> Result<bool> {
    println!("causeway demo: two embedded Kafka clusters, and a link of real QUIC and TLS between them\n");
    let (source, target) = (Embedded::start("source")?, Embedded::start("target")?);
    create_topics(&EmbeddedCatalog::over(&source)?)?;
    let wire = tasks::Wire::default();
    let counted = wire.clone();
    let stage = Stage::new(source.address(), target.address(), move || counted.bytes(), seconds, shutdown)?;
    let ends = Tasks::start(Arc::clone(&source), Arc::clone(&target), wire, &stage.wan).await?;
    let exact = stage.play(ends).await?;
    println!("  Restarts here are drained: embedded clusters do not fence. That the link stays exactly-once when any");
    println!("  part of it crashes is proven on real Kafka: cargo xtask check");
    Ok(exact)
}

fn create_topics(catalog: &dyn Catalog) -> Result<()> {
    let topics = record::TOPICS.map(|(name, partitions)| NewTopic {
        name: name.to_owned(),
        partitions,
        replication: None,
        configs: Vec::new(),
    });
    Ok(catalog.create(&topics)?)
}

/// What a demo plays on, whatever its clusters and ends are.
struct Stage {
    /// Where the source's broker listens.
    source: String,
    /// Where the target's does.
    target: String,
    /// Bytes that senders have sent.
    wire: Box<dyn Fn() -> u64 + Send + Sync>,
    /// What lies between the ends.
    wan: Wan,
    journal: Arc<Journal>,
    screen: Screen,
    seconds: u64,
    shutdown: Shutdown,
}

impl Stage {
    fn new(
        source: &str,
        target: &str,
        wire: impl Fn() -> u64 + Send + Sync + 'static,
        seconds: u64,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        println!("  source {source}  >  sender  ==>  receiver  >  target {target}");
        Ok(Self {
            source: source.to_owned(),
            target: target.to_owned(),
            wire: Box::new(wire),
            wan: Wan::start()?,
            journal: Arc::new(Journal::new(load::partitions().len())),
            screen: Screen::new(),
            seconds,
            shutdown: shutdown.clone(),
        })
    }

    /// Load, restarts, and the verdict: whether all was exact.
    async fn play(&self, ends: Tasks) -> Result<bool> {
        let reader = Reader::start(&self.target, Arc::clone(&self.journal))?;
        let load = Load::start(&self.source, Arc::clone(&self.journal))?;
        self.screen.begin();
        let trouble = tokio::select! {
            outcome = self.story(ends, load, reader) => outcome?,
            never = self.draw() => match never {},
        };
        self.screen.verdict(&self.journal, (self.wire)(), &trouble);
        Ok(self.journal.counts().exact())
    }

    async fn story(&self, mut ends: Tasks, load: Load, reader: Reader) -> Result<Vec<String>> {
        let began = Instant::now();
        let at = |share: f64| began + Duration::from_secs(self.seconds).mul_f64(share);
        if let Some(round_trip) = ends.round_trip().await {
            self.screen.say(&format!("WAN: round trip {:.0} ms, as QUIC measures it", round_trip.as_secs_f64() * 1e3));
        }
        if self.reaches(at(SENDER_AT)).await {
            self.screen.say(&format!("sender: {}", Tasks::RESTARTED));
            let stopped = Instant::now();
            ends.restart_sender().await?;
            self.say_back("sender", stopped);
        }
        let cut = self.reaches(at(CUT_AT)).await;
        if cut {
            self.cut(&ends).await?;
        }
        if self.reaches(at(RECEIVER_AT)).await {
            self.screen.say(&format!("receiver: {}", Tasks::RESTARTED));
            let stopped = Instant::now();
            ends.restart_receiver().await?;
            self.say_back("receiver", stopped);
        }
        if !self.reaches(at(1.0)).await {
            self.screen.say("interrupted: the load ends early");
        }
        tokio::task::spawn_blocking(|| load.stop()).await??;
        self.settle().await;
        let mut trouble = ends.trouble().await;
        ends.stop().await?;
        // Only now: a record that comes twice may come late.
        tokio::task::spawn_blocking(|| reader.finish()).await??;
        let late = self.wan.report((self.wire)(), cut)?.invalid();
        trouble.extend(late.map(|why| format!("WAN: {why}; times above may be too long")));
        Ok(trouble)
    }

    /// Cuts the WAN for a while, and says how soon records arrive over it again.
    async fn cut(&self, ends: &Tasks) -> Result<()> {
        let (sessions, arrived) = (ends.sessions().await, || self.journal.counts().arrived);
        self.screen.say(&format!("WAN: cut for {} s, nothing passes", wan::CUT.as_secs()));
        self.wan.cut();
        sleep(wan::CROSSED).await;
        let crossed = arrived();
        sleep(wan::CUT - wan::CROSSED).await;
        let before = arrived();
        self.wan.mend();
        let mended = Instant::now();
        wait::until("a record over the mended WAN", async || Ok(arrived() > before)).await?;
        let took = mended.elapsed().as_secs_f64();
        let same = if ends.sessions().await == sessions { ", in the same session" } else { "" };
        let again = match before == crossed {
            true => format!("records arrive again after {took:.2} s"),
            // Then nobody can tell which record was the first over the mended path.
            false => "the target is still busy with what had crossed before".to_owned(),
        };
        self.screen.say(&format!("WAN: back; {again}{same}"));
        Ok(())
    }

    /// Waits for a moment; says whether it came before an interrupt.
    async fn reaches(&self, moment: Instant) -> bool {
        tokio::select! {
            () = sleep_until(moment) => self.shutdown.phase() == Phase::Run,
            () = self.shutdown.reached(Phase::Drain) => false,
        }
    }

    fn say_back(&self, end: &str, stopped: Instant) {
        self.screen.say(&format!("{end}: back in session after {:.2} s", stopped.elapsed().as_secs_f64()));
    }

    /// Waits until all has arrived, or nothing does any more.
    async fn settle(&self) {
        let (mut arrived, mut moved) = (0, Instant::now());
        loop {
            let counts = self.journal.counts();
            if counts.lost == 0 || moved.elapsed() > PATIENCE {
                return;
            }
            if counts.arrived > arrived {
                (arrived, moved) = (counts.arrived, Instant::now());
            }
            sleep(LOOK).await;
        }
    }

    async fn draw(&self) -> std::convert::Infallible {
        loop {
            self.screen.progress(&self.journal.counts(), (self.wire)());
            sleep(LOOK).await;
        }
    }
}
