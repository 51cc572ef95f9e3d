//! Journal of what blocks changed in a state, so that it can be undone.

use super::known::{Change, Stream};
use super::streams::{Entry, Streams, Use};

/// A step of a state, with what was before.
#[derive(Debug)]
pub(super) enum Step {
    /// The stream began, in place of another one or none.
    Began(Option<Entry<Stream>>),
    Evicted(Entry<Stream>),
    /// The stream was used after this use.
    Used(Use),
    Changed(Change),
}

/// Steps since the last commit, each with the number of its stream.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<(u32, Step)>);

impl Journal {
    pub(super) fn push(&mut self, stream: u32, change: Change) {
        self.push_step(stream, Step::Changed(change));
    }

    pub(super) fn push_step(&mut self, stream: u32, step: Step) {
        self.0.push((stream, step));
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Undoes the last steps, so that `len` are left.
    pub(super) fn undo(&mut self, len: usize, streams: &mut Streams<Stream>) {
        while self.0.len() > len {
            let Some((number, step)) = self.0.pop() else { break };
            match step {
                Step::Began(before) => {
                    streams.remove(number);
                    if let Some(before) = before {
                        streams.restore(number, before);
                    }
                }
                Step::Evicted(entry) => streams.restore(number, entry),
                Step::Used(before) => streams.set_last_use(number, before),
                Step::Changed(change) => {
                    if let Some(stream) = streams.get_mut(number) {
                        stream.undo(change);
                    }
                }
            }
        }
    }
}
