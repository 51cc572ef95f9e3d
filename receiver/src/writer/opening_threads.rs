//! Threads that open and recover lanes. Both may wait for a partition that hangs, and no other lane waits for that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Threads of a receiver, and those that the lanes of one link may use at the same time.
const THREADS_MAX: usize = 16;
const OF_LINK_MAX: usize = 4;
/// Time without work after which a thread ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Queue of calls that may block, and the threads that make them.
#[derive(Clone, Default)]
pub(crate) struct OpeningThreads(Arc<(Mutex<Queue>, Condvar)>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Arc<str>, Job)>,
    /// Number of running calls of each link.
    running: HashMap<Arc<str>, usize>,
    threads: usize,
    idle: usize,
}

impl Queue {
    /// Takes the first job of a link that has not its share of the threads.
    fn take(&mut self) -> Option<(Arc<str>, Job)> {
        let may_run = |(link, _): &(Arc<str>, Job)| self.running.get(link).is_none_or(|count| *count < OF_LINK_MAX);
        let (link, job) = self.jobs.iter().position(may_run).and_then(|place| self.jobs.remove(place))?;
        *self.running.entry(Arc::clone(&link)).or_default() += 1;
        Some((link, job))
    }

    fn finish(&mut self, link: &Arc<str>) {
        if let Some(count) = self.running.get_mut(link) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(link);
            }
        }
    }
}

impl OpeningThreads {
    /// Makes a call for a link on a thread, once one is free.
    pub(crate) fn run(&self, link: &Arc<str>, job: impl FnOnce() + Send + 'static) {
        let (_, wake) = &*self.0;
        let mut queue = self.lock();
        queue.jobs.push_back((Arc::clone(link), Box::new(job)));
        if queue.idle >= queue.jobs.len() || queue.threads >= THREADS_MAX {
            wake.notify_one();
            return;
        }
        let threads = self.clone();
        // Without a new thread the job waits for one of the others.
        if thread::Builder::new().name("lane-opening".to_owned()).spawn(move || threads.serve()).is_ok() {
            queue.threads += 1;
        }
    }

    fn serve(&self) {
        let (_, wake) = &*self.0;
        let mut queue = self.lock();
        loop {
            if let Some((link, job)) = queue.take() {
                drop(queue);
                // A panic ends the lane's call and not the thread.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                queue = self.lock();
                queue.finish(&link);
                // A job of this link may have waited for its share.
                wake.notify_one();
                continue;
            }
            queue.idle += 1;
            let (woken, timeout) = wake.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if timeout.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_link_that_hangs_leaves_threads_to_the_others() {
        let threads = OpeningThreads::default();
        let hangs: Arc<str> = "hangs".into();
        let other: Arc<str> = "other".into();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (done, ended) = mpsc::channel();
        for _ in 0..100 {
            let released = Arc::clone(&released);
            let done = done.clone();
            threads.run(&hangs, move || {
                let _ = released.lock().unwrap().recv();
                done.send("hangs").unwrap();
            });
        }
        threads.run(&other, move || done.send("other").unwrap());
        assert_eq!(ended.recv(), Ok("other"));
        drop(release);
        assert_eq!(ended.iter().take(100).filter(|link| *link == "hangs").count(), 100);
        assert!(threads.lock().threads <= THREADS_MAX);
    }
}
