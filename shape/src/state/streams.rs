//! Streams of a lane: as many as fit into the memory of its state.

use std::collections::HashMap;

/// Memory of a state, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// All streams together.
    pub(super) streams: usize,
    /// Tables of one stream.
    pub(super) tables: usize,
    /// Window of the codec, as a power of two.
    pub(super) window_log: u32,
}

impl Room {
    /// Divides the bytes of a state: three eighths are for the codec.
    pub(super) const fn of(bound: usize) -> Self {
        let window_log = match (bound / 16).checked_ilog2() {
            Some(log) if log > 18 => 18,
            Some(log) if log >= 10 => log,
            _ => 10,
        };
        Self { streams: bound / 8 * 5, tables: bound / 8 * 3, window_log }
    }
}

/// Streams by number.
#[derive(Debug)]
pub(super) struct Streams<S> {
    entries: HashMap<u32, Entry<S>>,
    /// Weights of all.
    total: usize,
    /// Number of uses so far.
    time: u64,
}

/// A stream with its last use.
#[derive(Debug)]
pub(super) struct Entry<S> {
    stream: S,
    last: Use,
}

/// Use of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    time: u64,
    /// Weight of the stream after it.
    weight: usize,
}

impl<S> Streams<S> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), total: 0, time: 0 }
    }

    pub(super) fn get(&self, number: u32) -> Option<&S> {
        self.entries.get(&number).map(|entry| &entry.stream)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut S> {
        self.entries.get_mut(&number).map(|entry| &mut entry.stream)
    }

    /// Adds a new stream; returns the one that it replaces.
    pub(super) fn begin(&mut self, number: u32, stream: S) -> Option<Entry<S>> {
        let replaced = self.remove(number);
        self.entries.insert(number, Entry { stream, last: Use::default() });
        replaced
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Entry<S>> {
        let removed = self.entries.remove(&number)?;
        self.total -= removed.last.weight;
        Some(removed)
    }

    /// Puts a stream back that was removed.
    pub(super) fn restore(&mut self, number: u32, entry: Entry<S>) {
        self.total += entry.last.weight;
        self.entries.insert(number, entry);
    }

    /// Last use of a stream.
    pub(super) fn last_use(&self, number: u32) -> Use {
        self.entries.get(&number).map_or_else(Use::default, |entry| entry.last)
    }

    /// Sets the last use of a stream.
    pub(super) fn set_last_use(&mut self, number: u32, last: Use) {
        if let Some(entry) = self.entries.get_mut(&number) {
            self.total = self.total - entry.last.weight + last.weight;
            entry.last = last;
        }
    }

    /// Notes a use of a stream that has this weight now.
    pub(super) fn note_use(&mut self, number: u32, weight: usize) {
        self.time += 1;
        self.set_last_use(number, Use { time: self.time, weight });
    }

    /// Removes the streams that were used least recently until the others have at most `most` bytes.
    pub(super) fn evict(&mut self, most: usize) -> Vec<(u32, Entry<S>)> {
        let mut evicted = Vec::new();
        while self.total > most {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last.time).map(|(number, _)| *number);
            let Some(removed) = oldest.and_then(|number| Some((number, self.remove(number)?))) else { break };
            evicted.push(removed);
        }
        evicted
    }

    /// Weights of all streams.
    pub(super) const fn total(&self) -> usize {
        self.total
    }
}
