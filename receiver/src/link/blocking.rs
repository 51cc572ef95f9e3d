//! Blocking requests of one link to the target. Each link has its own few threads, so that a link whose target hangs takes
//! none that another link, or the process, needs.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Requests of one link that may be in flight: those of its offers, its state and the settings of its topics.
const REQUESTS_MAX: usize = 6;

/// Places for the blocking requests of one link.
#[derive(Debug, Clone)]
pub(crate) struct Blocking(Arc<Semaphore>);

impl Default for Blocking {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS_MAX)))
    }
}

impl Blocking {
    /// Runs `request` on a thread once a place is free. If the caller stops waiting, a request that has begun keeps its
    /// place until it returns. `None` if the request panicked.
    pub(crate) async fn run<R: Send + 'static>(&self, request: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
        let answer = tokio::task::spawn_blocking(move || {
            let answer = request();
            drop(place);
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
        assert_eq!(hanging.0.available_permits(), 0, "the first ones hang");
        assert_eq!(Blocking::default().run(|| 7).await, Some(7), "another link's request");
        drop(release);
        assert_eq!(hanging.run(|| 8).await, Some(8));
    }
}
