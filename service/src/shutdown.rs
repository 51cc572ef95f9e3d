//! The shutdown of a process: it drains at the first signal and exits immediately at the second one.

use tokio::sync::watch;

/// The phase of a process, from work to exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// The process does its work.
    #[default]
    Run,
    /// The process takes no new work, finishes what is in flight, and exits.
    Drain,
    /// The process exits immediately; the other end and the target recover, as after a crash.
    Now,
}

/// The side that starts a shutdown.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// The side that follows a shutdown; cloned for every task.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Phase>);

/// Makes a trigger and a first follower.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Run);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Advances to `phase`; never goes back.
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
