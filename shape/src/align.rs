//! Values of another column for each row of a column.

use std::borrow::Cow;

/// Rows that are passed one by one.
const LINEAR_MAX: usize = 8;

/// Values of a column, with the record of each where that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aligned<'a> {
    pub(crate) values: &'a [i64],
    pub(crate) records: &'a [u32],
    /// The last value of the block before; 0 without one.
    pub(crate) before: i64,
}

impl<'a> Aligned<'a> {
    /// For a column with `rows` rows in the records `own`: the value of this column in the same row, if both have as
    /// many rows; otherwise its last value up to the end of the same record, or that before the first.
    pub(crate) fn to(self, rows: usize, own: &[u32]) -> Cow<'a, [i64]> {
        if self.values.len() == rows {
            return Cow::Borrowed(self.values);
        }
        if self.values.is_empty() {
            // A column that had numbers in the block before, and is text in this one: its records may not be known.
            return Cow::Owned(vec![self.before; rows]);
        }
        self.to_unequal(own)
    }

    /// Like [`Self::to`], for columns that have other numbers of rows.
    pub(crate) fn to_unequal(self, own: &[u32]) -> Cow<'a, [i64]> {
        let mut next = 0;
        let mut value = self.before;
        let aligned = own.iter().map(|record| {
            let mut passed = 0;
            while next < self.values.len() && self.records[next] <= *record {
                // Few rows may have to pass many.
                let rest = &self.records[next..];
                next += if passed < LINEAR_MAX { 1 } else { rest.partition_point(|of| of <= record) };
                value = self.values[next - 1];
                passed += 1;
            }
            value
        });
        Cow::Owned(aligned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_those_of_the_record_before() {
        let parent = Aligned { values: &[10, 20, 21], records: &[1, 3, 3], before: 7 };
        assert_eq!(*parent.to(5, &[0, 1, 2, 3, 4]), [7, 10, 10, 21, 21]);
        assert_eq!(*parent.to(3, &[]), [10, 20, 21]);
        assert_eq!(*Aligned { values: &[], records: &[], before: 7 }.to(2, &[]), [7, 7]);
    }
}
