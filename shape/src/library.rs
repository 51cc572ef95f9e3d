//! Library of templates: threads that write blocks show records to it, and another thread learns from them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{SAMPLE_GROWTH, SAMPLE_MAX};
use crate::records::{Records, RecordsBuf};
use crate::writer::Template;

/// Shelves of a library, at most.
const SHELVES_MAX: usize = 512;
/// Bytes of all samples together, at most, in addition to those of the jobs.
const SAMPLES_MAX: usize = 16 << 20;
/// Jobs that may wait.
const JOBS_MAX: usize = 4;
/// Least bytes of a sample.
const SAMPLE_MIN: usize = 4 << 10;
/// Most offers that are ignored after templates that were of no use.
const PAUSE_MAX: u32 = 1_024;

/// Templates by the kind of records. Its memory is bounded; the template that was used least recently goes first.
#[derive(Debug)]
pub struct Library {
    shelves: Mutex<Shelves>,
    jobs: SyncSender<Job>,
    load: Arc<Load>,
    /// Number of calls, which tells what was used least recently.
    time: AtomicU64,
}

/// Shelves by topic and kind of records.
type Shelves = HashMap<(Arc<str>, u8), Arc<Shelf>>;

/// Place of the template of one kind of records.
#[derive(Debug)]
pub struct Shelf {
    state: Mutex<State>,
    /// Number of templates so far.
    version: AtomicU64,
    used: AtomicU64,
    jobs: SyncSender<Job>,
    load: Arc<Load>,
}

/// Memory of all shelves together.
#[derive(Debug, Default)]
struct Load {
    /// Bytes of samples.
    samples: AtomicUsize,
    /// Jobs that wait or run.
    jobs: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    template: Option<Arc<Template>>,
    sample: RecordsBuf,
    learned_from: usize,
    is_learning: bool,
    /// Templates in a row that were of no use.
    failures: u32,
    /// Offers to ignore.
    pause: u32,
}

/// Sample to learn from.
#[derive(Debug)]
pub struct Job {
    shelf: Arc<Shelf>,
    sample: RecordsBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// Creates a library, and the queue of its jobs, which ends with the library and all its shelves.
    pub fn new() -> (Arc<Self>, Receiver<Job>) {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let library = Self { shelves: Mutex::default(), jobs, load: Arc::default(), time: AtomicU64::new(0) };
        (Arc::new(library), queue)
    }

    /// Returns the shelf of the records of `kind` in a topic.
    pub fn shelf(&self, topic: &Arc<str>, kind: u8) -> Arc<Shelf> {
        let now = self.time.fetch_add(1, Ordering::Relaxed);
        let mut shelves = lock(&self.shelves);
        if let Some(shelf) = shelves.get(&(Arc::clone(topic), kind)) {
            shelf.used.store(now, Ordering::Relaxed);
            return Arc::clone(shelf);
        }
        let oldest = shelves.iter().min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()).filter(|_| shelves.len() >= SHELVES_MAX) {
            shelves.remove(&oldest);
        }
        let shelf = Arc::new(Shelf {
            state: Mutex::default(),
            version: AtomicU64::new(0),
            used: AtomicU64::new(now),
            jobs: self.jobs.clone(),
            load: Arc::clone(&self.load),
        });
        shelves.insert((Arc::clone(topic), kind), Arc::clone(&shelf));
        shelf
    }
}

impl Shelf {
    /// Number of templates that were learned or rejected so far: another number means another template.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns a copy of the template, if there is one.
    pub fn template(&self) -> Option<Template> {
        lock(&self.state).template.as_ref().map(|template| Template::clone(template))
    }

    /// Returns whether more records can make a better template.
    pub fn is_curious(&self) -> bool {
        lock(&self.state).is_curious()
    }

    /// Shows records to learn from. It takes no longer than copying them.
    pub fn offer(self: &Arc<Self>, records: Records<'_>) {
        let mut state = lock(&self.state);
        if state.is_learning {
            return;
        }
        let before = state.sample.bytes.len();
        let free = SAMPLES_MAX.saturating_sub(self.load.samples.load(Ordering::Relaxed));
        if free > 0 {
            state.sample.extend(records.first(free), SAMPLE_MAX);
        }
        let found = state.sample.bytes.len();
        self.load.samples.fetch_add(found - before, Ordering::Relaxed);
        let is_enough = found >= SAMPLE_MIN.max(state.learned_from * SAMPLE_GROWTH);
        if is_enough && self.load.jobs.load(Ordering::Relaxed) < JOBS_MAX {
            self.load.jobs.fetch_add(1, Ordering::Relaxed);
            let job = Job { shelf: Arc::clone(self), sample: state.sample.clone() };
            // A job that nothing takes frees its place when it is dropped.
            state.is_learning = self.jobs.try_send(job).is_ok();
        }
    }

