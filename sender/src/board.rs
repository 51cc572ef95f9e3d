//! Board of one sender: each part publishes here what it does. Status and metrics read it; nothing on the board
//! decides anything, except that operators' requests to resume pass through it to the session.

pub(crate) mod acls;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::Connection;
use serde::{Deserialize, Serialize};
use service::lock::Lock;
use service::status::Tally;
use tokio::sync::{mpsc, oneshot, watch};
use transport::clock::Clock;
use transport::congestion::Flow;
use wire::condition::Condition;
use wire::frame::StateBound;
use wire::limits::TOPIC_NAME_MAX;

use crate::board::acls::AclBoard;
use crate::dispatch::dispatcher::Dispatcher;
use crate::groups::board::GroupBoard;
use crate::lane::activity::ActivityMeter;
use crate::lane::compression::Choice;
use crate::lane::latency::Latency;
use crate::lane::progress::Progress;
use crate::partitions::deleted_topic::DeletedTopic;
use crate::partitions::deletions::Deletions;
use crate::partitions::outcome::Outcome;
use crate::partitions::resume::{PendingForget, PendingRequest, Request, SessionRequest};
use crate::partitions::router::Router;
use crate::rate::Rates;
use crate::session::end::SessionEnd;
use crate::source::discovery::Discovered;
use crate::source::discovery::SourceEnds;

pub(crate) use traffic::{ChannelPlace, Wire};

/// Requests of operators that may wait for the session.
const REQUESTS_MAX: usize = 32;
/// Time that an operator waits for the receiver's answer; the admin port waits a little longer.
const ANSWER: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The source cluster has not answered yet.
    #[default]
    Starting,
    /// The sender dials the receiver.
    Connecting,
    /// Another sender holds the link, under this instance name.
    Standby { behind: String },
    /// The sender holds the link.
    Active,
}

/// Values that the parts of a sender have published.
#[derive(Debug, Clone, Default)]
pub struct Published {
    pub link: String,
    pub instance: String,
    pub state: State,
    /// Address of the receiver, in a session.
    pub receiver: Option<String>,
    /// Kafka's id of the target cluster, once a session began.
    pub target_cluster: Option<String>,
    /// Channels of the session by their places, channel 0 first; empty without a session.
    pub channels: Vec<ChannelPlace>,
    /// Times that a further channel was dialled again.
    pub redials: u64,
    /// Channels that made no progress while others did.
    pub dead_channels: u64,
    /// Dispatcher of this session, or of the one before.
    pub dispatcher: Option<Dispatcher>,
    /// Router of this session, or of the one before.
    pub router: Option<Router>,
    /// Congestion control that all channels share.
    pub flow: Option<Flow>,
    pub session_began: Option<Instant>,
    /// Bound of the frame state of each lane in the session; `None` if no frame refers to others.
    pub frame_state: Option<StateBound>,
    pub sessions: u64,
    /// Traffic of the sessions before this one.
    pub wire_before: Wire,
    /// Counts of how sessions ended, by label.
    pub closes: Tally,
    /// Description of how the session or the attempt before this one ended.
    pub last_end: Option<String>,
    /// Begin of the present time without a session.
    pub no_session_since: Option<Instant>,
    /// Condition of the receiver, as it last told it in this session.
    pub receiver_condition: Option<Condition>,
    /// Description of why the source cluster cannot be reached.
    pub source_trouble: Option<String>,
    /// Description of why the topics of the source cannot be listed.
    pub discovery_trouble: Option<String>,
    pub lanes: Vec<Arc<Progress>>,
    pub activities: Vec<Arc<ActivityMeter>>,
    /// Codec of each lane's frames, and the reason for it.
    pub choices: Vec<Arc<Choice>>,
    /// Topics with stored positions that the source no longer has; those of the last session.
    pub deleted_topics: Vec<DeletedTopic>,
    /// Queue of the session for operators' requests; `None` without a session.
    requests: Option<mpsc::Sender<SessionRequest>>,
}

/// Board of one sender. Its parts write to it, status and metrics read it.
#[derive(Debug)]
pub struct Board {
    published: Lock<Published>,
    topics: watch::Sender<Discovered>,
    rates: Arc<Rates>,
    latency: Arc<Latency>,
    deletions: Arc<Deletions>,
    condition: watch::Sender<Condition>,
    source_ends: watch::Sender<Arc<SourceEnds>>,
    asked: watch::Sender<()>,
    groups: GroupBoard,
    acls: AclBoard,
}

impl Default for Board {
    fn default() -> Self {
        Self::with_clock(Clock::default())
    }
}

