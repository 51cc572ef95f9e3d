//! Task that measures every few seconds which records the target lacks, and forecasts when it will have them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kafka::KafkaError;
use kafka::catalog::Catalog;

use crate::config::Start;
use crate::partitions::deletions::Deletions;
use crate::report::forecast::{Forecast, History, Sample};
use crate::report::lag::{Lag, PartitionLag};
use crate::report::open_transactions::OpenTransactions;
use crate::report::retention::{self, Loss};
use crate::report::status::NotCarried;
use crate::report::view::Report;
use crate::source::discovery;

/// Seconds within which a backlog must be gone for its retention not to be asked for.
const SOON: f64 = 60.0;

/// Least time between two samples of the forecast: readings that the receiver asks for come faster.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// Shortest pause between two measurements that the receiver asks for.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two measurements.
const PAUSE_MAX: Duration = Duration::from_secs(6);

/// Time without an answer after which the source is in trouble: a broker that hangs keeps a request for longer.
const SLOW: Duration = Duration::from_secs(5);

/// Measures once the source has answered, for as long as the sender lives.
pub(super) async fn measure(catalog: Arc<dyn Catalog>, start: Start, report: Arc<Report>) {
    let board = report.board();
    let mut topics = board.topics().subscribe();
    if topics.changed().await.is_err() {
        return;
    }
    let began = Instant::now();
    let mut open_transactions = OpenTransactions::default();
    let mut history = History::default();
    let mut losses = Losses::default();
    let deletions = board.deletions();
    let mut asked_for = board.asked().subscribe();
    let mut sampled = None;
    loop {
        let asks = Arc::clone(&catalog);
        let topics = Arc::clone(&topics.borrow().topics);
        let target = board.read().target_cluster;
        let lanes = report.lanes();
        report.set_not_carried(NotCarried::of(&topics, target.as_deref()));
        let asked_at = Timestamp::now().as_millisecond();
        let asking = Instant::now();
        let mut asked = tokio::task::spawn_blocking(move || {
            if topics.is_empty() {
                // Without partitions to ask for, the lag is 0 only if the source answers.
                asks.ping()?;
            }
            let logs = discovery::source_logs(&*asks, &topics, target.as_deref())?;
            let lag = Lag::of(&logs, &lanes, start);
            Ok::<_, KafkaError>((logs, lag))
        });
        let answer = tokio::select! {
            answer = &mut asked => answer,
            () = tokio::time::sleep(SLOW) => {
                let words = format!("a broker has not answered for {} s; its partitions wait", SLOW.as_secs());
                report.measure(|measured| measured.source.handle(Instant::now(), Err(words)));
                asked.await
            }
        };
        match answer {
            Ok(Ok((logs, lag))) => {
                if sampled.is_none_or(|at: Instant| at.elapsed() >= SAMPLE_EVERY) {
                    sampled = Some(Instant::now());
                    history.handle(sample(&report, began.elapsed(), lag.records));
                }
                let forecast = history.forecast();
                let caught_up = logs.known.iter().zip(&lag.measured);
                for (log, _) in caught_up.filter(|(log, lag)| lag.committed.is_some_and(|at| at >= log.stable)) {
                    deletions.handle_caught_up(&log.at, asked_at);
                }
                losses.update(&catalog, &lag.measured, &forecast, &deletions).await;
                board.source_ends().send_replace(Arc::new(logs.ends()));
                report.set_open_transactions(open_transactions.handle(Instant::now(), &logs.known));
                report.measure(|measured| {
                    measured.lag = lag;
                    measured.source.handle(Instant::now(), Ok(()));
                    measured.forecast = losses.added_to(forecast);
                });
            }
            Ok(Err(error)) => report.measure(|measured| {
                measured.source.handle(Instant::now(), Err(error.to_string()));
            }),
            Err(_) => return,
        }
        // A reading takes half of the time at most, however often the receiver asks.
        let took = asking.elapsed();
        let least = took.clamp(PAUSE_MIN, PAUSE_MAX);
        tokio::time::sleep(least).await;
        let _ = tokio::time::timeout(pause_after(took) - least, asked_for.changed()).await;
    }
}

/// Returns the pause after a measurement that took this long: longer with thousands of partitions, so that measuring them
/// costs little, and short enough that the lag is never older than the 10 s after which it counts as unknown.
fn pause_after(took: Duration) -> Duration {
    (took * 20).clamp(discovery::INTERVAL, PAUSE_MAX)
}

fn sample(report: &Report, at: Duration, lag_records: Option<u64>) -> Sample {
    let totals = report.board().read().totals();
    Sample {
        at,
        committed_bytes: totals.committed_bytes,
        sent_records: totals.records,
        sent_bytes: totals.raw_bytes,
        lag_records,
    }
}

/// First record that the source will delete before it is carried, as of the last question.
#[derive(Default)]
struct Losses {
    asked: Option<Instant>,
    soonest: Option<Loss>,
}

impl Losses {
    /// Asks again, where it is time to.
    async fn update(
        &mut self,
        catalog: &Arc<dyn Catalog>,
        behind: &[PartitionLag],
        forecast: &Forecast,
        deletions: &Arc<Deletions>,
    ) {
        let is_behind = behind.iter().any(|one| one.records().unwrap_or(0) > 0);
        if !is_behind || forecast.drain_seconds.is_some_and(|seconds| seconds <= SOON) {
            *self = Self::default();
            return;
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < retention::INTERVAL) {
            return;
        }
        self.asked = Some(Instant::now());
        let catalog = Arc::clone(catalog);
        let behind = behind.to_vec();
        let deletions = Arc::clone(deletions);
        let now = Timestamp::now().as_millisecond();
        let forecast = move || retention::forecast(&*catalog, &behind, now, &deletions);
        let asked = tokio::task::spawn_blocking(forecast).await;
        self.soonest = match asked {
            Ok(Ok(loss)) => loss,
            Ok(Err(error)) => {
                // The right to read a topic's configuration may be missing, and nothing else needs it.
                tracing::debug!(%error, "retention of the source's topics is unknown");
                None
            }
            Err(_) => None,
        };
    }

    fn added_to(&self, forecast: Forecast) -> Forecast {
        let Some(Loss { at_ms, topic }) = &self.soonest else { return forecast };
        let left = at_ms.saturating_sub(Timestamp::now().as_millisecond()).max(0) as f64 / 1000.0;
        Forecast { loss_seconds: Some(left), loss_topic: Some(topic.clone()), ..forecast }
    }
}
