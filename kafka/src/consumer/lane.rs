//! One lane's queue: its partitions, the batch taken from it, and the wake-up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka_sys as sys;
use wire::frame::HeaderBlock;
use wire::ids::{Position, Slot};

use service::bell::Bell;

use super::super::asides;
use super::super::client::{Queue, Topic, c_string, check};
use super::super::error::KafkaError;
use super::super::partitions::PartitionList;
use super::message::{Message, Origin, Verdict};
use super::{Fault, Instance, LaneEvent, Start};

/// Messages taken at once: enough to forget the price of the call, few enough to pin little memory.
const BATCH: usize = 512;

/// The records of one lane's partitions, in each partition's order.
#[derive(Debug)]
pub struct LaneQueue {
    partitions: HashMap<Origin, Partition>,
    slots: HashMap<Slot, Origin>,
    /// What was taken from the queue; the first is what [`LaneQueue::peek`] shows.
    batch: VecDeque<Message>,
    /// Faults that came beside the messages, shown after those that came before them.
    faults: VecDeque<(Slot, Fault)>,
    /// What is shown: the first of `batch`, or a fault that was beside it.
    head: Option<Head>,
    headers: HeaderBlock,
    queue: Queue,
    waker: Box<Waker>,
    consumer: Arc<Instance>,
}

#[derive(Debug)]
struct Partition {
    slot: Slot,
    name: CString,
    /// Keeps the address in `Origin` its own.
    _topic: Arc<Topic>,
    /// The lowest offset that may still come; lower ones would be duplicates.
    next: i64,
    flow: Flow,
}

/// Whether a partition still delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// Its fault waits until what came before it has been shown.
    Ending,
    /// Its fault has been shown, and nothing more will be.
    Stopped,
}

#[derive(Debug)]
enum Head {
    Record(Slot, i32),
    End(Slot, Position),
    Fault(Slot, Fault),
    /// A fault that no message stands for.
    Aside(Slot, Fault),
}

/// What librdkafka's callback reaches: it must neither call back nor wait.
#[derive(Debug)]
struct Waker {
    /// The queue has been rung for since it was last found empty.
    rung: AtomicBool,
    bell: Bell,
}

/// Called with the queue locked whenever it goes from empty to not empty, and only then: who was woken
/// reads until nothing is left.
extern "C" fn on_wake(_rk: *mut sys::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: the waker lives until the callback has been taken off, which the queue's lock orders.
    let waker = unsafe { &*waker.cast::<Waker>() };
    waker.rung.store(true, Ordering::Release);
    waker.bell.ring();
}

