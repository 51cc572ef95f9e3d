//! Texts of a peer, for people: shortened where they come in, before they are stored, shown or logged.

use crate::close::Close;
use crate::control::Control;

/// Bytes of a text of the peer, such as the detail of a halt: a sentence with its values fits.
pub const TEXT_MAX: usize = 256;
/// Bytes of the sentence with which the peer closes: it may list addresses, and there is one per session.
pub const CLOSE_TEXT_MAX: usize = 512;

/// Cuts a text of the peer at `max` bytes. Control characters become spaces, because such texts are printed on
/// terminals.
pub fn shorten(text: &mut String, max: usize) {
    cut(text, max);
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
        cut(text, max);
    }
}

/// Cuts a text at `max` bytes, between two characters.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
}

impl Control {
    /// Returns the message with as much of each text for operators as this end keeps. Names and words stay as they are:
    /// they are checked where they are used.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        match &mut self {
            Self::Close(Close { detail, .. }) => shorten(detail, CLOSE_TEXT_MAX),
            Self::LaneClosed { detail, .. }
            | Self::PartitionHalted { detail, .. }
            | Self::ChannelClosed { detail, .. }
            | Self::Forgotten { refused: detail, .. }
            | Self::Forget { reason: detail, .. }
            | Self::Standby { behind: detail } => shorten(detail, TEXT_MAX),
            Self::Offer { partitions, .. } => {
                let jumps = partitions.iter_mut().filter_map(|offered| offered.jump.as_mut());
                jumps.for_each(|jump| shorten(&mut jump.reason, TEXT_MAX));
            }
            Self::Condition(condition) => *condition = std::mem::take(condition).shortened(),
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseCode;
    use crate::ids::{Epoch, LaneId, Position, Slot};

    #[test]
    fn a_text_of_the_peer_is_cut_between_two_characters() {
        let mut text = "\u{1f980}".repeat(100);
        shorten(&mut text, 10);
        assert_eq!(text, "\u{1f980}\u{1f980}");
        let mut text = "a\u{1b}[2Jb\nc".to_owned();
        shorten(&mut text, TEXT_MAX);
        assert_eq!(text, "a [2Jb c");
    }

    #[test]
    fn a_halt_keeps_its_word_and_a_sentence() {
        let halt = Control::PartitionHalted {
            lane: LaneId(0),
            epoch: Epoch(1),
            slot: Slot(2),
            position: Position(3),
            reason: "record-rejected".to_owned(),
            detail: "x".repeat(1000),
        };
        let Control::PartitionHalted { reason, detail, .. } = halt.shortened() else { panic!("another message") };
        assert_eq!((reason.as_str(), detail.len()), ("record-rejected", TEXT_MAX));
        let Control::Close(close) = Control::Close(Close::new(CloseCode::Normal, "x".repeat(1000))).shortened() else {
            panic!("another message")
        };
        assert_eq!(close.detail.len(), CLOSE_TEXT_MAX);
    }
}
