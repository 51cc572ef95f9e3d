//! The map of a transaction in preparation.
//!
//! The map is written in the same batch as the records, before their offsets are reported. So their offsets are
//! predicted: the lane is the partition's only writer, and each of its transactions takes one offset more for its marker.
//! The reports, which are awaited before the commit anyway, prove the prediction. Where it is wrong, because an attempt
//! was aborted or a marker came late, the map is corrected in the same transaction.

use wire::ids::{Offset, Position};

use super::ranges::Checkpoint;
use super::{MapRange, PartitionMap};
use crate::target::Offsets;

/// Records of the present transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prediction {
    /// Source offsets without a gap.
    runs: Vec<Run>,
    records: u64,
    /// First target offset that was predicted, and the ranges before it.
    predicted: Option<(Offset, Checkpoint)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: Offset,
    count: u64,
}

/// Whether a map that was written with predicted offsets is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proven,
    /// It was corrected, and has to be written again.
    Corrected,
}

impl PartitionMap {
    /// Adds a record of the present transaction. Returns the number of gaps between their source offsets.
    pub fn append(&mut self, source: Offset) -> usize {
        let Prediction { runs, records, .. } = &mut self.prediction;
        *records += 1;
        match runs.last_mut() {
            Some(last) if last.first.0.checked_add_unsigned(last.count) == Some(source.0) => last.count += 1,
            _ => runs.push(Run { first: source, count: 1 }),
        }
        runs.len()
    }

    /// Returns whether the present transaction has records.
    pub fn is_pending(&self) -> bool {
        !self.prediction.runs.is_empty()
    }

    /// Adds the records of the present transaction with the target offsets that they will probably get.
    pub fn predict(&mut self) {
        let Some(first) = self.prediction.runs.first() else { return };
        self.begin(Position(first.first.0));
        let Some(stored) = &mut self.stored else { return };
        let next = Offset(stored.ranges.end().map_or(0, |end| end.target.0 + 1));
        self.prediction.predicted = Some((next, stored.ranges.checkpoint()));
        let mut target = next;
        for run in &self.prediction.runs {
            stored.ranges.push(MapRange { source: run.first, target, count: run.count });
            target = Offset(target.0.saturating_add_unsigned(run.count));
        }
    }

    /// Compares the prediction with the offsets that the records got, and corrects the map if they differ. `after` is the
    /// source position after the transaction.
    pub fn prove(&mut self, offsets: Offsets, after: Position) -> Verdict {
        let Prediction { runs, records, predicted } = std::mem::take(&mut self.prediction);
        let Some((next, checkpoint)) = predicted else { return Verdict::Proven };
        let found = offsets.in_order();
        if let Some([only]) = found.as_deref()
            && only.first == next
            && only.count == records
        {
            return Verdict::Proven;
        }
        let Some(stored) = &mut self.stored else { return Verdict::Proven };
        stored.ranges.return_to(checkpoint);
        let known = found.filter(|found| found.iter().map(|stretch| stretch.count).sum::<u64>() == records);
        let Some(found) = known else {
            // The target did not say where they are.
            *self = Self::beginning(after);
            return Verdict::Corrected;
        };
        let mut free = found.into_iter();
        let mut place = free.next();
        for Run { first, count } in runs {
            let mut source = first;
            let mut left = count;
            while let Some(stretch) = place.as_mut().filter(|_| left > 0) {
                let count = left.min(stretch.count);
                self.add(MapRange { source, target: stretch.first, count });
                source.0 = source.0.saturating_add_unsigned(count);
                left -= count;
                stretch.first.0 = stretch.first.0.saturating_add_unsigned(count);
                stretch.count -= count;
                if stretch.count == 0 {
                    place = free.next();
                }
            }
        }
        Verdict::Corrected
    }

    /// Adds a range. The map begins again with it if its offsets are not after all others: it is in another log.
    fn add(&mut self, range: MapRange) {
        if self.stored.as_mut().is_some_and(|stored| stored.ranges.push(range)) {
            return;
        }
        *self = Self::beginning(Position(range.source.0));
        if let Some(stored) = &mut self.stored {
            stored.ranges.push(range);
        }
    }
}
