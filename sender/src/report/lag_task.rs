//! Measures every few seconds how far the target is behind, and what is to be expected of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kafka::KafkaError;
use kafka::catalog::Catalog;
use tokio::sync::watch;

use crate::report::forecast::{Forecast, History, Sample};
use crate::report::lag::{self, Behind};
use crate::report::open_transactions::Watch;
use crate::report::retention::{self, Loss};
use crate::report::status::{Board, NotCarried};
use crate::source::discovery::{self, Discovered};

/// A backlog that is gone within this is not worth asking what of it may be lost.
const SOON: f64 = 60.0;

/// Measures for as long as the sender lives.
pub async fn measure(catalog: Arc<dyn Catalog>, topics: watch::Receiver<Discovered>, board: Arc<Board>) {
    let (mut watch, mut history, began) = (Watch::default(), History::default(), Instant::now());
    let mut losses = Losses::default();
    loop {
        let (asks, topics, lanes) = (Arc::clone(&catalog), Arc::clone(&topics.borrow().topics), board.lanes());
        let target = board.target_cluster();
        board.set_withheld(NotCarried::of(&topics, target.as_deref()));
        let asked = tokio::task::spawn_blocking(move || {
            let logs = discovery::source_logs(&*asks, &topics, target.as_deref())?;
            let (lag, behind) = (lag::lag(&logs, &lanes), Behind::of_all(&logs, &lanes));
            Ok::<_, KafkaError>((logs, lag, behind))
        });
        match asked.await {
            Ok(Ok((logs, lag, behind))) => {
                history.handle(sample(&board, began.elapsed(), lag.records));
                board.set_lag(lag);
                let forecast = history.forecast();
                losses.look(&catalog, behind, &forecast).await;
                board.set_forecast(losses.added_to(forecast));
                board.set_open_transactions(watch.handle(Instant::now(), &logs));
                board.set_trouble(None);
            }
            Ok(Err(error)) => board.set_trouble(Some(format!("source cluster: {error}"))),
            Err(_) => return,
        }
        tokio::time::sleep(discovery::INTERVAL).await;
    }
}

fn sample(board: &Board, at: Duration, lag_records: Option<u64>) -> Sample {
    let totals = board.totals();
    let sent = (totals.records, totals.raw_bytes);
    Sample { at, committed_bytes: totals.committed_bytes, sent, lag_records }
}

/// What the source will forget first, as it was when that was asked last.
#[derive(Default)]
struct Losses {
    asked: Option<Instant>,
    soonest: Option<Loss>,
}

impl Losses {
    /// Asks again, where it is time to.
    async fn look(&mut self, catalog: &Arc<dyn Catalog>, behind: Vec<Behind>, forecast: &Forecast) {
        let lasts = behind.iter().any(|one| one.records() > 0) && forecast.drain_seconds.is_none_or(|gone| gone > SOON);
        if !lasts {
            *self = Self::default();
            return;
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < retention::INTERVAL) {
            return;
        }
        self.asked = Some(Instant::now());
        let (catalog, now) = (Arc::clone(catalog), Timestamp::now().as_millisecond());
        let asked = tokio::task::spawn_blocking(move || retention::look(&*catalog, &behind, now)).await;
        self.soonest = match asked {
            Ok(Ok(loss)) => loss,
            Ok(Err(error)) => {
                // The right to read a topic's configuration may be missing, and nothing else needs it.
                tracing::debug!(%error, "retention of the source's topics is not known");
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
