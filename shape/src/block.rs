//! Forms of a block: its first byte says which one follows.

use crate::pack::Packer;
use crate::records::Records;
use crate::varint::put_len;

/// Number of records, their lengths, compressed if that helps, and their bytes.
pub(crate) const RAW: u8 = 0;
/// Number of records, and their lengths and bytes, compressed.
pub(crate) const PLAIN: u8 = 1;
/// Template and columns, compressed.
pub(crate) const SHAPE: u8 = 2;
/// Template and columns that refer to blocks before.
pub(crate) const STATE: u8 = 3;

/// Length of each record.
fn lengths(records: Records<'_>) -> Vec<u8> {
    let mut lengths = Vec::with_capacity(2 * records.len());
    records.iter().for_each(|record| put_len(&mut lengths, record.len()));
    lengths
}

/// Appends the smaller of the forms without a template.
pub(crate) fn put_without_shape(records: Records<'_>, packer: &mut Packer, out: &mut Vec<u8>) {
    let start = out.len();
    let mut payload = lengths(records);
    payload.extend_from_slice(records.bytes());
    out.push(PLAIN);
    put_len(out, records.len());
    let is_packed = packer.pack(&payload, &[], out);
    if is_packed && out.len() - start < records.bytes().len() {
        return;
    }
    let plain_len = if is_packed { out.len() - start } else { usize::MAX };
    let plain_end = out.len();
    put_raw(records, packer, out);
    if out.len() - plain_end < plain_len {
        out.drain(start..plain_end);
    } else {
        out.truncate(plain_end);
    }
}

/// Appends the form whose records are not compressed.
pub(crate) fn put_raw(records: Records<'_>, packer: &mut Packer, out: &mut Vec<u8>) {
    out.push(RAW);
    put_len(out, records.len());
    let lengths = lengths(records);
    let mut packed = Vec::new();
    if !packer.pack(&lengths, &[], &mut packed) || packed.len() >= lengths.len() {
        packed.clear();
    }
    // An empty form means that the lengths are not compressed.
    put_len(out, packed.len());
    out.extend_from_slice(if packed.is_empty() { &lengths } else { &packed });
    out.extend_from_slice(records.bytes());
}
