//! What is charged for a stream, and what it forgets when it is too much. Both ends charge and forget the same.

use std::cmp::Reverse;

use super::nodes::KnownNodes;
use crate::limits::{TEXT_BYTES_MAX, TEXTS_MAX};
use crate::stream::Memory;

/// What is charged for a column besides its texts and table, and for a text and each of its bytes: vectors may have room
/// for twice as many.
const COLUMN_WEIGHT: usize = 384;
const TEXT_WEIGHT: usize = 64;
const BYTE_WEIGHT: usize = 2;

/// Column at either end.
pub(super) trait Known {
    fn memory(&self) -> &Memory;

    /// Number of texts and their bytes.
    fn texts(&self) -> [usize; 2];
}

/// Columns by number; those that no block has had yet are missing.
pub(super) type Columns<C> = Vec<Option<Box<C>>>;

fn texts_weight(column: &impl Known) -> usize {
    let [texts, bytes] = column.texts();
    texts * TEXT_WEIGHT + bytes * BYTE_WEIGHT
}

/// Bytes of all tables.
pub(super) fn tables<C: Known>(nodes: &KnownNodes, columns: &Columns<C>) -> usize {
    nodes.tables() + columns.iter().flatten().map(|column| column.memory().table_bytes()).sum::<usize>()
}

/// Bytes that are charged for a stream.
pub(super) fn weight<C: Known>(nodes: &KnownNodes, columns: &Columns<C>) -> usize {
    let of = |column: &C| COLUMN_WEIGHT + texts_weight(column) + column.memory().table_bytes();
    nodes.weight() + columns.iter().flatten().map(|column| of(column)).sum::<usize>()
}

/// Forgets the texts of columns that have too many after a block, then those of the columns with the most, until the
/// stream weighs at most `most` bytes or there are none. Returns its weight.
pub(super) fn trim<C: Known>(
    nodes: &KnownNodes,
    columns: &mut Columns<C>,
    used: &[usize],
    most: usize,
    mut forget: impl FnMut(usize, &mut C),
) -> usize {
    for number in used {
        if let Some(column) = &mut columns[*number] {
            let [texts, bytes] = column.texts();
            if texts > TEXTS_MAX || bytes > TEXT_BYTES_MAX {
                forget(*number, column);
            }
        }
    }
    let mut weight = weight(nodes, columns);
    if weight <= most {
        return weight;
    }
    let texts = |column: &Option<Box<C>>| column.as_ref().map_or(0, |column| texts_weight(&**column));
    let mut heaviest: Vec<_> = columns.iter().map(texts).enumerate().filter(|(_, texts)| *texts > 0).collect();
    // The sort is stable: the first of equals is forgotten first.
    heaviest.sort_by_key(|(_, texts)| Reverse(*texts));
    for (number, texts) in heaviest {
        if weight <= most {
            break;
        }
        if let Some(column) = &mut columns[number] {
            forget(number, column);
        }
        weight -= texts;
    }
    weight
}