    /// Handles that the template of this version does not fit, or saves nothing: another one is learned later.
    pub fn reject(&self, version: u64) {
        let mut state = lock(&self.state);
        if self.version() == version && state.template.take().is_some() {
            self.forget_sample(&mut state);
            state.fail();
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    fn learned(&self, template: Option<Template>, from: usize) {
        let mut state = lock(&self.state);
        state.is_learning = false;
        match template {
            Some(template) => {
                state.template = Some(Arc::new(template));
                state.learned_from = from;
                self.version.fetch_add(1, Ordering::Release);
                if !state.is_curious() {
                    self.forget_sample(&mut state);
                }
            }
            None => {
                self.forget_sample(&mut state);
                state.fail();
            }
        }
    }

    fn forget_sample(&self, state: &mut State) {
        let sample = std::mem::take(&mut state.sample);
        self.load.samples.fetch_sub(sample.bytes.len(), Ordering::Relaxed);
        state.learned_from = if state.template.is_some() { state.learned_from } else { 0 };
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.load.samples.fetch_sub(state.sample.bytes.len(), Ordering::Relaxed);
    }
}

impl State {
    /// Returns whether more records can make a better template.
    const fn is_curious(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        !self.is_learning && (self.template.is_none() || self.learned_from < SAMPLE_MAX / SAMPLE_GROWTH)
    }

    fn fail(&mut self) {
        self.failures += 1;
        self.pause = (1 << self.failures.min(16)).min(PAUSE_MAX);
    }
}

impl Job {
    /// Learns from the sample.
    pub fn learn(self) {
        let template = Template::learn(self.sample.as_records());
        self.shelf.learned(template, self.sample.bytes.len());
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shelf.load.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Decoder;
    use crate::limits::Limits;
    use crate::writer::BlockWriter;

    fn events(from: usize, count: usize) -> RecordsBuf {
        let event = |number: usize| format!("{{\"id\":{number},\"state\":\"open\",\"at\":{}}}", 1_000 + number * 7);
        (from..from + count).map(event).collect()
    }

    #[test]
    fn another_thread_learns_what_is_shown() {
        let (library, jobs) = Library::new();
        let shelf = library.shelf(&"orders".into(), 0);
        let records = events(0, 1_000);
        shelf.offer(events(0, 1).as_records());
        assert!(jobs.try_recv().is_err(), "one record is too few");
        shelf.offer(records.as_records());
        shelf.offer(records.as_records());
        assert_eq!((shelf.version(), shelf.template().is_some()), (0, false));
        jobs.try_recv().expect("a job").learn();
        assert!(jobs.try_recv().is_err(), "one job at a time");
        assert_eq!(library.shelf(&"orders".into(), 0).version(), 1);
        let mut template = shelf.template().expect("JSON has a template");
        let mut block = Vec::new();
        assert!(BlockWriter::new(1).write(&mut template, records.as_records(), &mut block));
        let mut back = RecordsBuf::default();
        Decoder::new(Limits::default()).decode(&block, &mut back).expect("a block");
        assert_eq!(back, records);
        assert!(block.len() * 20 < records.bytes.len(), "{} bytes", block.len());
    }

    #[test]
    fn a_template_of_a_small_sample_is_replaced() {
        let (library, jobs) = Library::new();
        let shelf = library.shelf(&"orders".into(), 0);
        let mut learned = 0;
        for number in (0..100).take_while(|_| shelf.is_curious()) {
            shelf.offer(events(number * 1_000, 1_000).as_records());
            learned += jobs.try_iter().map(Job::learn).count();
        }
        assert_eq!(learned, 2, "from 45 KB, from eight times as much, and then never again");
        assert_eq!(library.load.samples.load(Ordering::Relaxed), 0, "the sample is freed");
    }

    #[test]
    fn what_has_no_template_is_tried_less_and_less() {
        let (library, jobs) = Library::new();
        let shelf = library.shelf(&"orders".into(), 0);
        let mut tries = 0;
        let records = events(0, 1_000);
        for _ in 0..2_000 {
            if shelf.is_curious() {
                shelf.offer(records.as_records());
            }
            for job in jobs.try_iter() {
                tries += 1;
                job.learn();
                shelf.reject(shelf.version());
            }
        }
        assert!((5..15).contains(&tries), "{tries}");
        assert!(shelf.template().is_none());
    }

    #[test]
    fn memory_of_samples_and_number_of_shelves_are_bounded() {
        let (library, jobs) = Library::new();
        let shelves: Vec<_> = (0..SHELVES_MAX + 10).map(|n| library.shelf(&format!("topic {n}").into(), 0)).collect();
        assert_eq!(lock(&library.shelves).len(), SHELVES_MAX);
        let large = events(0, 30_000);
        shelves.iter().for_each(|shelf| shelf.offer(large.as_records()));
        let held = library.load.samples.load(Ordering::Relaxed);
        assert!(held <= SAMPLES_MAX + SAMPLE_MAX, "{held} bytes");
        assert_eq!(jobs.try_iter().count(), JOBS_MAX);
        drop((shelves, library));
    }
}
