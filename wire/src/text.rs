//! Texts of a peer, for people: shortened where they come in, before they are stored, shown or logged.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_peer_is_cut_between_two_characters() {
        let mut text = "\u{1f980}".repeat(100);
        shorten(&mut text, 10);
        assert_eq!(text, "\u{1f980}\u{1f980}");
        let mut text = "a\u{1b}[2Jb\nc".to_owned();
        shorten(&mut text, TEXT_MAX);
        assert_eq!(text, "a [2Jb c");
    }
}
