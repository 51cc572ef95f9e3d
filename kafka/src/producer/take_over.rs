//! Initialisation of a transactional id.
//!
//! The target ends an open transaction of the id first, which takes it some milliseconds; meanwhile it refuses the
//! initialisation. librdkafka 2.12 asks again after 500 ms, always. A new client asks sooner.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka_sys as sys;

use crate::client::{Client, Kind, check, fatal, millis};
use crate::client_log;
use crate::error::KafkaError;

/// Pauses in milliseconds before another client asks. The last client waits for as long as it may.
const PAUSES: [u64; 5] = [10, 20, 40, 80, 160];
/// Time after which to look whether the client was refused.
const LOOK: Duration = Duration::from_millis(10);

/// Starts a producer with these settings, and fences earlier owners of its transactional id.
pub(super) fn take_over(settings: &[(String, String)], id: &str, limit: Duration) -> Result<Arc<Client>, KafkaError> {
    let deadline = Instant::now() + limit;
    let events = sys::RD_KAFKA_EVENT_DR | sys::RD_KAFKA_EVENT_ERROR;
    for pause in PAUSES {
        let client = Client::start(Kind::Producer, settings, events)?;
        if initialise(&client, id, limit, deadline, LOOK)? {
            return Ok(client);
        }
        thread::sleep(Duration::from_millis(pause).min(deadline.saturating_duration_since(Instant::now())));
    }
    let client = Client::start(Kind::Producer, settings, events)?;
    initialise(&client, id, limit, deadline, limit)?;
    Ok(client)
}

/// Initialises the id. Returns false if the target refuses that for now, which is looked at each time that `look` is over.
fn initialise(
    client: &Client,
    id: &str,
    limit: Duration,
    deadline: Instant,
    look: Duration,
) -> Result<bool, KafkaError> {
    let doing = || format!("fencing of `{id}`");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(KafkaError::timed_out(doing(), limit));
        }
        // SAFETY: the instance is live.
        match unsafe { check(sys::rd_kafka_init_transactions(client.raw(), millis(left.min(look)))) } {
            Ok(()) => return Ok(true),
            Err(_) if look < limit && client_log::retries(client.raw().addr()) => return Ok(false),
            Err(error) if error.retriable => {}
            Err(error) => {
                let (code, reason) = fatal(client).unwrap_or((error.code, error.reason));
                return Err(KafkaError::coded(doing(), code, reason));
            }
        }
    }
}
