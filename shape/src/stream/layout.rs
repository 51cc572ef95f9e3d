//! Layouts of differences: nothing if all are 0, bits for tiny ones, else one plane per byte, the highest first. Where
//! most are 0, bits tell which are not, and the planes are those of the others.

use crate::error::{DecodeError, ensure, within};
use crate::varint::{Reader, put_len};

/// Space of each difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Nothing,
    /// 1, 2 or 4 bits each, the first in the lowest bits.
    Bits(u8),
    /// 1 to 8 planes.
    Planes(u8),
}

impl Width {
    const fn of(most: u64) -> Self {
        match most {
            0 => Self::Nothing,
            1 => Self::Bits(1),
            2..=3 => Self::Bits(2),
            _ => Self::Planes((8 - most.leading_zeros() / 8) as u8),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Bits(bits) => bits,
            Self::Planes(planes) => 7 + planes,
        }
    }

    const fn of_number(number: u8) -> Result<Self, DecodeError> {
        match number {
            0 => Ok(Self::Nothing),
            1 | 2 | 4 => Ok(Self::Bits(number)),
            8..=15 => Ok(Self::Planes(number - 7)),
            _ => Err(DecodeError::Malformed("an unknown width")),
        }
    }

    const fn bytes(self, rows: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Bits(bits) => (rows * bits as usize).div_ceil(8),
            Self::Planes(planes) => rows * planes as usize,
        }
    }
}

/// Mark of a sparse layout in the byte of the width.
const SPARSE: u8 = 0x10;

/// Layout of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    width: Width,
    /// Number of differences that are not 0, for a sparse layout.
    sparse: Option<usize>,
}

impl Layout {
    fn choose(residuals: &[u64]) -> Self {
        let mut all = 0;
        let mut nonzero = 0;
        for residual in residuals {
            all |= residual;
            nonzero += usize::from(*residual != 0);
        }
        let width = Width::of(all);
        if let Width::Planes(1) = width
            && all < 16
            && nonzero * 4 < residuals.len()
        {
            return Self { width: Width::Bits(4), sparse: None };
        }
        let is_sparse = matches!(width, Width::Planes(_)) && nonzero * 5 < residuals.len() * 3;
        Self { width, sparse: is_sparse.then_some(nonzero) }
    }

    /// Appends the differences to `out` and returns their layout. The differences are scratch memory then.
    pub(crate) fn encode(residuals: &mut Vec<u64>, out: &mut Vec<u8>) -> Self {
        let layout = Self::choose(residuals);
        if layout.sparse.is_some() {
            let present = residuals.chunks(8).map(|chunk| {
                chunk.iter().enumerate().fold(0, |byte, (bit, residual)| byte | u8::from(*residual != 0) << bit)
            });
            out.extend(present);
            residuals.retain(|residual| *residual != 0);
        }
        write(layout.width, residuals, out);
        layout
    }

    /// Replaces `residuals` by `rows` differences.
    pub(crate) fn decode(
        &self,
        rows: usize,
        data: &mut Reader<'_>,
        residuals: &mut Vec<u64>,
    ) -> Result<(), DecodeError> {
        residuals.clear();
        let Some(nonzero) = self.sparse else { return read(self.width, rows, data, residuals) };
        within("differences of a sparse layout", nonzero, rows)?;
        let present = data.take(rows.div_ceil(8), "a sparse layout")?;
        let found: usize = present.iter().map(|byte| byte.count_ones() as usize).sum();
        ensure(found == nonzero, "a sparse layout of another number of differences")?;
        let mut dense = Vec::new();
        read(self.width, nonzero, data, &mut dense)?;
        // One more, so that the place behind the last difference can be read.
        dense.push(0);
        residuals.reserve(rows + 8);
        let mut next = 0;
        for byte in present {
            for bit in 0..8 {
                let is_present = byte >> bit & 1;
                residuals.push(dense[next] * u64::from(is_present));
                next += usize::from(is_present);
            }
        }
        ensure(residuals.iter().skip(rows).all(|rest| *rest == 0), "a sparse layout has bits beyond its rows")?;
        residuals.truncate(rows);
        Ok(())
    }

    /// The layout but for the number of differences of a sparse one: at most 31.
    pub(crate) const fn byte(&self) -> u8 {
        self.width.number() | if self.sparse.is_some() { SPARSE } else { 0 }
    }

    /// Appends the number of differences of a sparse layout.
    pub(crate) fn put_count(&self, out: &mut Vec<u8>) {
        if let Some(nonzero) = self.sparse {
            put_len(out, nonzero);
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.byte());
        self.put_count(out);
    }

