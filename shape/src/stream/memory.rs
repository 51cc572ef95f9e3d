//! What a predictor remembers of the rows before.

use crate::limits::SLOTS_BITS_MAX;

/// Mark of a slot without a value.
pub(super) const EMPTY: i64 = i64::MIN;

/// Last values by a hash of what they depend on. Collisions only cost bytes: both ends have the same.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<i64>,
    shift: u32,
    /// Slots that were written, with what was in them before, while that is noted.
    journal: Option<Vec<(u32, i64)>>,
}

impl Table {
    fn reset(&mut self, bits: u32) {
        self.slots.clear();
        self.slots.resize(1 << bits, EMPTY);
        self.shift = 64 - bits;
    }

    pub(super) fn slot(&mut self, key: u64) -> &mut i64 {
        let mask = self.slots.len() - 1;
        &mut self.slots[(key >> self.shift) as usize & mask]
    }

    /// Like [`Self::slot`], for a slot that is to be written.
    pub(super) fn slot_to_write(&mut self, key: u64) -> &mut i64 {
        let index = (key >> self.shift) as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[index];
        if let Some(journal) = &mut self.journal {
            journal.push((index as u32, *slot));
        }
        slot
    }
}

/// Memory of one column's predictor: of the rows of a block, or of the blocks before too.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(super) table: Table,
    /// The last value, and the one before it.
    pub(super) before: i64,
    pub(super) earlier: i64,
    /// The last value less that of A.
    pub(super) offset: i64,
}

/// What a memory was before some values.
#[derive(Debug)]
pub(crate) struct Before {
    /// The table, if many of its slots change.
    copy: Vec<i64>,
    journal: Vec<(u32, i64)>,
    rest: [i64; 3],
}

impl Memory {
    /// Forgets everything. The table has room for `rows` values, if the predictor has one.
    pub(crate) fn reset(&mut self, has_table: bool, rows: usize) {
        self.reset_slots(has_table, (usize::BITS - rows.leading_zeros() + 1).min(SLOTS_BITS_MAX));
    }

    /// Forgets everything. The table has 2^`bits` slots, if the predictor has one.
    pub(crate) fn reset_slots(&mut self, has_table: bool, bits: u32) {
        [self.before, self.earlier, self.offset] = [0; 3];
        if has_table {
            self.table.reset(bits);
        }
    }

    /// The last value.
    pub(crate) const fn last(&self) -> i64 {
        self.before
    }

    /// Slots of the table as a power of two; 64 without one.
    pub(crate) const fn slots_bits(&self) -> u32 {
        self.table.slots.len().trailing_zeros()
    }

    /// Bytes of the table.
    pub(crate) const fn table_bytes(&self) -> usize {
        self.table.slots.len() * size_of::<i64>()
    }

    /// Begins to note what `rows` more values change, for [`Self::restore`].
    pub(crate) fn begin_notes(&mut self, has_table: bool, rows: usize) -> Before {
        let Self { table, before, earlier, offset } = self;
        let slots = &table.slots;
        let is_copied = has_table && rows * 2 >= slots.len();
        table.journal = (has_table && !is_copied).then(Vec::new);
        Before {
            copy: if is_copied { slots.clone() } else { Vec::new() },
            journal: Vec::new(),
            rest: [*before, *earlier, *offset],
        }
    }

    /// Ends the notes.
    pub(crate) fn end_notes(&mut self, before: &mut Before) {
        before.journal = self.table.journal.take().unwrap_or_default();
    }

    /// Restores what was before the notes began.
    pub(crate) fn restore(&mut self, before: Before) {
        let Before { copy, journal, rest } = before;
        [self.before, self.earlier, self.offset] = rest;
        if !copy.is_empty() {
            self.table.slots = copy;
        }
        for (slot, value) in journal.into_iter().rev() {
            self.table.slots[slot as usize] = value;
        }
    }

    /// Notes the last of the values of a block.
    pub(crate) fn end(&mut self, values: &[i64]) {
        match values {
            [.., earlier, last] => [self.earlier, self.before] = [*earlier, *last],
            [only] => [self.earlier, self.before] = [self.before, *only],
            [] => {}
        }
    }
}
