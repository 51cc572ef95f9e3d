//! Tokens around the token of another column: `user-17` next to `17`. What is left of them are *frames*: the text in
//! front of the other token and the text behind it.

use super::dictionary::Dictionary;
use crate::error::{DecodeError, within};
use crate::records::Span;
use crate::varint::{Reader, put};

/// Length of the text in front of the other token, in the lowest bit whether there is another token at all.
fn mark(front: usize, is_around: bool) -> u64 {
    (front as u64) << 1 | u64::from(is_around)
}

/// Numbers of distinct frames, with reusable memory.
#[derive(Debug, Default)]
pub(super) struct Frames {
    texts: Vec<u8>,
    /// Length of the text in front of the last token's other token.
    last_front: usize,
}

impl Frames {
    pub(super) fn reset(&mut self) {
        self.texts.clear();
        self.last_front = 0;
    }

    /// Texts of the frames: mark, front and back of each.
    pub(super) fn texts(&self) -> &[u8] {
        &self.texts
    }

    /// Returns the number of the frame of `token` around `inner`; the frame of a token without it is all of it.
    pub(super) fn number(&mut self, token: &[u8], inner: &[u8], dictionary: &mut Dictionary) -> usize {
        let start = self.texts.len();
        match self.place(token, inner) {
            Some(at) => {
                put(&mut self.texts, mark(at, true));
                self.texts.extend_from_slice(&token[..at]);
                self.texts.extend_from_slice(&token[at + inner.len()..]);
            }
            None => {
                put(&mut self.texts, mark(token.len(), false));
                self.texts.extend_from_slice(token);
            }
        }
        let known = dictionary.len();
        let number = dictionary.number(&self.texts, Span::new(start, self.texts.len()));
        if number < known {
            self.texts.truncate(start);
        }
        number
    }

    /// Place of `inner` in `token`, first where it was in the last token.
    fn place(&mut self, token: &[u8], inner: &[u8]) -> Option<usize> {
        if token.get(self.last_front..).is_some_and(|rest| rest.starts_with(inner)) {
            return Some(self.last_front);
        }
        self.last_front = place(token, inner)?;
        Some(self.last_front)
    }
}

/// First place of `inner` in `token`.
pub(super) fn place(token: &[u8], inner: &[u8]) -> Option<usize> {
    let last = token.len().checked_sub(inner.len())?;
    (0..=last).find(|at| token[*at..].starts_with(inner))
}

/// Appends the token with a frame around the token at `inner` of `bytes`, to the same bytes, of at most `most`.
pub(super) fn render(frame: Span, inner: Span, bytes: &mut Vec<u8>, most: usize) -> Result<Span, DecodeError> {
    let mut reader = Reader::new(frame.of(bytes));
    let mark = reader.number("the mark of a frame")?;
    let texts = reader.left();
    let front = usize::try_from(mark >> 1).unwrap_or(usize::MAX);
    reader.take(front, "a frame")?;
    let start = frame.end() - texts;
    let inner = if mark & 1 == 1 { inner } else { Span::default() };
    let at = bytes.len();
    within("bytes of tokens", at + texts + inner.len as usize, most)?;
    bytes.extend_from_within(start..start + front);
    bytes.extend_from_within(inner.at as usize..inner.end());
    bytes.extend_from_within(start + front..frame.end());
    Ok(Span::new(at, bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_around_others() {
        let cases = [("user-17", "17"), ("17", "17"), ("a17b", "17"), ("user-x", "17"), ("user-17", "17"), ("", "17")];
        let mut frames = Frames::default();
        let mut dictionary = Dictionary::default();
        dictionary.reset(cases.len());
        let numbers = cases.map(|(token, inner)| frames.number(token.as_bytes(), inner.as_bytes(), &mut dictionary));
        assert_eq!(numbers, [0, 1, 2, 3, 0, 4]);
        let frame_of: Vec<Span> = dictionary.tokens().collect();
        let mut bytes = frames.texts().to_vec();
        for ((token, inner), number) in cases.into_iter().zip(numbers) {
            let at = bytes.len();
            bytes.extend_from_slice(inner.as_bytes());
            let inner = Span::new(at, bytes.len());
            let rendered = render(frame_of[number], inner, &mut bytes, 1_000).unwrap();
            assert_eq!(rendered.of(&bytes), token.as_bytes());
            assert!(render(frame_of[number], inner, &mut bytes, 10).is_err(), "there is a limit");
        }
    }
}
