//! Columns of integers. A *predictor* guesses each value from values before it and from other columns; the differences
//! are laid out as planes of bytes, or as bits.

mod layout;
mod memory;
mod predictor;

pub(crate) use layout::{Layout, cost};
pub(crate) use memory::{Before, Memory};
pub(crate) use predictor::{Parents, Predictor, forward, inverse, key_of_pair};

use crate::error::DecodeError;
use crate::varint::{Reader, put, unzigzag, zigzag};

/// Reusable memory for streams.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) memory: Memory,
    pub(crate) residuals: Vec<u64>,
}

/// Description of a stream: everything but its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) predictor: Predictor,
    /// Least value, for [`Predictor::Base`].
    base: i64,
    layout: Layout,
}

impl Stream {
    /// Encodes `values`, of which nothing is known before: appends the data to `out` and returns the description.
    pub(crate) fn encode(
        predictor: Predictor,
        values: &[i64],
        parents: Parents<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Self {
        scratch.memory.reset(predictor.has_table(), values.len());
        let base = forward(predictor, values, parents, &mut scratch.memory, &mut scratch.residuals);
        Self { predictor, base, layout: Layout::encode(&mut scratch.residuals, out) }
    }

    /// Replaces `values` by `rows` values from `data`.
    pub(crate) fn decode(
        &self,
        rows: usize,
        parents: Parents<'_>,
        scratch: &mut Scratch,
        data: &mut Reader<'_>,
        values: &mut Vec<i64>,
    ) -> Result<(), DecodeError> {
        self.layout.decode(rows, data, &mut scratch.residuals)?;
        scratch.memory.reset(self.predictor.has_table(), rows);
        inverse(self.predictor, self.base, &scratch.residuals, parents, &mut scratch.memory, values);
        Ok(())
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.predictor.number());
        if self.predictor == Predictor::Base {
            put(out, zigzag(self.base));
        }
        self.layout.put(out);
    }

    pub(crate) fn read(header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let predictor = Predictor::of_number(header.byte("a predictor")?)?;
        let base = if predictor == Predictor::Base { unzigzag(header.number("a base")?) } else { 0 };
        Ok(Self { predictor, base, layout: Layout::read(header)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_values() -> impl Strategy<Value = Vec<i64>> {
        let value = prop_oneof![8 => -3..300_i64, 2 => any::<i64>(), 1 => Just(i64::MIN), 4 => Just(7_i64)];
        proptest::collection::vec(value, 0..200)
    }

    proptest! {
        #[test]
        fn any_values_survive_any_predictor(values in some_values(), a in some_values(), b in some_values()) {
            let rows = values.len().min(a.len()).min(b.len());
            let parents = Parents { a: &a[..rows], b: &b[..rows] };
            let mut scratch = Scratch::default();
            for predictor in Predictor::ALL {
                let mut data = Vec::new();
                let stream = Stream::encode(predictor, &values[..rows], parents, &mut scratch, &mut data);
                let mut header = Vec::new();
                stream.put(&mut header);
                prop_assert_eq!(Stream::read(&mut Reader::new(&header)), Ok(stream));
                let mut reader = Reader::new(&data);
                let mut back = Vec::new();
                prop_assert_eq!(stream.decode(rows, parents, &mut scratch, &mut reader, &mut back), Ok(()));
                prop_assert_eq!(&back[..], &values[..rows]);
                prop_assert_eq!(reader.end(), Ok(()));
            }
        }
    }
}
