//! A session that waits for its link, and prepares the link's state when it gets it.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use service::shutdown::{Phase, Shutdown};
use tokio::sync::mpsc;
use wire::close::{Close, CloseCode};
use wire::control::Control;
use wire::lanes::ClassTable;

use super::active::{self, ReadySession};
use super::greeting::{Greeted, Host};
use crate::lane::thread::LaneHandle;
use crate::lane::{AcceptedCluster, Terms};
use crate::link::arbiter::{Candidate, SessionId, Verdict};
use crate::link::state_topic::StateTopicError;

/// Wait between two attempts on a target that fails while a session waits for it.
const RETRY: Duration = Duration::from_secs(1);

/// A session whose sender is authenticated.
pub(super) struct PendingSession {
    pub(super) id: SessionId,
    pub(super) connection: Connection,
    pub(super) host: Arc<Host>,
    pub(super) greeted: Greeted,
    /// Time of its first message, in ms since the Unix epoch.
    pub(super) began: i64,
}

/// The lanes of the link, and the session's terms with all classes.
type Ready = (Vec<LaneHandle>, Arc<Terms>);

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
        link.handle_hello(candidate, &self.greeted.settings, verdicts_in);
        let close = match self.wait(&mut verdicts, &shutdown).await {
            Ok((lanes, terms)) => {
                let Self { id, connection, host, greeted, .. } = self;
                let session = ReadySession { id, connection, host, greeted, lanes, terms };
                active::serve(session, verdicts, shutdown).await
            }
            Err(close) => {
                self.greeted.writer.close(close.clone()).await;
                close
            }
        };
        link.condition.set_preparing(None);
        link.handle_end(id);
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
            let verdict = tokio::select! {
                verdict = verdicts.recv() => verdict,
                error = self.connection.closed() => return Err(Close::normal(error.to_string())),
                () = shutdown.reached(Phase::Drain) => return Err(Close::normal("receiver is leaving")),
            };
            match verdict {
                Some(Verdict::Activate(_)) => return self.prepare(shutdown).await,
                Some(Verdict::StandBy { behind, .. }) => {
                    let sender = &self.greeted.hello.instance;
                    tracing::info!(link = self.greeted.settings.name, sender, behind, "sender stands by");
                    let sent = self.greeted.writer.send(&Control::Standby { behind }).await;
                    sent.map_err(|error| Close::normal(error.to_string()))?;
                }
                Some(Verdict::End { close, .. }) => return Err(close),
                None => return Err(Close::new(CloseCode::Internal, "link is gone")),
            }
        }
    }

    async fn prepare(&self, shutdown: &Shutdown) -> Result<Ready, Close> {
        let default = Arc::new(self.terms(ClassTable::new(self.greeted.hello.lanes)));
        loop {
            let link = Arc::clone(&self.greeted.link);
            let terms = Arc::clone(&default);
            let requests = self.greeted.hello.classes.clone();
            let prepared = tokio::task::spawn_blocking(move || link.prepare(&terms, &requests)).await;
            match prepared {
                Ok(Ok((lanes, classes))) => {
                    self.greeted.link.condition.set_preparing(None);
                    return Ok((lanes, Arc::new(self.terms(classes))));
                }
                Ok(Err(StateTopicError::Refused(close))) => return Err(close),
                Ok(Err(error)) => {
                    let link = &self.greeted.settings.name;
                    tracing::warn!(link, %error, "could not prepare the link's state; trying again");
                    self.greeted.link.condition.set_preparing(Some(error.to_string()));
                }
                Err(_) => return Err(Close::new(CloseCode::Internal, "preparing the link failed")),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                error = self.connection.closed() => return Err(Close::normal(error.to_string())),
                () = shutdown.reached(Phase::Drain) => return Err(Close::normal("receiver is leaving")),
            }
        }
    }

    fn terms(&self, classes: ClassTable) -> Terms {
        let Greeted { settings, target_cluster, hello, .. } = &self.greeted;
        Terms {
            link: settings.name.clone(),
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
