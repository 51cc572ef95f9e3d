//! How a process is told to leave: drain at the first signal, at once at the second.

use tokio::sync::watch;

/// What a process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Its work.
    #[default]
    Run,
    /// Take no new work, finish what is in flight, leave.
    Drain,
    /// Leave at once; the other end and the target sort it out, as after a crash.
    Now,
}

/// The side that decides.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// The side that obeys; cloned for every task.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// A trigger and what listens to it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Run);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Moves on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}

impl Shutdown {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is at least `phase`. A dropped trigger means [`Phase::Now`].
    pub async fn reached(&self, phase: Phase) {
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shutdown_never_goes_back() {
        let (trigger, shutdown) = channel();
        assert_eq!(shutdown.phase(), Phase::Run);
        trigger.advance(Phase::Now);
        trigger.advance(Phase::Drain);
        assert_eq!(shutdown.phase(), Phase::Now);
        shutdown.reached(Phase::Drain).await;
    }
}
