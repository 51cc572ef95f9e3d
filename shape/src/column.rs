//! Columns: the tokens of one place in the template, coded by what they are. A token has a type only if rendering its
//! value gives the same bytes; the others of a column are *exceptions*, stored as text.

mod around;
mod date;
mod decimal;
mod dictionary;
mod digits;
mod hex;
mod integer;
mod kind;
mod parse;
mod render;
mod time;

pub(crate) use kind::Kind;
pub(crate) use parse::{Kept, Parsed, Parser, Tokens};
pub(crate) use render::{Exceptions, Inner, Rendered, each_text, look_up};

/// Tokens that are integers in disguise.
trait Numeric {
    /// Bytes that [`Self::render`] may write to.
    const SLOT: usize;

    /// Returns the value of a token, if rendering it gives the same bytes.
    fn parse(&self, bytes: &[u8], token: crate::records::Span) -> Option<i64>;

    /// Writes the token of any value to `slot`, which has [`Self::SLOT`] bytes, and returns its length. `None` if no
    /// token has that value.
    fn render(&self, value: i64, slot: &mut [u8]) -> Option<usize>;
}
