//! Offsets that the records of one partition got, as delivery reports tell them. Sans-IO.

use wire::ids::Offset;

/// Target offsets of records, in stretches without a gap. A gap within one transaction is a marker or a void record of
/// another one, or records of another program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offsets(Vec<Stretch>);

/// Offsets without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// First offset; negative where the broker does not say it.
    pub first: Offset,
    pub count: u64,
}

impl Stretch {
    /// Returns the offset after the last.
    pub fn end(&self) -> i64 {
        self.first.0.saturating_add_unsigned(self.count)
    }
}

impl Offsets {
    /// Returns the offsets from `first` to `last`.
    pub fn between(first: Offset, last: Offset) -> Self {
        Self(vec![Stretch { first, count: u64::try_from(last.0 - first.0 + 1).unwrap_or(0) }])
    }

    /// Adds the offset of a record.
    pub fn add(&mut self, offset: Offset) {
        match self.0.last_mut() {
            Some(last) if last.end() == offset.0 => last.count += 1,
            _ => self.0.push(Stretch { first: offset, count: 1 }),
        }
    }

    /// Adds the offsets of other records.
    pub fn extend(&mut self, others: &Self) {
        for stretch in &others.0 {
            match self.0.last_mut() {
                Some(last) if last.end() == stretch.first.0 => last.count += stretch.count,
                _ => self.0.push(*stretch),
            }
        }
    }

    /// Returns the lowest offset; −1 if there is none.
    pub fn first(&self) -> Offset {
        self.0.iter().map(|stretch| stretch.first).min().unwrap_or(Offset(-1))
    }

    /// Returns the highest offset; −1 if there is none.
    pub fn last(&self) -> Offset {
        Offset(self.0.iter().map(|stretch| stretch.end() - 1).max().unwrap_or(-1))
    }

    /// Returns the stretches in the order of the log; `None` if an offset is unknown or is there twice.
    pub fn in_order(mut self) -> Option<Vec<Stretch>> {
        self.0.sort_unstable();
        let is_known = self.0.first().is_none_or(|stretch| stretch.first >= Offset(0));
        let are_apart = self.0.windows(2).all(|pair| pair[0].end() <= pair[1].first.0);
        (is_known && are_apart).then_some(self.0)
    }
}

impl FromIterator<i64> for Offsets {
    fn from_iter<I: IntoIterator<Item = i64>>(offsets: I) -> Self {
        let mut all = Self::default();
        offsets.into_iter().for_each(|offset| all.add(Offset(offset)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_between_reported_offsets_are_kept() {
        let offsets: Offsets = [7, 8, 10, 11, 12].into_iter().collect();
        assert_eq!((offsets.first(), offsets.last()), (Offset(7), Offset(12)));
        let stretch = |first, count| Stretch { first: Offset(first), count };
        assert_eq!(offsets.in_order(), Some(vec![stretch(7, 2), stretch(10, 3)]));
        let late: Offsets = [10, 11, 7, 8].into_iter().collect();
        assert_eq!(late.in_order(), Some(vec![stretch(7, 2), stretch(10, 2)]), "a batch was reported late");
    }

    #[test]
    fn offsets_that_the_broker_does_not_say_are_unknown() {
        let repeated: Offsets = [7, -1, 0, 1].into_iter().collect();
        assert_eq!(repeated.in_order(), None);
        let twice: Offsets = [7, 8, 8].into_iter().collect();
        assert_eq!(twice.in_order(), None);
    }
}
