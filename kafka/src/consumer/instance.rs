//! A consumer's librdkafka instance, together with the thread that empties its own queue.

use std::sync::Arc;

use super::event_thread::EventThread;
use crate::client::{Client, Kind};
use crate::error::KafkaError;

/// A consumer instance, shared by its lanes. Fields are dropped in order: the thread ends before the client.
#[derive(Debug)]
pub(super) struct Instance {
    _thread: EventThread,
    pub(super) client: Arc<Client>,
}

impl Instance {
    pub(super) fn start(settings: &[(String, String)]) -> Result<Self, KafkaError> {
        let client = Client::start(Kind::Consumer, settings, 0)?;
        let thread = EventThread::start(&client)?;
        Ok(Self { _thread: thread, client })
    }
}
