//! Header and data of a payload, with places where the content changes.

/// Bytes between two cuts, at least.
const CUT_MIN: usize = 2_048;
/// Bytes of columns below which there are no cuts.
const CUTS_FROM: usize = 16_384;

/// Part of a payload, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    pub(crate) header: Vec<u8>,
    pub(crate) data: Vec<u8>,
    cuts: Vec<usize>,
}

impl Sections {
    pub(crate) fn clear(&mut self) {
        self.header.clear();
        self.data.clear();
        self.cuts.clear();
    }

    /// Appends a text as a part of its own.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.data.extend_from_slice(text);
        self.end_part();
    }

    /// Cuts behind a part that is large enough.
    pub(crate) fn end_part(&mut self) {
        if self.data.len() - self.cuts.last().unwrap_or(&0) >= CUT_MIN {
            self.cuts.push(self.data.len());
        }
    }

    /// Appends header and data to a payload. Returns its cuts, of which none is at its end.
    pub(crate) fn finish(&mut self, payload: &mut Vec<u8>) -> &[usize] {
        payload.extend_from_slice(&self.header);
        let start = payload.len();
        payload.extend_from_slice(&self.data);
        if self.data.len() < CUTS_FROM {
            self.cuts.clear();
        }
        self.cuts.retain(|cut| *cut < self.data.len());
        self.cuts.iter_mut().for_each(|cut| *cut += start);
        if !self.cuts.is_empty() && start >= CUT_MIN {
            self.cuts.insert(0, start);
        }
        &self.cuts
    }
}
