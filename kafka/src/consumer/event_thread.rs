//! A thread that empties a consumer's own queue and logs its events, which concern the whole consumer, and that notices
//! if the consumer has lost its brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka_sys as sys;

use super::broker_probe::BrokerProbe;
use crate::client::{Client, Event, Queue};
use crate::error::KafkaError;

/// The longest wait for an event, between two looks at the probe. An event interrupts it, and so does the end of the
/// thread.
const IDLE: Duration = Duration::from_secs(5);

/// The thread behind a consumer's own queue. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct EventThread {
    queue: Arc<Queue>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EventThread {
    pub(super) fn start(client: &Arc<Client>) -> Result<Self, KafkaError> {
        // SAFETY: a live consumer; this makes its main queue flow into its consumer queue.
        unsafe { sys::rd_kafka_poll_set_consumer(client.raw()) };
        let queue = Queue::consumer(client).ok_or_else(|| KafkaError::misused("consumer queue", "it has no group"))?;
        let queue = Arc::new(queue);
        let ended = Arc::new(AtomicBool::new(false));
        let watch = {
            let queue = queue.clone();
            let ended = ended.clone();
            let mut probe = BrokerProbe::new(client);
            move || {
                while !ended.load(Ordering::Acquire) {
                    if let Some(event) = queue.poll(IDLE) {
                        report(&event);
                    }
                    probe.tick();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("kafka-events".to_owned())
            .spawn(watch)
            .map_err(|error| KafkaError::misused("thread for consumer events", error.to_string()))?;
        Ok(Self { queue, ended, thread: Some(thread) })
    }
}

fn report(event: &Event) {
    if event.kind() == sys::RD_KAFKA_EVENT_FETCH && event.error().is_none() {
        // Every partition is forwarded before it is read, so no record can arrive here.
        tracing::error!("bug: a record arrived outside its lane's queue");
        return;
    }
    // Lost broker connections, or a missing right on the group, which the consumer never joins.
    if let Some((code, reason)) = event.error() {
        tracing::debug!(code, "kafka client: {reason}");
    }
}

impl Drop for EventThread {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.queue.interrupt();
        if let Some(thread) = self.thread.take() {
            // A panic in it was already printed.
            let _ = thread.join();
        }
    }
}