    pub(crate) fn read(header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let byte = header.byte("a width")?;
        Self::read_behind(byte, header)
    }

    /// Reads what follows behind the byte of a layout.
    pub(crate) fn read_behind(byte: u8, header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let width = Width::of_number(byte & !SPARSE)?;
        let sparse = (byte & SPARSE != 0).then(|| header.count("differences of a sparse layout", u32::MAX as usize));
        Ok(Self { width, sparse: sparse.transpose()? })
    }
}

fn write(width: Width, residuals: &[u64], out: &mut Vec<u8>) {
    match width {
        Width::Nothing => {}
        Width::Bits(bits) => {
            let per_byte = 8 / usize::from(bits);
            let packed = residuals.chunks(per_byte).map(|chunk| {
                chunk
                    .iter()
                    .enumerate()
                    .fold(0, |byte, (at, residual)| byte | (*residual as u8) << (at * usize::from(bits)))
            });
            out.extend(packed);
        }
        Width::Planes(planes) => {
            for plane in (0..planes).rev() {
                out.extend(residuals.iter().map(|residual| (residual >> (8 * plane)) as u8));
            }
        }
    }
}

fn read(width: Width, rows: usize, data: &mut Reader<'_>, residuals: &mut Vec<u64>) -> Result<(), DecodeError> {
    let bytes = data.take(width.bytes(rows), "the data of a stream")?;
    match width {
        Width::Nothing => residuals.resize(rows, 0),
        Width::Bits(bits) => {
            let mask = (1 << bits) - 1;
            let per_byte = 8 / bits;
            residuals.extend(
                bytes.iter().flat_map(|byte| (0..per_byte).map(move |at| u64::from(byte >> (at * bits) & mask))),
            );
            residuals.truncate(rows);
        }
        Width::Planes(1) => residuals.extend(bytes.iter().map(|byte| u64::from(*byte))),
        Width::Planes(2) => {
            let (high, low) = bytes.split_at(rows);
            residuals.extend(high.iter().zip(low).map(|(high, low)| u64::from(*high) << 8 | u64::from(*low)));
        }
        Width::Planes(_) => {
            residuals.resize(rows, 0);
            for plane in bytes.chunks_exact(rows.max(1)) {
                residuals
                    .iter_mut()
                    .zip(plane)
                    .for_each(|(residual, byte)| *residual = *residual << 8 | u64::from(*byte));
            }
        }
    }
    Ok(())
}

/// Bytes of a table of byte frequencies in the compressed form, about.
const TABLE_COST: f64 = 20.0;

/// Estimates the compressed bytes of differences, from the frequencies of bytes in each plane.
pub(crate) fn cost(residuals: &[u64]) -> f64 {
    let layout = Layout::choose(residuals);
    let rows = residuals.len() as f64;
    match (layout.width, layout.sparse) {
        (Width::Nothing, _) => 0.0,
        (Width::Bits(_), _) => entropy_of(residuals.iter().map(|residual| *residual as u8)).min(rows * 4.0) / 8.0 + 2.0,
        (Width::Planes(planes), Some(nonzero)) => {
            let share = nonzero as f64 / rows;
            let flags = if nonzero == 0 { 0.0 } else { -share * share.log2() - (1.0 - share) * (1.0 - share).log2() };
            let dense = residuals.iter().copied().filter(|residual| *residual != 0);
            flags * rows / 8.0 + cost_of_planes(dense, planes)
        }
        (Width::Planes(planes), None) => cost_of_planes(residuals.iter().copied(), planes),
    }
}

fn cost_of_planes(residuals: impl Iterator<Item = u64> + Clone, planes: u8) -> f64 {
    let of_plane =
        |plane| entropy_of(residuals.clone().map(|residual| (residual >> (8 * plane)) as u8)) / 8.0 + TABLE_COST;
    (0..planes).map(of_plane).sum()
}

/// Entropy in bits of bytes that are taken as independent.
fn entropy_of(bytes: impl Iterator<Item = u8>) -> f64 {
    let mut counts = [0_u32; 256];
    let mut total = 0;
    for byte in bytes {
        counts[usize::from(byte)] += 1;
        total += 1;
    }
    let total = f64::from(total);
    let bits = |count: &u32| f64::from(*count) * (total / f64::from(*count)).log2();
    counts.iter().filter(|count| **count > 0).map(bits).sum()
}
