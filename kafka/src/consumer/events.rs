//! What concerns a whole consumer rather than a partition: taken off its queue by one small thread, so
//! that it never piles up, and logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka_sys as sys;

use super::super::client::{Client, Event, Queue};
use super::super::error::KafkaError;

/// Nothing depends on this wait: events and the end interrupt it.
const IDLE: Duration = Duration::from_secs(60);

/// The thread that watches a consumer's own queue; ends when dropped.
#[derive(Debug)]
pub(super) struct Events {
    queue: Arc<Queue>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Events {
    pub(super) fn watch(client: &Arc<Client>) -> Result<Self, KafkaError> {
        // SAFETY: a live consumer; this makes its main queue flow into its consumer queue.
        unsafe { sys::rd_kafka_poll_set_consumer(client.raw()) };
        let queue = Queue::consumer(client).ok_or_else(|| KafkaError::misused("consumer queue", "it has no group"))?;
        let (queue, ended) = (Arc::new(queue), Arc::new(AtomicBool::new(false)));
        let watch = {
            let (queue, ended) = (queue.clone(), ended.clone());
            move || {
                while !ended.load(Ordering::Acquire) {
                    if let Some(event) = queue.poll(IDLE) {
                        report(&event);
                    }
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
        // Every partition is forwarded before it is read, so no record can come this way.
        tracing::error!("a record arrived outside its lane's queue");
        return;
    }
    // Brokers that come and go, and the group we are not allowed to use and never join.
    if let Some((code, reason)) = event.error() {
        tracing::debug!(code, "kafka client: {reason}");
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.queue.interrupt();
        if let Some(thread) = self.thread.take() {
            // A panic in it was already printed; there is nothing to save.
            let _ = thread.join();
        }
    }
}
