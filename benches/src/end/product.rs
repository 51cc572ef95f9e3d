//! The product's own sender and receiver, configured by files as in production, between clusters in memory.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kafka::catalog::{Bounds, Catalog};
use kafka::properties::forbidden;
use receiver::status::Board as ReceiverBoard;
use sender::Report as SenderBoard;
use sender::config::Config;
use service::config::Configuration;
use service::live::{self, Publisher};
use service::shutdown;
use testkit::MemoryCatalog;
use tokio::sync::mpsc;
use transport::endpoint::Sockets;
use wire::ids::Position;

use super::protocol::{CUT, EndArgs, READY, RELOAD, RESET, SAMPLE_INTERVAL, report, write_line};
use super::sample::{SenderSample, monotonic};
use super::sink::Sink;
use super::sockets::CutSockets;
use super::source::{BULK, SyntheticSource, TRICKLE};

pub(crate) const SENDER_FILE: &str = "sender.toml";
pub(crate) const RECEIVER_FILE: &str = "receiver.toml";

/// Log of each partition of the source, with more records than any run reads.
const ENDLESS: Bounds = Bounds { start: Position(0), end: Position(1 << 40) };

pub(crate) fn run_sender(args: &EndArgs, inbox: mpsc::Receiver<String>) -> Result<()> {
    let config = load(&args.dir.join(SENDER_FILE))?;
    let runtime = config.io_threads.runtime().context("cannot start the runtime")?;
    runtime.block_on(send(args, config, inbox))
}

pub(crate) fn run_receiver(args: &EndArgs, inbox: mpsc::Receiver<String>) -> Result<()> {
    let file = args.dir.join(RECEIVER_FILE);
    let config = service::config::load::<receiver::config::Config>(&file, forbidden)
        .map_err(|problems| anyhow!("{problems}"))?;
    let runtime = config.io_threads.runtime().context("cannot start the runtime")?;
    runtime.block_on(receive(args, config, inbox))
}

async fn send(args: &EndArgs, config: Config, mut inbox: mpsc::Receiver<String>) -> Result<()> {
    let file = args.dir.join(SENDER_FILE);
    let catalog = Arc::new(MemoryCatalog::new("bench-source"));
    let bulk = (BULK, if args.idle { 0 } else { args.partitions });
    for (topic, partitions) in [bulk, (TRICKLE, i32::from(args.trickle))] {
        (0..partitions).for_each(|_| catalog.add_partition(topic, ENDLESS));
    }
    let sockets = Arc::new(CutSockets::default());
    let parts = sender::Dependencies {
        source: SyntheticSource::new(args.payload()),
        catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
        sockets: Arc::clone(&sockets) as Arc<dyn Sockets>,
        states: catalog,
        promoted: None,
    };
    let board = Arc::new(SenderBoard::default());
    let reported_board = Arc::clone(&board);
    let (publisher, live) = live::channel(config);
    let (_trigger, shutdown) = shutdown::channel();
    let executing = async {
        while let Some(command) = inbox.recv().await {
            execute(&command, &file, &publisher, &sockets)?;
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = sender::run(live, parts, board, shutdown) => ended.map_err(|error| anyhow!("sender: {error}")),
        failed = report(|| sample(&reported_board)) => failed,
        failed = executing => failed,
    }
}

/// Executes a command. A command that fails ends the sender and with it the trial.
fn execute(command: &str, file: &Path, publisher: &Publisher<Config>, sockets: &CutSockets) -> Result<()> {
    match command.split_once(' ') {
        None if command == RELOAD => reload(file, publisher),
        Some((CUT, channel)) => {
            // Channels are dialled in the order of their numbers, and each has a socket of its own.
            sockets.cut(channel.parse()?).map_err(|error| anyhow!("channel {channel} cannot be cut off: {error}"))
        }
        _ => bail!("a sender has no command `{command}`"),
    }
}

async fn receive(args: &EndArgs, config: receiver::config::Config, mut inbox: mpsc::Receiver<String>) -> Result<()> {
    let catalog = Arc::new(MemoryCatalog::new("bench-target"));
    let sink = Sink::new(args.payload(), Arc::clone(&catalog));
    let parts = receiver::Parts { target: sink.clone(), catalog };
    let board = Arc::new(ReceiverBoard::default());
    let ready_board = Arc::clone(&board);
    let (_trigger, shutdown) = shutdown::channel();
    let counted = sink.clone();
    let reporting = async {
        while ready_board.ready().is_err() {
            tokio::time::sleep(SAMPLE_INTERVAL / 10).await;
        }
        write_line(READY)?;
        report(|| counted.sample()).await
    };
    let executing = async {
        while let Some(command) = inbox.recv().await {
            if command == RESET {
                sink.reset_latency();
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = receiver::run(config, parts, board, shutdown) => ended.map_err(|error| anyhow!("receiver: {error}")),
        failed = reporting => failed,
        () = executing => Ok(()),
    }
}

fn load(file: &Path) -> Result<Config> {
    service::config::load::<Config>(file, forbidden).map_err(|problems| anyhow!("{problems}"))
}

/// Reads the configuration file again, as the product does at SIGHUP.
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
    fn a_command_that_fails_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(SENDER_FILE);
        let config = service::config::parse::<Config>(sender::config::EXAMPLE, SENDER_FILE, forbidden).unwrap();
        let (publisher, _live) = live::channel(config);
        let refused = |order: &str| execute(order, &file, &publisher, &CutSockets::default()).unwrap_err().to_string();
        assert!(refused("cut 2").contains("channel 2 cannot be cut off"), "{}", refused("cut 2"));
        assert!(refused("dance").contains("`dance`"));
        fs::write(&file, "rate = 5").unwrap();
        assert!(!refused(RELOAD).is_empty());
    }
}
