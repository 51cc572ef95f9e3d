//! Close codes: one table of reasons why a session ends (wire-format.md#close). The enum, the wire and the specification
//! come from it.

use std::fmt;

use bincode::de::{Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

/// Reaction of an end to a close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// Dial again after [`crate::limits::RETRY_AFTER`] plus jitter: nothing is wrong at this end.
    Retry,
    /// Dial again with the usual short back-off.
    Reconnect,
    /// Stop: dialling again would end the same way, so an operator must act.
    Halt,
}

macro_rules! close_codes {
    ($($number:literal $code:ident $name:literal $disposition:ident $sentence:literal;)*) => {
        /// Close code. Codes are added, never renumbered: an older end keeps a newer code's number as
        /// [`CloseCode::Unknown`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseCode {
            $(#[doc = $sentence] $code,)*
            /// Code of a newer version.
            Unknown(u16),
        }

        impl CloseCode {
            /// Every code of this version.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// Returns the number on the wire, which is also QUIC's application error code.
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$code => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// Returns the name in logs and metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                    Self::Unknown(_) => "UNKNOWN",
                }
            }

            /// Returns a sentence for operators: what happened, and what to do.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$code => $sentence,)*
                    Self::Unknown(_) => "The peer closed with a code that this version does not know: upgrade this end.",
                }
            }

            /// Returns the reaction of this end.
            pub fn disposition(self) -> Disposition {
                match self {
                    $(Self::$code => Disposition::$disposition,)*
                    Self::Unknown(_) => Disposition::Reconnect,
                }
            }
        }

        impl From<u16> for CloseCode {
            fn from(number: u16) -> Self {
                match number {
                    $($number => Self::$code,)*
                    other => Self::Unknown(other),
                }
            }
        }
    };
}

close_codes! {
    0 Normal "NORMAL" Reconnect "The peer shut down cleanly: no action needed.";
    1 Replaced "REPLACED" Reconnect "A newer process with this instance name took over: this process is the standby now.";
    2 Superseded "SUPERSEDED" Retry "Another receiver took over the link's lanes: run one receiver per link.";
    3 Contested "CONTESTED" Halt "Two running processes with one instance name keep replacing each other: give each its own `instance`.";
    4 StandbyFilter "STANDBY_FILTER" Retry "The standby's topic filter differs from the active sender's: use the same filter for both.";
    5 Busy "BUSY" Retry "The receiver has as many sessions as it may have: it is dialled again later.";
    6 NoSession "NO_SESSION" Reconnect "No open session has this token: it has ended, or never existed.";
    7 StateLost "STATE_LOST" Reconnect "A frame does not fit the state that earlier frames left behind: the sender continues without such a state.";
    16 BadFrame "BAD_FRAME" Halt "The peer sent bytes that the format does not allow: report this bug with both logs.";
    17 Misbehaved "MISBEHAVED" Halt "The peer broke a rule of the protocol: report this bug with both logs.";
    32 Version "VERSION" Halt "The ends share no protocol version, or have the same role: upgrade the older end, or check the address.";
    33 LinkUnknown "LINK_UNKNOWN" Halt "The receiver has no such link: compare `link` with `links.name`.";
    34 Unauthorized "UNAUTHORIZED" Halt "The peer's certificate is not authorised for this link: add its name to `links.senders`.";
    35 SameCluster "SAME_CLUSTER" Halt "Source and target are the same cluster: check `bootstrap_servers` at both ends.";
    36 ClusterChanged "CLUSTER_CHANGED" Halt "The stored positions are of another cluster: accept a rebuilt one (`links.accept_cluster`), or use another link name.";
    37 LanesChanged "LANES_CHANGED" Halt "The lanes or their hash differ from those that the link was created with: set `lanes` back.";
    38 StateRefused "STATE_REFUSED" Halt "The link's stored state does not allow opening it: see the detail.";
    39 Promoted "PROMOTED" Halt "The link was promoted: the target belongs to its applications, and nothing is carried any more; stop this sender.";
    48 Internal "INTERNAL" Reconnect "The peer failed because of an internal error: see its log.";
}

/// A close code and the sentence that goes with it: why a session, a channel or a lane ends.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode, thiserror::Error)]
#[error("{detail}")]
pub struct Close {
    /// The code, by which the other end decides what to do next.
    pub code: CloseCode,
    /// The sentence for operators: the values, the limit and the remedy.
    pub detail: String,
}

impl Close {
    /// A close with `code`, explained by `detail`.
    pub fn new(code: CloseCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// An ordinary end: the channel is gone or this process is leaving.
    pub fn normal(detail: impl Into<String>) -> Self {
        Self::new(CloseCode::Normal, detail)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

impl Encode for CloseCode {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

impl<Context> Decode<Context> for CloseCode {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        u16::decode(decoder).map(Self::from)
    }
}

bincode::impl_borrow_decode!(CloseCode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_wire() {
        for number in 0..=u16::MAX {
            assert_eq!(CloseCode::from(number).number(), number);
        }
    }

    #[test]
    fn known_codes_are_never_unknown_and_unknown_ones_reconnect() {
        for &code in CloseCode::ALL {
            assert_eq!(CloseCode::from(code.number()), code);
            assert!(code.sentence().ends_with('.'), "{code}");
        }
        assert_eq!(CloseCode::from(999).disposition(), Disposition::Reconnect);
    }
}
