//! Compression with lz4 and zstd, bounded by the agreed size (wire-format.md#codecs).

use std::cell::RefCell;
use std::fmt;

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
    /// What the records have in common is sent once per frame ([`shape`]), with zstd at a level behind it.
    Shape(i32),
}

impl Codec {
    /// The codec's number in a frame header.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => id::NONE,
            Self::Lz4 => id::LZ4,
            Self::Zstd(_) => id::ZSTD,
            Self::Shape(_) => id::SHAPE,
        }
    }

    /// The codec for bytes that are not records.
    #[must_use]
    pub const fn plain(self) -> Self {
        match self {
            Self::Shape(level) => Self::Zstd(level),
            other => other,
        }
    }
}

impl Codec {
    /// The codec where `strongest` is the most that both ends know: without shapes, zstd replaces them.
    #[must_use]
    pub const fn within(self, strongest: Self) -> Self {
        match (strongest, self) {
            (Self::Shape(_), _) => self,
            (Self::Zstd(_), _) => self.plain(),
            (Self::Lz4, Self::Zstd(_) | Self::Shape(_) | Self::Lz4) => Self::Lz4,
            (Self::None, _) | (Self::Lz4, Self::None) => Self::None,
        }
    }
}

impl fmt::Display for Codec {
    /// Shows the codec as a setting names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Shape(level) => write!(f, "shape:{level}"),
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
    /// Blocks of records with a common template, and a zstd frame of the rest.
    pub const SHAPE: u8 = 3;
    /// The same, with blocks that refer to those of earlier frames.
    pub const STATE: u8 = 4;
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
    match codec.plain() {
        Codec::None => false,
        Codec::Lz4 => {
            packed.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
            let len = lz4_flex::block::compress_into(raw, packed).unwrap_or(usize::MAX);
            packed.truncate(len);
            len < raw.len()
        }
        Codec::Zstd(level) | Codec::Shape(level) => {
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

/// Expands one zstd frame to the length that it states, at most `most` bytes.
pub(crate) fn expand_stated(packed: &[u8], most: usize) -> Result<Vec<u8>, DecodeError> {
    let stated = stated_len(packed)?;
    within("raw length", stated, most)?;
    expand_zstd(packed, stated)
}

fn stated_len(packed: &[u8]) -> Result<usize, DecodeError> {
    let stated = zstd_safe::get_frame_content_size(packed).map_err(|_| DecodeError::Decompress)?;
    let stated = stated.ok_or(DecodeError::Malformed("zstd frame without its content size"))?;
    Ok(usize::try_from(stated).unwrap_or(usize::MAX))
}

fn expand_zstd(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, DecodeError> {
    let stated = stated_len(packed)?;
    if stated != raw_len {
        return Err(DecodeError::RawLength { stated: raw_len, found: stated });
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
