//! Client instances of one consumer, and the choice of the instance that reads a partition.
//!
//! librdkafka names every partition in every fetch: a broker needs about 10 us for each one, and the client searches
//! its list of topics for each one in the answer. 5,000 idle partitions in fetches of half a second cost the client a
//! quarter of a core, and the broker a tenth. Longer fetches cost less. But a fetch in flight also delays what else its
//! connection is asked: a partition that is added waits for two of them, first for its leader and then for its place in
//! the next fetch.
//!
//! So a few partitions are read by a first instance, with short fetches. All others are divided among further
//! instances, with longer fetches. Partitions that join late find room in the first instance. A record ends a fetch
//! of any length, so that it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service::lock::Lock;

use super::event_thread::EventThread;
use super::fetch_tap::{FetchTap, FetchedBytes};
use crate::client::{Client, Kind};
use crate::error::KafkaError;

/// Partitions of the first instance at most, and those of them that did not join late.
const FIRST_MAX: usize = 1_000;
const FIRST_EARLY_MAX: usize = 250;
/// Partitions of each further instance: a fetch of them costs the client about 5 ms.
const FURTHER_MAX: usize = 1_000;
/// Further instances at most, each with its threads, and with a connection to each broker. They take more partitions
/// each when all are full.
const INSTANCES_MAX: usize = 16;
/// Time that brokers keep an idle fetch of a further instance open. The partitions of a broker that hangs, or whose
/// leader moves, wait for up to three of them.
pub(super) const FURTHER_WAIT: Duration = Duration::from_millis(1_500);

/// Settings of a client instance.
pub(super) type Settings = Vec<(String, String)>;

/// Instances of one consumer. Fields are dropped in order: the lanes' queues belong to the first instance.
#[derive(Debug)]
pub(super) struct Instances {
    further: Lock<Vec<Arc<Instance>>>,
    first: Arc<Instance>,
    further_settings: Settings,
    /// Count of the bytes that they fetch, if it is wanted.
    fetched: Option<FetchedBytes>,
}

/// Client with a thread for its events. Fields are dropped in order: the thread ends before the client.
#[derive(Debug)]
pub(super) struct Instance {
    _thread: EventThread,
    pub(super) client: Arc<Client>,
    /// Number of its partitions.
    seats: AtomicUsize,
}

/// Place of one partition in an instance.
#[derive(Debug)]
pub(super) struct Seat(Arc<Instance>);

impl Instances {
    pub(super) fn start(
        first: &Settings,
        further: Settings,
        fetched: Option<FetchedBytes>,
    ) -> Result<Self, KafkaError> {
        let first = Arc::new(Instance::start(first, fetched.as_ref())?);
        Ok(Self { first, further: Lock::new(Vec::new()), further_settings: further, fetched })
    }

    pub(super) fn first(&self) -> &Arc<Instance> {
        &self.first
    }

    /// Takes a place for a partition. Starts another instance if all are full.
    pub(super) fn seat(&self, is_late: bool) -> Result<Seat, KafkaError> {
        let max = if is_late { FIRST_MAX } else { FIRST_EARLY_MAX };
        let mut further = self.further.lock();
        if self.first.has_room(max) {
            return Ok(Seat::take(&self.first));
        }
        if let Some(instance) = further.iter().find(|instance| instance.has_room(FURTHER_MAX)) {
            return Ok(Seat::take(instance));
        }
        if further.len() < INSTANCES_MAX {
            let started = Arc::new(Instance::start(&self.further_settings, self.fetched.as_ref())?);
            further.push(started);
        }
        let least = further.iter().min_by_key(|instance| instance.seats.load(Ordering::Relaxed));
        Ok(Seat::take(least.unwrap_or(&self.first)))
    }
}

impl Instance {
    fn start(settings: &Settings, fetched: Option<&FetchedBytes>) -> Result<Self, KafkaError> {
        let client = match fetched {
            Some(fetched) => Client::start_tapped(settings, FetchTap::new(fetched.clone()))?,
            None => Client::start(Kind::Consumer, settings, 0)?,
        };
        let thread = EventThread::start(&client)?;
        Ok(Self { _thread: thread, client, seats: AtomicUsize::new(0) })
    }

    fn has_room(&self, max: usize) -> bool {
        self.seats.load(Ordering::Relaxed) < max
    }
}

impl Seat {
    fn take(instance: &Arc<Instance>) -> Self {
        instance.seats.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(instance))
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.0.client
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances() -> Instances {
        let settings = [("bootstrap.servers", "127.0.0.1:1"), ("group.id", "seats")];
        let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Instances::start(&settings, settings.clone(), None).unwrap()
    }

    fn seats(instances: &Instances, count: usize, is_late: bool) -> Vec<Seat> {
        (0..count).map(|_| instances.seat(is_late).unwrap()).collect()
    }

    fn counts(instances: &Instances) -> Vec<usize> {
        let further = instances.further.lock();
        let all = std::iter::once(&instances.first).chain(further.iter());
        all.map(|instance| instance.seats.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn late_partitions_find_room_in_the_first_instance() {
        let instances = instances();
        let early = seats(&instances, FIRST_EARLY_MAX + FURTHER_MAX + 1, false);
        assert_eq!(counts(&instances), [FIRST_EARLY_MAX, FURTHER_MAX, 1]);
        let late = seats(&instances, FIRST_MAX - FIRST_EARLY_MAX + 1, true);
        assert_eq!(counts(&instances), [FIRST_MAX, FURTHER_MAX, 2]);
        drop(late);
        drop(early);
        assert_eq!(counts(&instances), [0, 0, 0], "the places are free again");
        drop(seats(&instances, 1, false));
    }

    #[test]
    fn full_instances_share_further_partitions() {
        let instances = instances();
        let all = FIRST_EARLY_MAX + INSTANCES_MAX * (FURTHER_MAX + 2);
        let _seats = seats(&instances, all, false);
        let counts = counts(&instances);
        assert_eq!(counts.len(), INSTANCES_MAX + 1);
        assert!(counts[1..].iter().all(|count| *count == FURTHER_MAX + 2), "{counts:?}");
    }
}
