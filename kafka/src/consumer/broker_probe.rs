//! Question that a consumer asks regularly, to notice that no broker answers it. Its fetches would not tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;

use crate::admin::call::{Call, Submitted};
use crate::client::Client;
use crate::error::KafkaError;

/// Pause between two questions.
const INTERVAL: Duration = Duration::from_secs(10);
/// Time that a broker may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Regular question of one client. It asks for the brokers of the cluster, for which no right is needed.
pub(super) struct BrokerProbe {
    client: Arc<Client>,
    asked: Option<Submitted>,
    next: Instant,
}

impl BrokerProbe {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client), asked: None, next: Instant::now() + INTERVAL }
    }

    /// Looks for an answer, or asks if it is time to. A client that gets none adds its bootstrap servers again.
    pub(super) fn tick(&mut self) {
        if let Some(asked) = &self.asked {
            match asked.poll() {
                None => return,
                Some(answer) => {
                    if let Err(error) = answer {
                        tracing::debug!(%error, "no broker answers this consumer");
                    }
                    self.asked = None;
                }
            }
        }
        if Instant::now() >= self.next {
            self.next = Instant::now() + INTERVAL;
            self.asked = self.ask().ok();
        }
    }

    fn ask(&self) -> Result<Submitted, KafkaError> {
        let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let call = Call::new(&self.client, operation, "description of the cluster".to_owned())?.within(LIMIT)?;
        Ok(call.submit(|rk, options, queue| {
            // SAFETY: all are live; librdkafka copies the options.
            unsafe { sys::rd_kafka_DescribeCluster(rk, options, queue) }
        }))
    }
}
