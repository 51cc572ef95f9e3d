//! Numbers of paths in records, such as `payload.after.id`.

use std::collections::HashMap;

/// Numbers of keys below other keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    numbers: HashMap<(u32, Box<[u8]>), u32>,
}

impl Paths {
    /// Number of `key` below `parent`; 0 is the root.
    pub(super) fn number(&mut self, parent: u32, key: &[u8]) -> u32 {
        let next = self.numbers.len() as u32 + 1;
        *self.numbers.entry((parent, key.into())).or_insert(next)
    }
}