impl Board {
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            published: Lock::default(),
            topics: watch::Sender::default(),
            rates: Arc::default(),
            latency: Arc::new(Latency::new(clock)),
            deletions: Arc::default(),
            condition: watch::Sender::default(),
            source_ends: watch::Sender::default(),
            asked: watch::Sender::default(),
            groups: GroupBoard::default(),
            acls: AclBoard::default(),
        }
    }

    /// The rates of this sender, where `causeway rate` asks.
    pub fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.rates)
    }

    pub fn latency(&self) -> Arc<Latency> {
        Arc::clone(&self.latency)
    }

    /// Knowledge about deletions that compaction may remove before they are carried.
    pub(crate) fn deletions(&self) -> Arc<Deletions> {
        Arc::clone(&self.deletions)
    }

    /// The topics of the source; empty until the source has answered.
    pub fn topics(&self) -> &watch::Sender<Discovered> {
        &self.topics
    }

    /// The condition of this end, which sessions tell the receiver.
    pub fn condition(&self) -> &watch::Sender<Condition> {
        &self.condition
    }

    /// The ends of the partitions to be carried, as last read.
    pub(crate) fn source_ends(&self) -> &watch::Sender<Arc<SourceEnds>> {
        &self.source_ends
    }

    /// Changes whenever the receiver asks for a reading of the source.
    pub(crate) fn asked(&self) -> &watch::Sender<()> {
        &self.asked
    }

    /// Notes that the receiver asks for a reading of the source.
    pub(crate) fn ask_reading(&self) {
        self.asked.send_replace(());
    }

    /// Board of consumer groups.
    pub(crate) fn groups(&self) -> &GroupBoard {
        &self.groups
    }

    /// Board of access control lists.
    pub(crate) fn acls(&self) -> &AclBoard {
        &self.acls
    }

    pub fn publish(&self, change: impl FnOnce(&mut Published)) {
        change(&mut self.published.lock());
    }

    /// Returns a copy of all values.
    pub fn read(&self) -> Published {
        self.published.lock().clone()
    }

    /// Publishes that the session ended, or that an attempt to begin one failed.
    pub fn end_session(&self, end: &SessionEnd) {
        self.publish(|published| {
            published.closes.add(end.label());
            published.wire_before = published.wire();
            published.channels.clear();
            published.state = State::Connecting;
            published.receiver = None;
            published.requests = None;
            published.session_began = None;
            published.frame_state = None;
            published.no_session_since.get_or_insert_with(Instant::now);
            published.receiver_condition = None;
            published.last_end = Some(end.to_string());
        });
    }

    /// Returns the queue of operators' requests, from now on, for the session that just began.
    pub fn take_requests(&self) -> mpsc::Receiver<SessionRequest> {
        let (requests, pending) = mpsc::channel(REQUESTS_MAX);
        self.publish(|published| published.requests = Some(requests));
        pending
    }

    /// Asks the session to resume halted partitions and waits for the outcome: one sentence, or their sum and a line for
    /// each. Error: the same, if a partition was not resumed; it says why, and what to do.
    pub async fn ask(&self, request: Request) -> Result<String, String> {
        request.validate()?;
        // Bounded by the partitions of the link, which answer once each.
        let (answers, mut answered) = mpsc::unbounded_channel();
        self.request(SessionRequest::Resume(PendingRequest { request, at: transport::clock::unix_millis(), answers }))?;
        let mut outcome = Outcome::default();
        let collect = async {
            while let Some(answer) = answered.recv().await {
                outcome.handle(answer);
            }
        };
        match tokio::time::timeout(ANSWER, collect).await {
            Ok(()) => outcome.finish("the session ended before the receiver answered; try again"),
            Err(_) => outcome.finish(&format!(
                "the receiver has not answered within {} s; `causeway status` will show the outcome",
                ANSWER.as_secs()
            )),
        }
    }

    /// Asks the session to drop the stored positions of a topic that is not carried, and waits for the outcome: a
    /// sentence either way.
    pub async fn forget(&self, topic: String) -> Result<String, String> {
        if topic.is_empty() || topic.len() > TOPIC_NAME_MAX {
            return Err(format!("a topic name has 1 to {TOPIC_NAME_MAX} bytes"));
        }
        let (answer, answered) = oneshot::channel();
        self.request(SessionRequest::Forget(PendingForget { topic, at: transport::clock::unix_millis(), answer }))?;
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the session ended before the receiver answered; try again".to_owned()),
            Err(_) => Err(format!("the receiver has not answered within {} s; try again", ANSWER.as_secs())),
        }
    }

    /// Passes a request to the session. Error: a sentence that says why there is none.
    fn request(&self, request: SessionRequest) -> Result<(), String> {
        let published = self.read();
        let requests = match (&published.state, published.requests) {
            (State::Standby { behind }, _) => return Err(on_standby(behind)),
            (State::Active, Some(requests)) => requests,
            _ => return Err("this sender has no session, which is required to store a position; try again".to_owned()),
        };
        requests.try_send(request).map_err(|_| "too many requests are waiting; try again".to_owned())
    }
}

/// Answer to a question that only the sender that holds the link can answer.
pub(crate) fn on_standby(behind: &str) -> String {
    format!("this sender is on standby: ask {behind}, which holds the link")
}

impl Published {
    pub fn first_channel(&self) -> Option<&Connection> {
        self.channels.first()?.connection.as_ref()
    }

    /// Returns the traffic of all sessions.
    pub fn wire(&self) -> Wire {
        self.channels.iter().fold(self.wire_before, |sum, place| sum + place.wire())
    }
}
