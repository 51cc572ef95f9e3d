//! Judge: decides by the blocks before whether a block gets a template, and whether its plain form is made too.

/// Most blocks that are sent without a template before it is tried again.
const PAUSE_MAX: u32 = 64;
/// Blocks between two comparisons with the plain form, where the template is far better.
const COMPARE_EVERY: u32 = 16;

/// Memory of what templates saved in one kind of blocks.
#[derive(Debug, Default)]
pub struct Judge {
    pause: Pause,
    comparison: Comparison,
}

/// Blocks that are sent without trying a template, because it lost before.
#[derive(Debug, Default)]
struct Pause {
    losses: u32,
    blocks: u32,
}

/// The last comparison of both forms of a block.
#[derive(Debug, Default)]
struct Comparison {
    plain: usize,
    shaped: usize,
    bytes: usize,
    /// Blocks since then.
    age: u32,
}

impl Judge {
    /// Returns whether the next block should have a template.
    pub const fn tries(&mut self) -> bool {
        if self.pause.blocks == 0 {
            return true;
        }
        self.pause.blocks -= 1;
        false
    }

    /// Returns whether the plain form of `bytes` bytes may be smaller than `shaped`: whether the template was not far
    /// better before, or has another effect than before.
    pub fn compares(&mut self, shaped: usize, bytes: usize) -> bool {
        let last = &mut self.comparison;
        last.age += 1;
        let now = shaped * last.bytes;
        let is_close = now * 4 > last.plain * bytes * 3;
        let is_unlike = now * 4 < last.shaped * bytes * 3;
        last.bytes == 0 || last.age >= COMPARE_EVERY || is_close || is_unlike
    }

    /// Notes the lengths of both forms of a block of `bytes` bytes. Returns whether the template won.
    pub fn note(&mut self, shaped: usize, plain: usize, bytes: usize) -> bool {
        self.comparison = Comparison { plain, shaped, bytes, age: 0 };
        let won = shaped < plain;
        self.pause.losses = if won { 0 } else { self.pause.losses + 1 };
        self.pause.blocks = if won { 0 } else { (1 << self.pause.losses.min(10)).min(PAUSE_MAX) };
        won
    }

    /// Notes that a block has no template.
    pub fn note_failure(&mut self) {
        self.note(1, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_loses_is_tried_less_and_less() {
        let mut judge = Judge::default();
        let mut tries = 0;
        for _ in 0..1_000 {
            if judge.tries() {
                tries += 1;
                assert!(judge.compares(90, 100), "a close result is compared");
                assert!(!judge.note(90, 80, 100));
            }
        }
        assert!((15..30).contains(&tries), "{tries}");
        while !judge.tries() {}
        assert!(judge.note(10, 80, 100));
        assert!(judge.tries(), "a win ends the pause");
    }

    #[test]
    fn a_far_better_template_is_seldom_compared() {
        let mut judge = Judge::default();
        assert!(judge.compares(10, 100) && judge.note(10, 50, 100));
        assert_eq!((0..160).filter(|_| judge.compares(10, 100) && judge.note(10, 50, 100)).count(), 10);
        assert!(judge.compares(40, 100), "nearly as large as the plain form was");
        assert!(judge.compares(5, 100), "another content");
    }
}
