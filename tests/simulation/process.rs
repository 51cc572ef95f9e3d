//! State of a receiver process that its lanes share, and its pauses.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};

/// State of a receiver process, which may die at one of its next calls to the target.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) dies_in: Option<u64>,
    pub(crate) dead: bool,
    /// Number of times that its credentials for the target have changed.
    pub(crate) credentials: u64,
    /// Calls per thousand that fail.
    pub(crate) failing: u64,
    pub(crate) calls: u64,
    /// Present if this process may pause at a call, while the others continue.
    pub(crate) pausing: Option<Pausing>,
    /// Number by which its calls are printed.
    pub(crate) traced: Option<u64>,
}

pub(crate) type SharedProcess = Arc<Mutex<Process>>;

/// The process's end of a round that may pause.
#[derive(Debug)]
pub(crate) struct Pausing {
    pub(crate) events: Sender<Event>,
    pub(crate) resumed: Receiver<()>,
}

impl Pausing {
    /// Returns once the world resumes the process.
    pub(crate) fn pause(&self) {
        let _ = self.events.send(Event::Paused);
        let _ = self.resumed.recv();
    }
}

/// Event of a round.
pub(crate) enum Event {
    Paused,
    Ended,
}
