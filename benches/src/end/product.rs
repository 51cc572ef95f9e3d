//! The product's own ends, configured by files as anybody's would be, between clusters that are not there.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use kafka::catalog::Bounds;
use kafka::log::{Entry, LogError};
use kafka::properties::forbidden;
use receiver::report::status::Board as ReceiverBoard;
use sender::config::Config;
use sender::report::status::Board as SenderBoard;
use sender::source::origins::reading::StateLog;
use service::config::Configuration;
use service::live::{self, Publisher};
use service::shutdown;
use tokio::sync::mpsc;
use transport::endpoint::Sockets;

use super::catalog::MemoryCatalog;
use super::clock::monotonic;
use super::sample::SenderSample;
use super::sink::Sink;
use super::sockets::CutSockets;
use super::source::{BULK, SyntheticSource, TRICKLE};
use super::{CUT, EndArgs, READY, RELOAD, RESET, report, run_on, say};

/// The sender's configuration in a run's directory.
pub(crate) const SENDER_FILE: &str = "sender.toml";
/// The receiver's.
pub(crate) const RECEIVER_FILE: &str = "receiver.toml";

/// No link has brought anything to a source that was made a moment ago.
struct NoStates;

impl StateLog for NoStates {
    fn read(&self, _topic: &str, _partition: i32, _bounds: Bounds) -> Result<Vec<Entry>, LogError> {
        Ok(Vec::new())
    }
}

/// Runs the product's sender.
pub(crate) fn run_sender(args: &EndArgs, inbox: mpsc::Receiver<String>) -> Result<()> {
    let config = load(&args.dir.join(SENDER_FILE))?;
    run_on(config.io_threads.runtime(), send(args, config, inbox))
}

/// Runs the product's receiver.
pub(crate) fn run_receiver(args: &EndArgs, inbox: mpsc::Receiver<String>) -> Result<()> {
    let file = args.dir.join(RECEIVER_FILE);
    let config = service::config::load::<receiver::config::Config>(&file, forbidden)
        .map_err(|problems| anyhow!("{problems}"))?;
    run_on(config.io_threads.runtime(), receive(args, config, inbox))
}

async fn send(args: &EndArgs, config: Config, mut inbox: mpsc::Receiver<String>) -> Result<()> {
    let file = args.dir.join(SENDER_FILE);
    let bulk = (BULK, if args.idle { 0 } else { args.partitions });
    let topics = [bulk, (TRICKLE, i32::from(args.trickle))];
    let topics: Vec<_> = topics.into_iter().filter(|(_, partitions)| *partitions > 0).collect();
    let sockets = Arc::new(CutSockets::default());
    let parts = sender::run::Parts {
        source: SyntheticSource::new(args.payload()),
        catalog: Arc::new(MemoryCatalog::source(&topics)),
        sockets: Arc::clone(&sockets) as Arc<dyn Sockets>,
        states: Arc::new(NoStates),
    };
    let board = Arc::new(SenderBoard::default());
    let shown = Arc::clone(&board);
    let (publisher, live) = live::channel(config);
    let (_trigger, shutdown) = shutdown::channel();
    let obeying = async {
        while let Some(command) = inbox.recv().await {
            obey(&command, &file, &publisher, &sockets)?;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = sender::run::run(live, parts, board, shutdown) => ended.map_err(|error| anyhow!("sender: {error}")),
        failed = report(|| sample(&shown)) => failed,
        failed = obeying => failed,
    }
}

/// An order that cannot be carried out ends the sender, and with it the trial: what is measured without it is something
/// else.
fn obey(command: &str, file: &Path, publisher: &Publisher<Config>, sockets: &CutSockets) -> Result<()> {
    match command.split_once(' ') {
        None if command == RELOAD => reload(file, publisher),
        Some((CUT, channel)) => {
            // Channels are dialled in the order of their numbers, each with a socket of its own.
            sockets.cut(channel.parse()?).map_err(|error| anyhow!("channel {channel} cannot be cut off: {error}"))
        }
        _ => bail!("`{command}` is no order for a sender"),
    }
}

async fn receive(args: &EndArgs, config: receiver::config::Config, mut inbox: mpsc::Receiver<String>) -> Result<()> {
    let catalog = Arc::new(MemoryCatalog::target());
    let sink = Sink::new(args.payload(), Arc::clone(&catalog));
    let parts = receiver::run::Parts { target: sink.clone(), catalog };
    let board = Arc::new(ReceiverBoard::default());
    let shown = Arc::clone(&board);
    let (_trigger, shutdown) = shutdown::channel();
    let counted = sink.clone();
    let saying = async {
        while shown.ready().is_err() {
            tokio::time::sleep(super::EVERY / 10).await;
        }
        say(READY)?;
        report(|| counted.sample()).await
    };
    let obeying = async {
        while let Some(command) = inbox.recv().await {
            if command == RESET {
                sink.reset_latency();
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = receiver::run::run(config, parts, board, shutdown) => ended.map_err(|error| anyhow!("receiver: {error}")),
        failed = saying => failed,
        () = obeying => Ok(()),
    }
}

fn load(file: &Path) -> Result<Config> {
    service::config::load::<Config>(file, forbidden).map_err(|problems| anyhow!("{problems}"))
}

/// As the product does at SIGHUP.
fn reload(file: &Path, publisher: &Publisher<Config>) -> Result<()> {
    let mut config = Config::clone(&publisher.now());
    for change in config.reload(load(file)?) {
        tracing::info!(?change, "configuration changed");
    }
    publisher.publish(config);
    Ok(())
}

fn sample(board: &SenderBoard) -> SenderSample {
    let status = board.status();
    SenderSample {
        at: monotonic(),
        sessions: status.sessions,
        last_end: status.last_end.clone(),
        rtt_ms: status.rtt_seconds.map(|seconds| seconds * 1e3),
        status: serde_json::json!(status),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::sockets::CutSockets;
    use super::*;

    #[test]
    fn an_order_that_cannot_be_carried_out_is_an_error_and_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SENDER_FILE);
        let config = service::config::parse::<Config>(sender::config::EXAMPLE, SENDER_FILE, forbidden).unwrap();
        let (publisher, _live) = live::channel(config);
        let refused = |order: &str| obey(order, &file, &publisher, &CutSockets::default()).unwrap_err().to_string();
        assert!(refused("cut 2").contains("channel 2 cannot be cut off"), "{}", refused("cut 2"));
        assert!(refused("dance").contains("`dance`"));
        fs::write(&file, "rate = 5").unwrap();
        assert!(!refused(RELOAD).is_empty());
    }
}
