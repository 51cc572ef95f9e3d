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

    pub(super) fn reset_texts(&mut self) {
        self.texts.clear();
    }

    /// Texts of the frames: mark, front and back of each.
    pub(super) fn texts(&self) -> &[u8] {
        &self.texts
    }

    /// Returns the number of the frame of `token` around `inner`; the frame of a token without it is all of it.
    pub(super) fn number(&mut self, token: &[u8], inner: &[u8], dictionary: &mut Dictionary) -> usize {
        let frame = self.add(token, inner);
        let known = dictionary.len();
        let number = dictionary.number(&self.texts, frame);
        if number < known {
            self.texts.truncate(frame.at as usize);
        }
        number
    }

    /// Appends the frame of a token to the texts.
    pub(super) fn add(&mut self, token: &[u8], inner: &[u8]) -> Span {
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
        Span::new(start, self.texts.len())
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

/// Text to render, with the bytes that it is in if it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) span: Span,
    pub(super) kept: &'a [u8],
}

impl Source<'_> {
    /// The part from `from` to `to`.
    const fn part(self, from: usize, to: usize) -> Self {
        Self { span: Span { at: self.span.at + from as u32, len: (to - from) as u32 }, ..self }
    }

    fn append_to(self, bytes: &mut Vec<u8>) {
        if self.span.is_kept() {
            bytes.extend_from_slice(self.span.place().of(self.kept));
        } else {
            bytes.extend_from_within(self.span.at as usize..self.span.end());
        }
    }
}

/// Appends the token with a frame around another token to `bytes`, of at most `most`. What is not kept is in `bytes`.
pub(super) fn render(
    frame: Source<'_>,
    inner: Source<'_>,
    bytes: &mut Vec<u8>,
    most: usize,
) -> Result<Span, DecodeError> {
    let text = if frame.span.is_kept() { frame.span.place().of(frame.kept) } else { frame.span.of(bytes) };
    let mut reader = Reader::new(text);
    let mark = reader.number("the mark of a frame")?;
    let start = text.len() - reader.left();
    let front = usize::try_from(mark >> 1).unwrap_or(usize::MAX);
    reader.take(front, "a frame")?;
    let len = text.len();
    let at = bytes.len();
    let inner_len = if mark & 1 == 1 { inner.span.len as usize } else { 0 };
    within("bytes of tokens", at + len - start + inner_len, most)?;
    frame.part(start, start + front).append_to(bytes);
    if mark & 1 == 1 {
        inner.append_to(bytes);
    }
    frame.part(start + front, len).append_to(bytes);
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
            let inner = Source { span: Span::new(at, bytes.len()), kept: &[] };
            let frame = Source { span: frame_of[number], kept: &[] };
            let rendered = render(frame, inner, &mut bytes, 1_000).unwrap();
            assert_eq!(rendered.of(&bytes), token.as_bytes());
            assert!(render(frame, inner, &mut bytes, 10).is_err(), "there is a limit");
            let kept = Source { span: frame_of[number].kept(), kept: frames.texts() };
            assert_eq!(render(kept, inner, &mut bytes, 1_000).unwrap().of(&bytes), token.as_bytes());
        }
    }
}