impl LaneQueue {
    pub(super) fn new(consumer: Arc<Instance>, bell: Bell) -> Self {
        let queue = Queue::private(&consumer.client);
        let waker = Box::new(Waker { rung: AtomicBool::new(true), bell });
        // SAFETY: `waker` is boxed and outlives the callback, see `Drop`.
        unsafe {
            let opaque = ptr::from_ref(&*waker).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.raw(), Some(on_wake), opaque);
        }
        Self {
            partitions: HashMap::new(),
            slots: HashMap::new(),
            batch: VecDeque::with_capacity(BATCH),
            faults: VecDeque::new(),
            head: None,
            headers: HeaderBlock::default(),
            queue,
            waker,
            consumer,
        }
    }

    /// Starts to read more partitions.
    ///
    /// # Errors
    /// A slot or partition that is already assigned, to this or another lane of the consumer; a name
    /// that is none. Nothing is assigned then.
    pub fn assign(&mut self, starts: &[Start]) -> Result<(), KafkaError> {
        const DOING: &str = "assignment of partitions";
        let list = PartitionList::new(starts.len());
        let mut topics: HashMap<&str, Arc<Topic>> = HashMap::new();
        let mut added: Vec<(Origin, Partition)> = Vec::with_capacity(starts.len());
        for start in starts {
            let name = c_string(&start.topic)?;
            let topic = match topics.get(&*start.topic) {
                Some(topic) => topic.clone(),
                None => Arc::new(Topic::open(&self.consumer.client, &start.topic)?),
            };
            topics.insert(&start.topic, topic.clone());
            let origin = (topic.address(), start.partition);
            if start.position.0 < 0 {
                // librdkafka would take it for "beginning", "end" or "stored".
                let reason = format!("position {} of {}-{} is negative", start.position, start.topic, start.partition);
                return Err(KafkaError::misused(DOING, reason));
            }
            if self.partitions.contains_key(&origin) || self.slots.contains_key(&start.slot) {
                let reason = format!("{}-{} or slot {} is assigned already", start.topic, start.partition, start.slot);
                return Err(KafkaError::misused(DOING, reason));
            }
            list.add(&name, start.partition, Some(start.position.0), start.leader_epoch);
            let next = start.position.0;
            added.push((origin, Partition { slot: start.slot, name, _topic: topic, next, flow: Flow::Open }));
        }
        // Before: a partition that starts unforwarded sends its records to the instance's own queue.
        self.forward(&added)?;
        // SAFETY: the instance and the list are live; the list is copied.
        unsafe { check(sys::rd_kafka_incremental_assign(self.consumer.client.raw(), list.raw())) }
            .map_err(|error| error.while_doing(DOING))?;
        // And after: an unassignment just before may still have been on its way to taking the
        // forwarding off. It has been carried out by now, because assignments queue up behind it; what
        // was fetched meanwhile waits in the partition's queue and moves over here.
        self.forward(&added)?;
        for (origin, partition) in added {
            self.slots.insert(partition.slot, origin);
            self.partitions.insert(origin, partition);
        }
        Ok(())
    }

    fn forward(&self, partitions: &[(Origin, Partition)]) -> Result<(), KafkaError> {
        for ((_, number), partition) in partitions {
            let source = Queue::partition(&self.consumer.client, &partition.name, *number)
                .ok_or_else(|| KafkaError::misused("forwarding of a partition", "it has no queue"))?;
            // SAFETY: both queues are live; librdkafka counts the reference it keeps.
            unsafe { sys::rd_kafka_queue_forward(source.raw(), self.queue.raw()) };
        }
        Ok(())
    }

    /// Stops reading these; no event of theirs is seen after this returns. Slots that are not assigned
    /// are passed over.
    ///
    /// # Errors
    /// The client's, if it had stopped reading already; the slots are gone all the same.
    pub fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        let gone: Vec<Origin> = slots.iter().filter_map(|slot| self.slots.remove(slot)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let list = PartitionList::new(gone.len());
        let removed: Vec<Partition> = gone
            .iter()
            .filter_map(|origin| {
                self.partitions.remove(origin).inspect(|partition| list.add(&partition.name, origin.1, None, -1))
            })
            .collect();
        // SAFETY: the instance and the list are live; the list is copied.
        let result = unsafe { check(sys::rd_kafka_incremental_unassign(self.consumer.client.raw(), list.raw())) };
        // What is still queued carries an older version and is discarded when taken; what was taken
        // before is not versioned any more.
        let gone: HashSet<Origin> = gone.into_iter().collect();
        let shown_is_gone = self.batch.front().is_some_and(|shown| gone.contains(&shown.origin()));
        if shown_is_gone && !matches!(self.head, Some(Head::Aside(..))) {
            self.head = None;
        }
        self.batch.retain(|message| !gone.contains(&message.origin()));
        self.faults.retain(|(slot, _)| !slots.contains(slot));
        if matches!(&self.head, Some(Head::Aside(slot, _)) if slots.contains(slot)) {
            self.head = None;
        }
        drop(removed);
        result.map_err(|error| error.while_doing("unassignment of partitions"))
    }

    /// The next event, without waiting; the same one until [`LaneQueue::advance`].
    pub fn peek(&mut self) -> Option<LaneEvent<'_>> {
        while self.head.is_none() {
            if !self.batch.is_empty() {
                self.judge();
            } else if let Some((slot, fault)) = self.faults.pop_front() {
                self.end(slot, fault);
            } else if !self.take_batch() {
                return None;
            }
        }
        Some(match self.head.as_ref()? {
            Head::Record(slot, leader_epoch) => {
                let record = self.batch.front()?.record(&self.headers);
                LaneEvent::Record { slot: *slot, leader_epoch: *leader_epoch, record }
            }
            Head::End(slot, position) => LaneEvent::End { slot: *slot, position: *position },
            Head::Fault(slot, fault) | Head::Aside(slot, fault) => {
                LaneEvent::Fault { slot: *slot, fault: fault.clone() }
            }
        })
    }

    /// Drops the event last peeked.
    pub fn advance(&mut self) {
        if !matches!(self.head.take(), None | Some(Head::Aside(..))) {
            self.batch.pop_front();
        }
    }

    /// Finds out what the first message is, or drops it if it is nothing to show.
    fn judge(&mut self) {
        let Some(message) = self.batch.front() else {
            return;
        };
        self.head = self.partitions.get_mut(&message.origin()).and_then(|partition| {
            let head = partition.judge(message, &mut self.headers);
            if matches!(head, Some(Head::Fault(..))) {
                partition.flow = Flow::Stopped;
            }
            head
        });
        if self.head.is_none() {
            self.batch.pop_front();
        }
    }

    /// Takes what the queue has, up to a batch; says whether that was anything.
    fn take_batch(&mut self) -> bool {
        if !self.waker.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let mut taken = [ptr::null_mut(); BATCH];
        let queue = self.queue.raw();
        let (count, asides) = asides::heard(|| {
            // SAFETY: the queue is live, the array as long as stated; messages become ours.
            unsafe { sys::rd_kafka_consume_batch_queue(queue, 0, taken.as_mut_ptr(), BATCH) }
        });
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka filled that many with messages that we now own.
        self.batch.extend(taken[..count].iter().filter_map(|&raw| unsafe { Message::adopt(raw) }));
        // Only an empty queue rings again, so that one with more in it must be remembered.
        if count > 0 {
            self.waker.rung.store(true, Ordering::Release);
        }
        let asides: HashMap<(String, i32), String> = asides.into_iter().filter_map(asides::Aside::missing).collect();
        if !asides.is_empty() {
            self.lose(asides);
        }
        count > 0 || !self.faults.is_empty()
    }

    /// Shows a fault that no message stands for, unless one has been shown already.
    fn end(&mut self, slot: Slot, fault: Fault) {
        let partition = self.slots.get(&slot).and_then(|origin| self.partitions.get_mut(origin));
        if let Some(partition) = partition.filter(|partition| partition.flow != Flow::Stopped) {
            partition.flow = Flow::Stopped;
            self.head = Some(Head::Aside(slot, fault));
        }
    }

    /// Ends the partitions that are said to be missing.
    fn lose(&mut self, mut missing: HashMap<(String, i32), String>) {
        for ((_, number), partition) in &mut self.partitions {
            let name = partition.name.to_string_lossy().into_owned();
            if let Some(reason) = missing.remove(&(name, *number)).filter(|_| partition.flow == Flow::Open) {
                partition.flow = Flow::Ending;
                self.faults.push_back((partition.slot, Fault::Gone(reason)));
            }
        }
    }
}

