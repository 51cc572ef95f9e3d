//! Envelope of control messages, `length u32 LE · kind u8 · body`, and the table of kinds
//! (wire-format.md#control). Nothing is allocated beyond [`CONTROL_BYTES_MAX`].

use bincode::error::DecodeError as BodyError;
use bincode::{Decode, Encode};

use super::bounds;
use super::stored::Limited;
use crate::close::Close;
use crate::control::Control;
use crate::error::{DecodeError, within};
use crate::limits::{CONTROL_BYTES_MAX, STRING_MAX};
use crate::text::cut;

/// Kind of a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Kind byte on the wire; never reused.
    pub number: u8,
    /// Name of the message.
    pub name: &'static str,
    /// Direction: `→` sender to receiver, `←` receiver to sender, `↔` both.
    pub direction: &'static str,
}

/// Fields of a message as a tuple: the layout of its body.
macro_rules! fields {
    (($($field:ident),*)) => { ($($field,)*) };
    ({$($field:ident),*}) => { ($($field,)*) };
}

macro_rules! control_kinds {
    ($($number:literal $direction:literal $name:ident $fields:tt;)*) => {
        /// Every kind of message in this version.
        pub const KINDS: &[Kind] =
            &[$(Kind { number: $number, name: stringify!($name), direction: $direction }),*];

        /// Returns the name of a message, for logs and for [`crate::error::PeerMisbehaved::UnexpectedMessage`].
        pub fn control_name(control: &Control) -> &'static str {
            match control {
                $(Control::$name { .. } => stringify!($name),)*
            }
        }

        fn put(control: &Control, out: &mut Vec<u8>) {
            match control {
                $(Control::$name $fields => {
                    out.push($number);
                    put_body(fields!($fields), out);
                })*
            }
        }

        fn get(kind: u8, body: &[u8]) -> Result<(Control, usize), DecodeError> {
            match kind {
                $($number => {
                    let (fields!($fields), used) = get_body(body)?;
                    Ok((Control::$name $fields, used))
                })*
                unknown => Err(DecodeError::UnknownControl(unknown)),
            }
        }
    };
}

control_kinds! {
    1 "→" Hello(hello);
    2 "←" Welcome(welcome);
    3 "←" Standby { behind };
    4 "→" JoinChannel { token, receiver, channel };
    5 "↔" Clock { asked, answered };
    6 "↔" Close(close);
    7 "←" ChannelOpen { channel };
    8 "↔" ChannelClosed { channel, detail };
    9 "↔" Condition(condition);
    16 "→" OpenLane { lane };
    17 "←" LaneOpen { lane, epoch };
    18 "↔" LaneClosed { lane, epoch, reason, detail };
    32 "→" Topic { topic, topic_id, configs, clusters };
    33 "→" Offer { lane, epoch, partitions, last };
    34 "←" PartitionOpen { lane, epoch, slot, position, leader_epoch };
    35 "↔" PartitionHalted { lane, epoch, slot, position, reason, detail };
    36 "→" Settings { topics };
    37 "←" StoredAt { lane, epoch, slot, at };
    38 "→" SkipRefused { topic, policy };
    39 "→" Groups { groups, last };
    40 "→" TopicsGone { topics };
    41 "←" Orphaned { topics, others };
    42 "→" Forget { topic, asked, reason };
    43 "←" Forgotten { topic, positions, refused };
    44 "→" OwnSettings { topics };
    45 "→" MarkGone { topics, gone };
    46 "←" GoneSince { topics, now };
    47 "→" Acls { acls, topics, groups, last };
    48 "←" Ack { lane, epoch, sequence, timing };
    49 "→" SourceEnds { topics, last };
    50 "←" ReadSource {};
    51 "→" Returns { topic, link, cluster, from, from_id, partitions };
    52 "→" GroupsBack { groups };
    67 "←" RateAssignment { bits_per_second };
}

/// Kinds reserved for later versions: this one refuses them as unknown.
pub const RESERVED: &[(u8, &str)] = &[(64, "Shape"), (65, "Dictionary"), (66, "RunHashes"), (68, "Audit")];

/// The kind of [`Control::Hello`], the one message whose body may be longer than this version knows.
const HELLO: u8 = 1;

/// bincode with integers of variable length, which allocates no more than the largest message.
const BODY: Limited<CONTROL_BYTES_MAX> = bincode::config::standard().with_limit();

/// Encodes a message for the wire. Details for operators are cut at [`STRING_MAX`] bytes.
///
/// # Panics
/// If any other part exceeds [`crate::limits`]: values are checked where they come from, because the peer would close
/// the session.
pub fn encode_control(control: &Control) -> Vec<u8> {
    let control = clipped(control);
    if let Err(error) = bounds::check(&control) {
        panic!("{} breaks its own limits: {error}", control_name(&control));
    }
    let mut out = vec![0; 4];
    put(&control, &mut out);
    let length = out.len() - 4;
    assert!(length <= CONTROL_BYTES_MAX, "{} of {length} bytes", control_name(&control));
    out[..4].copy_from_slice(&(length as u32).to_le_bytes());
    out
}

/// Returns the number of bytes that follow a message's first four.
///
/// # Errors
/// [`DecodeError::OverLimit`] above [`CONTROL_BYTES_MAX`], [`DecodeError::Malformed`] for 0.
pub fn control_length(prefix: [u8; 4]) -> Result<usize, DecodeError> {
    match u32::from_le_bytes(prefix) as usize {
        0 => Err(DecodeError::Malformed("control message without a kind")),
        length => within("control message", length, CONTROL_BYTES_MAX).map(|()| length),
    }
}

/// Decodes the bytes that follow a message's length.
pub fn decode_control(kind_and_body: &[u8]) -> Result<Control, DecodeError> {
    within("control message", kind_and_body.len(), CONTROL_BYTES_MAX)?;
    let (&kind, body) = kind_and_body.split_first().ok_or(DecodeError::Truncated { missing: 1 })?;
    let (control, used) = get(kind, body)?;
    let left = body.len() - used;
    // wire-format.md#hello: a newer peer may send more fields before the ends agree on a version.
    if left > 0 && kind != HELLO {
        return Err(DecodeError::TrailingBytes(left));
    }
    bounds::check(&control)?;
    Ok(control)
}

fn put_body(fields: impl Encode, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(fields, out, BODY).expect("memory takes every byte");
}

fn get_body<T: Decode<()>>(body: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::decode_from_slice(body, BODY).map_err(|error| match error {
        BodyError::UnexpectedEnd { additional } => DecodeError::Truncated { missing: additional },
        BodyError::LimitExceeded => DecodeError::OverLimit {
            field: "memory of a control message",
            found: CONTROL_BYTES_MAX as u64 + 1,
            limit: CONTROL_BYTES_MAX as u64,
        },
        BodyError::Utf8 { .. } => DecodeError::Malformed("control string is not UTF-8"),
        BodyError::UnexpectedVariant { .. } => DecodeError::Malformed("unknown variant in a control message"),
        _ => DecodeError::Malformed("control message"),
    })
}

/// Cuts a message's detail, which may contain error texts of other software.
fn clipped(control: &Control) -> Control {
    let mut control = control.clone();
    if let Control::LaneClosed { detail, .. }
    | Control::PartitionHalted { detail, .. }
    | Control::ChannelClosed { detail, .. }
    | Control::Forgotten { refused: detail, .. }
    | Control::Close(Close { detail, .. }) = &mut control
    {
        cut(detail, STRING_MAX);
    }
    control
}
