//! Compression with lz4 and zstd, bounded by the agreed size (wire-format.md#codecs).

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::error::{DecodeError, within};
use crate::limits::FRAME_BODY_MAX;

/// Compression of a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// No compression of the body.
    None,
    /// The lz4 block format: fast.
    Lz4,
    /// zstd at a level: smaller results. 0 is zstd's default level.
    Zstd(i32),
}

impl Codec {
    /// The codec's number in a frame header.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => id::NONE,
            Self::Lz4 => id::LZ4,
            Self::Zstd(_) => id::ZSTD,
        }
    }
}

/// The numbers of the codecs.
pub mod id {
    /// The body is not compressed.
    pub const NONE: u8 = 0;
    /// lz4 block format, without a size of its own.
    pub const LZ4: u8 = 1;
    /// A zstd frame that states its content size.
    pub const ZSTD: u8 = 2;
}

/// Most bytes that one byte of lz4 can expand to.
const LZ4_RATIO_MAX: usize = 255;

thread_local! {
// Creating a zstd context costs more than compressing a small frame.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses `raw`; returns `None` if the result is not smaller, and for [`Codec::None`].
pub fn compress(codec: Codec, raw: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::new();
    compress_into(codec, raw, &mut packed).then_some(packed)
}

/// Like [`compress`], but into a reusable buffer; returns false if the result is not smaller.
pub(crate) fn compress_into(codec: Codec, raw: &[u8], packed: &mut Vec<u8>) -> bool {
    packed.clear();
    match codec {
        Codec::None => false,
        Codec::Lz4 => {
            packed.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
            let len = lz4_flex::block::compress_into(raw, packed).unwrap_or(usize::MAX);
            packed.truncate(len);
            len < raw.len()
        }
        Codec::Zstd(level) => {
            // Exactly the size below which compression is useful: zstd stops if it needs more.
            packed.reserve(raw.len());
            zstd_into(level, raw, packed).is_some_and(|len| len < raw.len())
        }
    }
}

fn zstd_into(level: i32, raw: &[u8], packed: &mut Vec<u8>) -> Option<usize> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(level).ok()?),
        };
        compressor.set_compression_level(level).ok()?;
        compressor.compress_to_buffer(raw, packed).ok()
    })
}

/// Expands `packed` to `raw_len` bytes.
///
/// # Errors
/// Any result other than exactly `raw_len` bytes. Nothing is allocated for a length above [`FRAME_BODY_MAX`], or one that
/// the codec cannot reach.
pub fn expand(codec: u8, packed: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    within("raw length", raw_len, FRAME_BODY_MAX)?;
    match codec {
        id::NONE if packed.len() == raw_len => Ok(packed.to_vec()),
        id::NONE => Err(DecodeError::RawLength { stated: raw_len, found: packed.len() }),
        id::LZ4 => expand_lz4(packed, raw_len),
        id::ZSTD => expand_zstd(packed, raw_len),
        unknown => Err(DecodeError::UnknownCodec(unknown)),
    }
}

fn expand_lz4(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    if raw_len / LZ4_RATIO_MAX > packed.len() {
        return Err(DecodeError::Decompress);
    }
    let mut raw = vec![0; raw_len];
    match lz4_flex::block::decompress_into(packed, &mut raw) {
        Ok(found) if found == raw_len => Ok(raw),
        Ok(found) => Err(DecodeError::RawLength { stated: raw_len, found }),
        Err(_) => Err(DecodeError::Decompress),
    }
}

fn expand_zstd(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    let stated = zstd_safe::get_frame_content_size(packed).map_err(|_| DecodeError::Decompress)?;
    let stated = stated.ok_or(DecodeError::Malformed("zstd frame without its content size"))?;
    if stated != raw_len as u64 {
        return Err(DecodeError::RawLength { stated: raw_len, found: usize::try_from(stated).unwrap_or(usize::MAX) });
    }
    let used = zstd_safe::find_frame_compressed_size(packed).map_err(|_| DecodeError::Decompress)?;
    if used != packed.len() {
        return Err(DecodeError::TrailingBytes(packed.len().saturating_sub(used)));
    }
    let raw = DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(packed, raw_len)
    });
    match raw {
        Ok(raw) if raw.len() == raw_len => Ok(raw),
        Ok(raw) => Err(DecodeError::RawLength { stated: raw_len, found: raw.len() }),
        Err(_) => Err(DecodeError::Decompress),
    }
}

#[cfg(test)]
#[path = "compress/tests.rs"]
mod tests;