impl Partition {
    fn judge(&mut self, message: &Message, headers: &mut HeaderBlock) -> Option<Head> {
        if self.flow == Flow::Stopped {
            return None;
        }
        let offset = message.offset();
        match message.verdict() {
            Verdict::Record if offset < self.next => {
                let fault = Fault::Other(format!("offset {offset} came where {} or later was due", self.next));
                Some(Head::Fault(self.slot, fault))
            }
            Verdict::Record => {
                self.next = offset + 1;
                Some(match message.headers(headers) {
                    Ok(()) => Head::Record(self.slot, message.leader_epoch()),
                    Err(fault) => Head::Fault(self.slot, fault),
                })
            }
            Verdict::End => Some(Head::End(self.slot, Position(offset))),
            Verdict::Fault(fault) => Some(Head::Fault(self.slot, fault)),
            Verdict::Passing => {
                tracing::debug!(partition = message.origin().1, topic = ?self.name, "passing: {}", message.reason());
                None
            }
        }
    }
}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        if let Err(error) = self.unassign(&slots) {
            tracing::debug!("end of a lane's reading: {error}");
        }
        // SAFETY: the queue is live. Its lock is held while the callback runs, so once this returns
        // nobody reaches the waker any more.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.raw(), None, ptr::null_mut()) };
    }
}
