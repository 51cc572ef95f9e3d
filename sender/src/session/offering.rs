//! Looks due partitions up at the source and sends their offers, so that each topic is announced once and before its
//! partitions.
//!
//! All lanes whose partitions are due share one look-up, and partitions that wait for the source share another: no
//! partition, and no broker, delays the offers of others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::Catalog;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::control::Control;
use wire::ids::{Epoch, LaneId};

use crate::config::Start;
use crate::partitions::deletions::Deletions;
use crate::partitions::lane_partitions::Due;
use crate::partitions::offers::{self, LookUp, LookedUp};
use crate::partitions::policy::Policies;
use crate::partitions::rounds::{Request, Rounds};
use crate::source::discovery::Discovered;
use crate::source::promotion::Promotion;

/// First and longest wait before partitions that wait for the source are looked up again.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(4);

#[derive(Clone)]
pub struct Offering {
    pub catalog: Arc<dyn Catalog>,
    /// Position at which partitions without a stored one start.
    pub start: Start,
    pub deletions: Arc<Deletions>,
    /// Policies for halts.
    pub policies: Arc<Policies>,
    /// Promoted link whose topics go back.
    pub promotion: Option<Promotion>,
}

/// Look-up in flight, for some lanes.
struct InFlight {
    lanes: Vec<(LaneId, Epoch)>,
    task: JoinHandle<LookedUp>,
}

impl InFlight {
    /// Waits for the answers; without a look-up in flight it waits permanently.
    async fn answers(this: &mut Option<Self>) -> (Vec<(LaneId, Epoch)>, LookedUp) {
        let Some(one) = this else { return std::future::pending().await };
        // The task does not panic; it is cancelled only when the process ends.
        let found = (&mut one.task).await.unwrap_or_default();
        (this.take().map(|one| one.lanes).unwrap_or_default(), found)
    }
}

/// Wait until partitions that wait are looked up again. It grows while none of them is offered.
struct Retry {
    wait: Duration,
    at: Instant,
}

impl Retry {
    fn soon() -> Self {
        Self { wait: RETRY_MIN, at: Instant::now() + RETRY_MIN }
    }

    fn later(&self) -> Self {
        let wait = (self.wait * 2).min(RETRY_MAX);
        Self { wait, at: Instant::now() + wait }
    }
}

/// Offers of one session.
struct Offers {
    offering: Offering,
    topics: watch::Receiver<Discovered>,
    control: mpsc::Sender<Control>,
    rounds: Rounds,
    announced: HashSet<Arc<str>>,
}

impl Offering {
    /// Offers due partitions until the session ends.
    pub async fn run(
        self,
        mut dues: mpsc::Receiver<Due>,
        topics: watch::Receiver<Discovered>,
        control: mpsc::Sender<Control>,
    ) {
        let rounds = Rounds::default();
        let mut offers = Offers { offering: self, topics, control, rounds, announced: HashSet::new() };
        let mut new: Option<InFlight> = None;
        let mut again: Option<InFlight> = None;
        let mut retry = Retry::soon();
        loop {
            let may_retry = again.is_none() && offers.rounds.has_waiting();
            let sent = tokio::select! {
                biased;
                (lanes, found) = InFlight::answers(&mut new) => {
                    retry = Retry::soon();
                    offers.send(&lanes, found).await
                }
                (lanes, found) = InFlight::answers(&mut again) => {
                    retry = retry.later();
                    offers.send(&lanes, found).await
                }
                due = dues.recv(), if new.is_none() => {
                    let Some(due) = due else { return };
                    let due = [due].into_iter().chain(std::iter::from_fn(|| dues.try_recv().ok()));
                    new = Some(offers.begin(due));
                    true
                }
                () = tokio::time::sleep_until(retry.at), if may_retry => {
                    again = Some(offers.look_up(Vec::new(), offers.rounds.waiting()));
                    true
                }
            };
            if !sent {
                return;
            }
        }
    }
}

impl Offers {
    /// Begins the look-up of due partitions. Each lane's dues stay in order: one look-up is in flight at a time.
    fn begin(&mut self, dues: impl Iterator<Item = Due>) -> InFlight {
        let mut lanes = Vec::new();
        let mut requests = Vec::new();
        for due in dues {
            lanes.push((due.lane, due.epoch));
            requests.extend(self.rounds.handle_due(due));
        }
        self.look_up(lanes, requests)
    }

    /// Asks the source with the current topics: a topic that was deleted meanwhile does not wait.
    fn look_up(&self, lanes: Vec<(LaneId, Epoch)>, requests: Vec<Request>) -> InFlight {
        let topics = Arc::clone(&self.topics.borrow().topics);
        let Offering { catalog, start, deletions, policies, promotion } = self.offering.clone();
        let announced = self.announced.clone();
        let look_up = move || {
            let terms = LookUp {
                catalog: &*catalog,
                topics: &topics,
                start,
                announced: &announced,
                deletions: &deletions,
                policies: &policies,
                promotion: promotion.as_ref(),
            };
            offers::look_up(&terms, requests)
        };
        InFlight { lanes, task: tokio::task::spawn_blocking(look_up) }
    }

    /// Sends the offers of a look-up. False: the session is over.
    async fn send(&mut self, lanes: &[(LaneId, Epoch)], found: LookedUp) -> bool {
        let LookedUp { mut announcements, answers } = found;
        let mut is_new = false;
        announcements.retain(|message| {
            // What follows a topic is about the same topic.
            if let Control::Topic { topic, .. } = message {
                is_new = self.announced.insert(topic.as_str().into());
            }
            is_new
        });
        for message in announcements.into_iter().chain(self.rounds.handle_answers(lanes, answers)) {
            if self.control.send(message).await.is_err() {
                return false;
            }
        }
        true
    }
}
