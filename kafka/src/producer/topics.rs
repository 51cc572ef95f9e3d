//! Handles of the topics that a producer writes.
//!
//! Records of one topic follow each other: the handle that was used last is found without hashing the name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::client::Topic;
use crate::error::KafkaError;

/// Place of a handle, for as long as the producer lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place(usize);

#[derive(Debug, Default)]
pub(super) struct Topics {
    handles: Vec<(Arc<str>, Topic)>,
    by_name: HashMap<Arc<str>, Place>,
    /// Places by the address that delivery reports have.
    by_address: HashMap<usize, Place>,
    last: Place,
}

impl Topics {
    /// Returns the place of a topic's handle, which `open` makes for the first record.
    pub(super) fn place(
        &mut self,
        name: &Arc<str>,
        open: impl FnOnce() -> Result<Topic, KafkaError>,
    ) -> Result<Place, KafkaError> {
        if self.handles.get(self.last.0).is_none_or(|(last, _)| last != name) {
            self.last = match self.by_name.get(name) {
                Some(place) => *place,
                None => self.add(name, open()?),
            };
        }
        Ok(self.last)
    }

    fn add(&mut self, name: &Arc<str>, handle: Topic) -> Place {
        let place = Place(self.handles.len());
        self.by_name.insert(Arc::clone(name), place);
        self.by_address.insert(handle.address(), place);
        self.handles.push((Arc::clone(name), handle));
        place
    }

    pub(super) fn at(&self, Place(place): Place) -> &Topic {
        &self.handles[place].1
    }

    /// Returns the name of the topic whose handle is at `address`.
    pub(super) fn name(&self, address: usize) -> Option<&Arc<str>> {
        self.by_address.get(&address).map(|place| &self.handles[place.0].0)
    }
}
