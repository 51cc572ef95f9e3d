//! The codec behind the columns: one zstd frame whose blocks are cut where the content changes.

use std::fmt;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective};

use crate::error::{DecodeError, ensure, within};

/// Compressor of payloads at one level.
pub(crate) struct Packer {
    context: CCtx<'static>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    pub(crate) fn new(level: i32) -> Self {
        let mut packer = Self { context: CCtx::create() };
        packer.set_level(level);
        // Cannot fail, like the level, which zstd clamps.
        let _ = packer.context.set_parameter(CParameter::ContentSizeFlag(true));
        packer
    }

    pub(crate) fn set_level(&mut self, level: i32) {
        let _ = self.context.set_parameter(CParameter::CompressionLevel(level));
    }

    /// Appends `payload` as one zstd frame that states its size. A block ends at each of `cuts`. Returns false, and
    /// leaves `out` alone, if zstd fails.
    #[must_use]
    pub(crate) fn pack(&mut self, payload: &[u8], cuts: &[usize], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        out.reserve(zstd_safe::compress_bound(payload.len()) + 16 * (cuts.len() + 1));
        let done = self.try_pack(payload, cuts, out).is_ok();
        if !done {
            out.truncate(before);
        }
        done
    }

    fn try_pack(&mut self, payload: &[u8], cuts: &[usize], out: &mut Vec<u8>) -> Result<(), usize> {
        self.context.reset(ResetDirective::SessionOnly)?;
        self.context.set_pledged_src_size(Some(payload.len() as u64))?;
        let before = out.len();
        let mut output = OutBuffer::around_pos(out, before);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([payload.len()]) {
            let end =
                if cut == payload.len() { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_flush };
            let mut input = InBuffer::around(&payload[from..cut]);
            while self.context.compress_stream2(&mut output, &mut input, end)? > 0 {
                if output.pos() == output.capacity() {
                    return Err(0);
                }
            }
            from = cut;
        }
        Ok(())
    }
}

/// Expands payloads.
pub(crate) struct Unpacker {
    context: DCtx<'static>,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self { context: DCtx::create() }
    }

    /// Replaces the content of `payload` by what `packed`, one zstd frame of at most `most` bytes, expands to.
    pub(crate) fn unpack(&mut self, packed: &[u8], most: usize, payload: &mut Vec<u8>) -> Result<(), DecodeError> {
        let stated = zstd_safe::get_frame_content_size(packed).map_err(|_| DecodeError::Decompress)?;
        let stated = stated.ok_or(DecodeError::Malformed("a zstd frame without its content size"))?;
        let len = within("bytes of the payload", usize::try_from(stated).unwrap_or(usize::MAX), most)?;
        let used = zstd_safe::find_frame_compressed_size(packed).map_err(|_| DecodeError::Decompress)?;
        ensure(used <= packed.len(), "a zstd frame ends beyond the block")?;
        if used < packed.len() {
            return Err(DecodeError::TrailingBytes(packed.len() - used));
        }
        payload.clear();
        payload.reserve(len);
        let found = self.context.decompress(payload, packed).map_err(|_| DecodeError::Decompress)?;
        ensure(found == len, "a zstd frame of another length than it states")
    }
}
