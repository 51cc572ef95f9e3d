//! Header and columns of a block before compression: what a shape consists of.

mod assemble;
mod read;
mod sections;
mod write;

pub(crate) use assemble::{Column, Pieces, STEP};
pub(crate) use read::PayloadReader;
pub(crate) use write::PayloadWriter;

use crate::column::Kind;
use crate::error::{DecodeError, ensure};
use crate::stream::Stream;
use crate::varint::{Reader, put_len};

/// Description of a column in the header. Parents are numbers of earlier columns of the block.
#[derive(Debug, Clone)]
struct Description {
    kind: Kind,
    /// Exceptions, or entries of a dictionary.
    texts: usize,
    /// Stream of the values, for kinds that have values.
    stream: Option<Stream>,
    parents: [usize; 2],
}

impl Description {
    fn parents(&self) -> &[usize] {
        &self.parents[..self.stream.map_or(0, |stream| stream.predictor.parents())]
    }

    fn put(&self, header: &mut Vec<u8>) {
        self.kind.put(header);
        if self.kind != Kind::Raw {
            put_len(header, self.texts);
        }
        if let Some(stream) = &self.stream {
            stream.put(header);
            self.parents().iter().for_each(|parent| put_len(header, *parent));
        }
    }

    /// Reads the description of a column behind those in `earlier`.
    fn read(header: &mut Reader<'_>, earlier: &[Self]) -> Result<Self, DecodeError> {
        let kind = Kind::read(header)?;
        let texts = if kind == Kind::Raw { 0 } else { header.count("texts of a column", u32::MAX as usize)? };
        if let Kind::Around(inner) = kind {
            ensure(inner < earlier.len(), "a column is around an earlier one")?;
        }
        let stream = if kind.has_values() { Some(Stream::read(header)?) } else { None };
        let mut parents = [0; 2];
        for parent in parents.iter_mut().take(stream.map_or(0, |stream| stream.predictor.parents())) {
            *parent = header.count("a parent", earlier.len())?;
            let is_known = earlier.get(*parent).is_some_and(|parent| parent.kind.has_values());
            ensure(is_known, "parents are earlier columns with values")?;
        }
        Ok(Self { kind, texts, stream, parents })
    }
}
