//! Columns of integers. A *predictor* guesses each value from values before it and from other columns; the differences
//! are laid out as planes of bytes, or as bits.

mod layout;
mod predictor;

pub(crate) use layout::{Layout, cost};
pub(crate) use predictor::{Parents, Predictor, forward, inverse};

use crate::error::DecodeError;
use crate::varint::{Reader, put, unzigzag, zigzag};

/// Description of a stream: everything but its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) predictor: Predictor,
    /// Least value, for [`Predictor::Base`].
    base: i64,
    layout: Layout,
}

impl Stream {
    /// Encodes `values`: appends the data to `out` and returns the description. `residuals` is scratch memory.
    pub(crate) fn encode(
        predictor: Predictor,
        values: &[i64],
        parents: Parents<'_>,
        residuals: &mut Vec<u64>,
        out: &mut Vec<u8>,
    ) -> Self {
        let base = forward(predictor, values, parents, residuals);
        Self { predictor, base, layout: Layout::encode(residuals, out) }
    }

    /// Decodes `rows` values from `data`.
    pub(crate) fn decode(
        &self,
        rows: usize,
        parents: Parents<'_>,
        residuals: &mut Vec<u64>,
        data: &mut Reader<'_>,
    ) -> Result<Vec<i64>, DecodeError> {
        self.layout.decode(rows, data, residuals)?;
        Ok(inverse(self.predictor, self.base, residuals, parents))
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
            let mut scratch = Vec::new();
            for predictor in Predictor::ALL {
                let mut data = Vec::new();
                let stream = Stream::encode(predictor, &values[..rows], parents, &mut scratch, &mut data);
                let mut header = Vec::new();
                stream.put(&mut header);
                prop_assert_eq!(Stream::read(&mut Reader::new(&header)), Ok(stream));
                let mut reader = Reader::new(&data);
                let back = stream.decode(rows, parents, &mut scratch, &mut reader);
                prop_assert_eq!(back.as_deref(), Ok(&values[..rows]));
                prop_assert_eq!(reader.end(), Ok(()));
            }
        }
    }
}
