//! Choice of the compression: a fixed codec of the configuration, or `auto`, which moves on a ladder of codecs by what
//! limits the link. The lanes' threads follow a [`Choice`]; once a second the report hands what it measured to
//! `Auto`. Sans-IO.

pub(crate) mod auto;
pub(crate) mod climber;
mod trial;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use wire::compress::Codec;

/// Value of `wan.compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// The codec follows what limits the link.
    Auto,
    /// All frames are compressed with this codec, if the receiver knows it.
    Fixed(Codec),
}

/// Codecs of `auto`, the cheapest first. zstd at a higher level costs more than shapes, and saves less.
pub(crate) const LADDER: &[Codec] = &[Codec::None, Codec::Lz4, Codec::Zstd(1), Codec::Shape(1), Codec::Shape(3)];
/// The same towards a receiver that does not know shapes.
const LADDER_WITHOUT_SHAPES: &[Codec] = &[Codec::None, Codec::Lz4, Codec::Zstd(1), Codec::Zstd(3)];
/// Processor time per byte of records in ns that a codec costs before it was measured: with the frames of docs/bytes.md.
const COSTS: &[(Codec, f64)] = &[
    (Codec::None, 0.3),
    (Codec::Lz4, 1.0),
    (Codec::Zstd(1), 1.9),
    (Codec::Zstd(3), 2.8),
    (Codec::Shape(1), 2.3),
    (Codec::Shape(3), 2.5),
];

impl Compression {
    /// The strongest codec that may be used.
    pub const fn strongest(self) -> Codec {
        match self {
            Self::Auto => Codec::Shape(3),
            Self::Fixed(codec) => codec,
        }
    }

    /// The codec of the first frames.
    pub const fn first(self) -> Codec {
        match self {
            Self::Auto => Codec::Shape(1),
            Self::Fixed(codec) => codec,
        }
    }
}

/// Returns the codecs of `auto` where `strongest` is the most that both ends know.
pub(crate) const fn ladder(strongest: Codec) -> &'static [Codec] {
    match strongest {
        Codec::Shape(_) => LADDER,
        Codec::Zstd(_) => LADDER_WITHOUT_SHAPES,
        Codec::Lz4 => &[Codec::None, Codec::Lz4],
        Codec::None => &[Codec::None],
    }
}

/// Returns the cost of a codec that was not measured, in seconds per byte.
fn expected_cost(codec: Codec) -> f64 {
    COSTS.iter().find(|(other, _)| *other == codec).map_or(1e-9, |(_, nanos)| nanos * 1e-9)
}

wire::words! {
    /// Reason why a codec is in use.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Reason {
        Fixed = "fixed" "as configured",
        #[default]
        Start = "start" "too little was sent to judge",
        Bytes = "bytes" "fewer bytes make the link faster",
        Cpu = "cpu" "the processor limits the link",
        Cap = "cap" "`wan.compression_cpu` is used up",
        Rest = "rest" "the link keeps up, and processors are idle",
        NoGain = "no-gain" "the next method was tried and is no better",
    }
}

/// Codec of a lane's next frames, and the reason for it. `Auto` sets it, the lane's thread follows.
pub struct Choice {
    compression: Compression,
    chosen: Lock<(Codec, Reason)>,
}

impl Choice {
    pub fn new(compression: Compression) -> Self {
        let reason = if compression == Compression::Auto { Reason::Start } else { Reason::Fixed };
        Self { compression, chosen: Lock::new((compression.first(), reason)) }
    }

    pub fn is_auto(&self) -> bool {
        self.compression == Compression::Auto
    }

    pub fn codec(&self) -> Codec {
        self.chosen.lock().0
    }

    pub fn reason(&self) -> Reason {
        self.chosen.lock().1
    }

    /// Chooses another codec. A codec that is configured stays.
    pub(crate) fn set(&self, codec: Codec, reason: Reason) {
        if self.is_auto() {
            *self.chosen.lock() = (codec, reason);
        }
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::new(Compression::Fixed(Codec::None))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.codec(), self.reason().word())
    }
}

/// Where the link's time goes, as far as compression can change it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing can be said: no session, or lanes that are closed.
    #[default]
    Unknown,
    /// The link would be faster with fewer bytes.
    Bytes,
    /// The link would be faster with less processor time.
    Cpu,
    /// The link keeps up, or something else limits it.
    Rest,
}

/// What a class did in about a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Load {
    pub seconds: f64,
    pub pressure: Pressure,
    /// Bytes of its frames before compression.
    pub raw_bytes: u64,
    /// Bytes of its frames.
    pub frame_bytes: u64,
    /// Processor time that making these frames took.
    pub cpu: Duration,
}

impl Load {
    /// Processors that compression kept busy.
    pub(crate) fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.seconds.max(f64::EPSILON)
    }

    /// Bytes before compression per second.
    pub(crate) fn rate(&self) -> f64 {
        self.raw_bytes as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Bytes sent per byte before compression; `None` if nothing was sent.
    pub(crate) fn ratio(&self) -> Option<f64> {
        (self.raw_bytes > 0).then(|| self.frame_bytes as f64 / self.raw_bytes as f64)
    }

    /// Processor time per byte before compression, in seconds; `None` if nothing was sent.
    pub(crate) fn cost(&self) -> Option<f64> {
        (self.raw_bytes > 0).then(|| self.cpu.as_secs_f64() / self.raw_bytes as f64)
    }

    /// The sum of two times after each other, under the later one's pressure.
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            seconds: self.seconds + later.seconds,
            pressure: later.pressure,
            raw_bytes: self.raw_bytes + later.raw_bytes,
            frame_bytes: self.frame_bytes + later.frame_bytes,
            cpu: self.cpu + later.cpu,
        }
    }
}
