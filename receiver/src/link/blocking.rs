//! Blocking calls to the target. Each link has its own few threads, so that a link whose target hangs takes none that
//! another link, or the process, needs.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Requests of one link that may be in flight: those of its offers, its state and the settings of its topics.
const REQUESTS_MAX: usize = 6;

/// Places for blocking calls, those of one link by default.
#[derive(Debug, Clone)]
pub(crate) struct Blocking {
    places: Arc<Semaphore>,
    /// Places of which these are a part.
    whole: Option<Arc<Semaphore>>,
}

impl Default for Blocking {
    fn default() -> Self {
        Self::new(REQUESTS_MAX)
    }
}

impl Blocking {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), whole: None }
    }

    /// Makes places of one link, of which each that is in use takes one of these, too.
    pub(crate) fn part(&self, places: usize) -> Self {
        Self { whole: Some(Arc::clone(&self.places)), ..Self::new(places) }
    }

    /// Runs `request` on a thread once a place is free. If the caller stops waiting, a request that has begun keeps its
    /// place until it returns. `None` if the request panicked.
    pub(crate) async fn run<R: Send + 'static>(&self, request: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        // The semaphores are never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let of_whole = match &self.whole {
            Some(whole) => Some(Arc::clone(whole).acquire_owned().await.ok()?),
            None => None,
        };
        let answer = tokio::task::spawn_blocking(move || {
            let answer = request();
            drop((place, of_whole));
            answer
        });
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_hanging_target_takes_no_threads_of_another_link() {
        let hanging = Blocking::default();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(service::lock::Lock::new(released));
        let mut waiting = Vec::new();
        for _ in 0..600 {
            let hangs = Arc::clone(&released);
            let blocking = hanging.clone();
            waiting.push(tokio::spawn(async move { blocking.run(move || hangs.lock().recv().is_err()).await }));
        }
        tokio::task::yield_now().await;
        // Their sessions end, and the requests that have begun still hang.
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        for ended in waiting {
            assert!(ended.await.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!(hanging.places.available_permits(), 0, "the first ones hang");
        assert_eq!(Blocking::default().run(|| 7).await, Some(7), "another link's request");
        drop(release);
        assert_eq!(hanging.run(|| 8).await, Some(8));
    }

    #[tokio::test]
    async fn a_part_that_hangs_leaves_places_of_the_whole() {
        let whole = Blocking::new(6);
        let hanging = whole.part(4);
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(service::lock::Lock::new(released));
        let calls = (0..100).map(|_| {
            let hangs = Arc::clone(&released);
            let part = hanging.clone();
            tokio::spawn(async move { part.run(move || hangs.lock().recv().is_err()).await })
        });
        let calls: Vec<_> = calls.collect();
        tokio::task::yield_now().await;
        assert_eq!(whole.part(4).run(|| "other").await, Some("other"));
        assert_eq!((hanging.places.available_permits(), whole.places.available_permits()), (0, 2));
        drop(release);
        for call in calls {
            assert_eq!(call.await.unwrap(), Some(true));
        }
        assert_eq!(whole.places.available_permits(), 6);
    }
}
