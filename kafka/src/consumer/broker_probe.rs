//! Question that a consumer asks regularly, to notice that no broker answers it. Its fetches would not tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::metadata;

/// Pause between two questions.
const INTERVAL: Duration = Duration::from_secs(10);
/// Time that a broker may take to answer. The end of the consumer may wait for it.
const LIMIT: Duration = Duration::from_secs(3);

/// Regular question of one client. It asks for the brokers of the cluster, for which no right is needed.
///
/// It is not the admin call for that: librdkafka 2.12.1 aborts the process if a broker answers that one without any
/// broker, as a broker does that its controller takes for dead.
pub(super) struct BrokerProbe {
    client: Arc<Client>,
    next: Instant,
}

impl BrokerProbe {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client), next: Instant::now() + INTERVAL }
    }

    /// Asks if it is time to, and waits for the answer. A client that gets none adds its bootstrap servers again.
    pub(super) fn tick(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        if let Err(error) = metadata::of_brokers(&self.client, LIMIT) {
            tracing::debug!(%error, "no broker answers this consumer");
        }
    }
}
