//! A receiver process that may pause within a call to its target, while the other processes continue.
//!
//! A round of its lanes runs on a thread of its own, and the world waits until the round ends or pauses: at any time one
//! thread runs, so that the seed still decides everything.

use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use wire::control::Control;

use crate::process::{Event, Pausing, SharedProcess};
use crate::receiver_end::ReceiverEnd;

type Replies = Result<Vec<Control>, String>;

/// Sends [`Event::Ended`] even if the round panics.
struct Ends(Sender<Event>);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Ended);
    }
}

struct Round {
    thread: JoinHandle<(ReceiverEnd, Replies)>,
    events: Receiver<Event>,
    resume: Sender<()>,
}

/// Receiver process. Its parts can be used only while it is not paused.
pub(crate) struct Pausable {
    end: Option<ReceiverEnd>,
    round: Option<Round>,
    pub(crate) process: SharedProcess,
}

impl Pausable {
    pub(crate) fn new(end: ReceiverEnd) -> Self {
        Self { process: end.process.clone(), end: Some(end), round: None }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.round.is_some()
    }

    /// Begins or resumes a round of the lanes; a new one pauses only if it `may_pause`. `None`: it is paused.
    pub(crate) fn run(&mut self, may_pause: bool) -> Option<Replies> {
        if let Some(round) = &self.round {
            let _ = round.resume.send(());
        } else if may_pause {
            self.begin();
        } else {
            return Some(self.pump());
        }
        match self.round.as_ref()?.events.recv() {
            Ok(Event::Paused) => None,
            Ok(Event::Ended) | Err(_) => {
                let round = self.round.take()?;
                let (end, replies) = round.thread.join().expect("the round panicked");
                self.end = Some(end);
                Some(replies)
            }
        }
    }

    fn begin(&mut self) {
        let Some(mut end) = self.end.take() else { return };
        let (events, paused) = channel();
        let (resume, resumed) = channel();
        self.process.lock().unwrap().pausing = Some(Pausing { events: events.clone(), resumed });
        let thread = std::thread::spawn(move || {
            let _ends = Ends(events);
            let replies = end.pump();
            end.process.lock().unwrap().pausing = None;
            (end, replies)
        });
        self.round = Some(Round { thread, events: paused, resume });
    }
}

impl Deref for Pausable {
    type Target = ReceiverEnd;

    fn deref(&self) -> &ReceiverEnd {
        self.end.as_ref().expect("the process is not paused")
    }
}

impl DerefMut for Pausable {
    fn deref_mut(&mut self) -> &mut ReceiverEnd {
        self.end.as_mut().expect("the process is not paused")
    }
}

impl Drop for Pausable {
    /// Ends the round of a dead process, in which every call fails.
    fn drop(&mut self) {
        self.process.lock().unwrap().dead = true;
        while self.is_paused() {
            self.run(false);
        }
    }
}
