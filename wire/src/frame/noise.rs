//! Noise: bytes of a part that no codec makes smaller, noticed by samples. Sans-IO.

use shape::BlockWriter;

/// Bytes of a part that are compressed to see whether that makes them smaller at all.
const NOISE_SAMPLE: usize = 16 << 10;
/// Frames from one look for noise to the next.
const NOISE_PAUSE_MAX: u32 = 64;

/// Bytes that no codec makes smaller, such as random or compressed ones.
#[derive(Debug, Default)]
pub(super) struct Noise {
    /// Frames in a row in which they were found.
    pub(super) found: u32,
    /// Frames for which the bytes count as noise without another look, or as none.
    pub(super) pause: u32,
    /// True while the present frame decides.
    is_open: bool,
}

impl Noise {
    /// Returns whether earlier frames have shown that the bytes are noise.
    pub(super) const fn is_known(&mut self) -> bool {
        let is_known = self.found > 0 && self.pause > 0;
        if is_known {
            self.pause -= 1;
        }
        is_known
    }

    /// Returns whether it is time for a look.
    pub(super) const fn is_due(&mut self) -> bool {
        let is_due = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        is_due
    }

    /// Looks at a sample from the middle of the bytes.
    pub(super) fn looks_like(&mut self, bytes: &[u8], writer: &mut BlockWriter) -> bool {
        let from = bytes.len().saturating_sub(NOISE_SAMPLE) / 2;
        let sample = &bytes[from..bytes.len().min(from + NOISE_SAMPLE)];
        let mut packed = Vec::new();
        self.is_open = writer.pack(sample, &mut packed) && packed.len() * 32 > sample.len() * 31;
        if !self.is_open {
            self.found = 0;
            self.pause = NOISE_PAUSE_MAX / 4;
        }
        self.is_open
    }

    /// Decides, if the present frame does.
    pub(super) fn decide(&mut self, is_noise: bool) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        self.found = if is_noise { self.found + 1 } else { 0 };
        self.pause = if is_noise { (1 << self.found.min(10)).min(NOISE_PAUSE_MAX) } else { NOISE_PAUSE_MAX / 4 };
    }
}
