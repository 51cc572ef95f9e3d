//! The codec of blocks with state: one zstd frame per lane, flushed behind each block, so that later blocks refer to
//! earlier ones.

use std::fmt;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound};

use crate::error::{DecodeError, ensure};

/// Sizes of tables, as powers of two, for levels whose own ones are larger.
const HASH_LOG_MAX: u32 = 17;
const CHAIN_LOG_MAX: u32 = 16;
/// The last level with small tables.
const LEVEL_SMALL: i32 = 2;

/// Compressor that remembers what it compressed.
pub(crate) struct WindowPacker {
    context: CCtx<'static>,
    window_log: u32,
    level: i32,
}

impl fmt::Debug for WindowPacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowPacker")
    }
}

impl WindowPacker {
    pub(crate) fn new(level: i32, window_log: u32) -> Self {
        Self { context: CCtx::create(), window_log, level }
    }

    /// Sets the level from the next beginning on.
    pub(crate) const fn set_level(&mut self, level: i32) {
        self.level = level;
    }

    /// Bytes of the compressor.
    pub(crate) fn memory(&self) -> usize {
        self.context.sizeof()
    }

    /// Forgets everything.
    fn begin(&mut self) -> Result<(), usize> {
        self.context.reset(ResetDirective::SessionOnly)?;
        let [hash, chain] = if self.level > LEVEL_SMALL { [HASH_LOG_MAX, CHAIN_LOG_MAX] } else { [0; 2] };
        for parameter in [
            CParameter::CompressionLevel(self.level),
            CParameter::WindowLog(self.window_log),
            CParameter::HashLog(hash),
            CParameter::ChainLog(chain),
        ] {
            self.context.set_parameter(parameter)?;
        }
        Ok(())
    }

    /// Appends `payload`. A block ends at each of `cuts`. Returns false, with anything appended, if zstd fails; the next
    /// payload has to begin then.
    #[must_use]
    pub(crate) fn pack(&mut self, payload: &[u8], cuts: &[usize], begins: bool, out: &mut Vec<u8>) -> bool {
        if begins && self.begin().is_err() {
            return false;
        }
        out.reserve(compress_bound(payload.len()) + 16 * (cuts.len() + 2));
        let before = out.len();
        let mut output = OutBuffer::around_pos(out, before);
        let mut from = 0;
        for cut in cuts.iter().copied().chain([payload.len()]) {
            let mut input = InBuffer::around(&payload[from..cut]);
            loop {
                match self.context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush) {
                    Ok(0) => break,
                    Ok(_) if output.pos() < output.capacity() => {}
                    _ => return false,
                }
            }
            from = cut;
        }
        true
    }
}

/// Expands what a [`WindowPacker`] has made.
pub(crate) struct WindowUnpacker {
    context: DCtx<'static>,
}

impl fmt::Debug for WindowUnpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowUnpacker")
    }
}

impl WindowUnpacker {
    pub(crate) fn new(window_log: u32) -> Self {
        let mut context = DCtx::create();
        // Cannot fail for a window that zstd allows.
        let _ = context.set_parameter(DParameter::WindowLogMax(window_log));
        Self { context }
    }

    /// Bytes of the expander.
    pub(crate) fn memory(&self) -> usize {
        self.context.sizeof()
    }

    /// Replaces the content of `payload` by the `len` bytes to which `packed` expands.
    pub(crate) fn unpack(
        &mut self,
        packed: &[u8],
        len: usize,
        begins: bool,
        payload: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if begins {
            self.context.reset(ResetDirective::SessionOnly).map_err(|_| DecodeError::Decompress)?;
        }
        // Room for one byte more than stated, so that more bytes are noticed.
        payload.clear();
        payload.resize(len + 1, 0);
        let mut input = InBuffer::around(packed);
        let mut output = OutBuffer::around(&mut payload[..]);
        loop {
            let before = (input.pos(), output.pos());
            let hint = self.context.decompress_stream(&mut output, &mut input).map_err(|_| DecodeError::Decompress)?;
            ensure(hint > 0, "a zstd frame that ends")?;
            if (input.pos(), output.pos()) == before || input.pos() == packed.len() && output.pos() <= len {
                break;
            }
        }
        let [used, found] = [input.pos(), output.pos()];
        ensure(found == len, "a payload of another length than stated")?;
        payload.truncate(len);
        if used < packed.len() { Err(DecodeError::TrailingBytes(packed.len() - used)) } else { Ok(()) }
    }
}
