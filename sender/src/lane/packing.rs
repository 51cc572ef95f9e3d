//! How a lane packs: its codec, the sizes of its frames, and what both ends remember of them, as a session permits it.

use std::time::Duration;

use wire::compress::Codec;
use wire::control::CreditTerms;
use wire::frame::StateBound;
use wire::hello::{FEATURE_FRAME_STATE, FEATURE_LZ4, FEATURE_SHAPES, FEATURE_ZSTD};

/// Parameters of how a lane packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// Codec of the frames; the strongest one if it changes.
    pub codec: Codec,
    /// Features of the session: codecs that the receiver knows.
    pub features: u64,
    /// Raw bytes at which a frame is full, where the rate does not require smaller ones.
    pub frame_bytes: u64,
    /// Time that a record may wait for others while the transport is idle.
    pub linger: Duration,
    /// Largest credit that one frame may request; a larger record halts its partition.
    pub credit_max: u64,
    /// Most bytes that both ends remember of the frames of a lane's epoch, for [`Codec::Shape`]; `None` for frames that
    /// refer to no others.
    pub state: Option<StateBound>,
}

impl Packing {
    /// Returns the same packing with a codec that the receiver understands, as its welcome states.
    pub fn agreed(self, features: u64) -> Self {
        let needs = |codec: &Codec| match codec {
            Codec::None => 0,
            Codec::Lz4 => FEATURE_LZ4,
            Codec::Zstd(_) => FEATURE_ZSTD,
            Codec::Shape(_) => FEATURE_SHAPES | FEATURE_ZSTD,
        };
        let codecs = [self.codec, self.codec.plain()];
        let knows = |needed| features & needed == needed;
        let codec = codecs.into_iter().find(|codec| knows(needs(codec)));
        let has_state = knows(FEATURE_FRAME_STATE | needs(&Codec::Shape(1)));
        Self { codec: codec.unwrap_or(Codec::None), features, state: self.state.filter(|_| has_state), ..self }
    }

    /// Returns the same packing within a session's credit for so many lanes: a frame fits a lane's reserve, so that an idle
    /// lane needs nothing of the pool, no record requests more than can ever be granted, and no lane has the receiver
    /// remember more than it grants.
    pub fn within(self, request_max: u64, credit: CreditTerms, lanes: u16) -> Self {
        let granted = StateBound::granted(credit, lanes);
        Self {
            frame_bytes: self.frame_bytes.min(credit.reserve),
            credit_max: self.credit_max.min(request_max),
            state: self.state.and_then(|ours| granted.map(|granted| granted.min(ours))),
            ..self
        }
    }
}
