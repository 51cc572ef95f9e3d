//! A session that waits for its link, and prepares the link's state when it gets it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::Connection;
use service::shutdown::{Phase, Shutdown};
use tokio::sync::mpsc;
use wire::close::{Close, CloseCode};
use wire::control::{Control, CreditTerms};
use wire::frame::StateBound;
use wire::hello::FEATURE_FRAME_STATE;
use wire::lanes::ClassTable;

use super::active::{self, ReadySession};
use super::greeting::{Greeted, Host};
use crate::lane::handle::LaneHandle;
use crate::lane::{AcceptedCluster, MapTerms, Terms};
use crate::link::arbiter::{Candidate, SessionId, Verdict};
use crate::link::promotion::task as promotion;
use crate::link::state_topic::StateTopicError;

/// Wait between two attempts on a target that fails while a session waits for it.
const RETRY: Duration = Duration::from_secs(1);
/// Time without an answer of the target after which the link reports it.
const SLOW: Duration = Duration::from_secs(10);

/// A session whose sender is authenticated.
pub(super) struct PendingSession {
    pub(super) id: SessionId,
    pub(super) connection: Connection,
    pub(super) host: Arc<Host>,
    pub(super) greeted: Greeted,
    /// Time of its first message, in ms since the Unix epoch.
    pub(super) began: i64,
}

/// What a session begins with.
struct Ready {
    lanes: Vec<LaneHandle>,
    /// The session's terms, with all classes.
    terms: Arc<Terms>,
    credit: CreditTerms,
}

impl PendingSession {
    /// Waits for the link, then serves it until the session ends.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let (verdicts_in, mut verdicts) = mpsc::channel(16);
        let hello = &self.greeted.hello;
        let candidate = Candidate {
            session: self.id,
            instance: hello.instance.clone(),
            process: hello.process,
            stand_by: hello.stand_by,
            filter_hash: hello.filter_hash,
        };
        let id = self.id;
        let link = Arc::clone(&self.greeted.link);
        let connection = self.connection.clone();
        let name = self.greeted.settings.name.clone();
        let host = Arc::clone(&self.host);
        link.handle_hello(candidate, &self.greeted.settings, verdicts_in);
        let close = match self.wait(&mut verdicts, &shutdown).await {
            Ok(Ready { lanes, terms, credit }) => {
                let Self { id, connection, host, greeted, .. } = self;
                let session = ReadySession { id, connection, host, greeted, lanes, terms, credit };
                active::serve(session, verdicts, shutdown).await
            }
            Err(close) => {
                self.greeted.writer.close(close.clone()).await;
                close
            }
        };
        link.handle_end(id);
        if let Some(services) = host.groups.as_ref().filter(|_| close.code == CloseCode::Promoted) {
            promotion::finish(&link, services);
        }
        link.closes.lock().add(close.code.name());
        if close.code == CloseCode::ClusterChanged {
            *link.refused.lock() = Some(close.detail.clone());
        }
        tracing::info!(link = name, session = id, code = close.code.name(), detail = close.detail, "session ended");
        transport::control::close(&connection, &close);
    }

    /// Waits until the session has the link, and its state topic and lanes are ready.
    async fn wait(&mut self, verdicts: &mut mpsc::Receiver<Verdict>, shutdown: &Shutdown) -> Result<Ready, Close> {
        loop {
            match self.next_verdict(verdicts, shutdown).await? {
                Verdict::Activate(_) => break,
                Verdict::StandBy { behind, .. } => {
                    let sender = &self.greeted.hello.instance;
                    tracing::info!(link = self.greeted.settings.name, sender, behind, "sender stands by");
                    let sent = self.greeted.writer.send(&Control::Standby { behind }).await;
                    sent.map_err(|error| Close::normal(error.to_string()))?;
                }
                Verdict::End { close, .. } => return Err(close),
            }
        }
        // A session that ends waits for nothing, and its requests end with it.
        let ready = tokio::select! {
            ready = self.prepare() => ready,
            close = async {
                loop {
                    match self.next_verdict(verdicts, shutdown).await {
                        Ok(Verdict::End { close, .. }) | Err(close) => return close,
                        Ok(_) => {}
                    }
                }
            } => Err(close),
        };
        self.greeted.link.condition.set_preparing(None);
        ready
    }

    /// Waits for the next decision about this session. Error: it ends without one.
    async fn next_verdict(
        &self,
        verdicts: &mut mpsc::Receiver<Verdict>,
        shutdown: &Shutdown,
    ) -> Result<Verdict, Close> {
        tokio::select! {
            verdict = verdicts.recv() => verdict.ok_or_else(|| Close::new(CloseCode::Internal, "link is gone")),
            error = self.connection.closed() => Err(Close::normal(error.to_string())),
            () = shutdown.reached(Phase::Drain) => Err(Close::normal("receiver is leaving")),
        }
    }

    async fn prepare(&self) -> Result<Ready, Close> {
        let link = &self.greeted.link;
        let default = ClassTable::new(self.greeted.hello.lanes);
        let credit = link.credit(default.lanes());
        let default = Arc::new(self.terms(default, credit));
        loop {
            let attempt = link.prepare(&default, &self.greeted.hello.classes);
            match self.reporting_delay(attempt).await {
                Ok((lanes, classes)) => {
                    let credit = link.credit(classes.lanes());
                    return Ok(Ready { lanes, terms: Arc::new(self.terms(classes, credit)), credit });
                }
                Err(StateTopicError::Refused(close)) => return Err(close),
                Err(error) => {
                    let name = &self.greeted.settings.name;
                    tracing::warn!(link = name, %error, "could not prepare the link's state; trying again");
                    link.condition.set_preparing(Some(error.to_string()));
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits for an attempt, and reports how long it has taken so far.
    async fn reporting_delay<R>(&self, attempt: impl Future<Output = R>) -> R {
        let began = Instant::now();
        tokio::pin!(attempt);
        loop {
            match tokio::time::timeout(SLOW, &mut attempt).await {
                Ok(result) => return result,
                Err(_) => {
                    let reason = format!("the target has not answered for {} s", began.elapsed().as_secs());
                    self.greeted.link.condition.set_preparing(Some(reason));
                }
            }
        }
    }

    fn terms(&self, classes: ClassTable, credit: CreditTerms) -> Terms {
        let Greeted { settings, target_cluster, hello, link, .. } = &self.greeted;
        let lanes = classes.lanes();
        let state = StateBound::granted(credit, lanes);
        Terms {
            state: state.filter(|_| hello.features & FEATURE_FRAME_STATE != 0),
            link: settings.name.clone(),
            map: MapTerms::new(link.has_map(lanes)),
            classes,
            lane_hash: hello.lane_hash.clone(),
            source_cluster: hello.cluster_id.clone(),
            target_cluster: target_cluster.clone(),
            filter_hash: hello.filter_hash,
            sender: hello.instance.clone(),
            accepts: settings.accept_cluster.clone().map(|id| AcceptedCluster { id, at: self.began }),
        }
    }
}
