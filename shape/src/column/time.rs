//! Dates and times of a fixed pattern, as integers.

use super::Numeric;
use super::date::{civil, days};
use super::digits::{self, POWERS};
use crate::error::{DecodeError, ensure};
use crate::limits::PATTERN_MAX;
use crate::records::Span;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Letters of the fields in a pattern: year, month, name of the month, day, hour, minute, second, fraction.
const LETTERS: [u8; 8] = *b"YMbDhmsf";
/// Width of each field but the last.
const WIDTHS: [usize; 7] = [4, 2, 3, 2, 2, 2, 2];
const SECONDS_OF_DAY: i64 = 86_400;
const NO_FIELD: usize = usize::MAX;

/// Pattern such as `YYYY-MM-DDThh:mm:ss.fffZ`. Everything that is no field is the same in all tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimePattern {
    text: Vec<u8>,
    /// Place of each field, in the order of `LETTERS`.
    fields: [usize; 8],
    decimals: usize,
}

impl TimePattern {
    /// Pattern of a token that is a date, a time of day or both, with a fraction and a constant rest.
    pub(super) fn infer(token: &[u8]) -> Option<Self> {
        let mut text = token.to_vec();
        let mut at = 0;
        if matches(token, b"0000-00-00") {
            text[..10].copy_from_slice(b"YYYY-MM-DD");
            at = 10;
        } else if matches(token, b"00/aaa/0000") {
            text[..11].copy_from_slice(b"DD/bbb/YYYY");
            at = 11;
        }
        if at > 0 && matches!(token.get(at), Some(b'T' | b' ' | b':')) {
            at += 1;
        }
        let time = token.get(at..).filter(|rest| matches(rest, b"00:00:00"));
        if let Some(rest) = time {
            text[at..at + 8].copy_from_slice(b"hh:mm:ss");
            at += 8;
            let decimals = rest[8..].iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
            if matches!(rest.get(8), Some(b'.' | b',')) && (1..=9).contains(&decimals) {
                text[at + 1..at + 1 + decimals].fill(b'f');
            }
        }
        Self::new(text).ok()
    }

    /// Pattern of this text, if every field in it occurs once and has its width.
    pub(super) fn new(text: Vec<u8>) -> Result<Self, DecodeError> {
        let rule = "the pattern of a time";
        ensure(text.len() <= PATTERN_MAX, rule)?;
        let mut fields = [NO_FIELD; 8];
        let mut decimals = 0;
        let mut at = 0;
        while at < text.len() {
            let run = text[at..].iter().take_while(|byte| **byte == text[at]).count();
            if let Some(field) = LETTERS.iter().position(|letter| *letter == text[at]) {
                let has_width = WIDTHS.get(field).map_or_else(|| (1..=9).contains(&run), |width| run == *width);
                ensure(has_width && fields[field] == NO_FIELD, rule)?;
                fields[field] = at;
                decimals = if field == 7 { run } else { decimals };
            }
            at += run;
        }
        let [year, month, name, day, hour, minute, second, _] = fields.map(|field| field != NO_FIELD);
        let date = [year, month != name, day];
        let time = [hour, minute, second];
        let has_date = date == [true; 3];
        let has_time = time == [true; 3];
        ensure(has_date || (date == [false; 3] && !month), rule)?;
        ensure(has_time || (time == [false; 3] && decimals == 0), rule)?;
        ensure(has_date || has_time, rule)?;
        Ok(Self { text, fields, decimals })
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn has(&self, field: usize) -> bool {
        self.fields[field] != NO_FIELD
    }

    fn two(&self, token: &[u8], field: usize) -> Option<i64> {
        let at = self.fields[field];
        let [tens, ones] = [token[at].wrapping_sub(b'0'), token[at + 1].wrapping_sub(b'0')];
        (tens < 10 && ones < 10).then_some(i64::from(tens) * 10 + i64::from(ones))
    }

    fn days_of(&self, token: &[u8]) -> Option<i64> {
        if !self.has(0) {
            return Some(0);
        }
        let year = digits::read(token, self.fields[0], 4)? as i64;
        let month = if self.has(1) {
            self.two(token, 1)?
        } else {
            let name = &token[self.fields[2]..self.fields[2] + 3];
            MONTHS.iter().position(|month| *month == name)? as i64 + 1
        };
        days(year, month, self.two(token, 3)?)
    }

    fn write_days(&self, days: i64, slot: &mut [u8]) -> Option<()> {
        let [year, month, day] = civil(days);
        if !(0..=9_999).contains(&year) {
            return None;
        }
        let mut digits = [0; 24];
        digits::write(year as u64, 4, &mut digits)?;
        slot.get_mut(self.fields[0]..self.fields[0] + 4)?.copy_from_slice(&digits[..4]);
        if self.has(1) {
            write_two(month, self.fields[1], slot)?;
        } else {
            slot.get_mut(self.fields[2]..self.fields[2] + 3)?.copy_from_slice(MONTHS[month as usize - 1]);
        }
        write_two(day, self.fields[3], slot)
    }
}

impl Numeric for TimePattern {
    const SLOT: usize = PATTERN_MAX;

    fn parse(&self, bytes: &[u8], token: Span) -> Option<i64> {
        let token = token.of(bytes);
        if token.len() != self.text.len() {
            return None;
        }
        let is_same = |(pattern, byte): (&u8, &u8)| pattern == byte || LETTERS.contains(pattern);
        if !self.text.iter().zip(token).all(is_same) {
            return None;
        }
        let days = self.days_of(token)?;
        if !self.has(4) {
            return Some(days);
        }
        let [hour, minute, second] = [self.two(token, 4)?, self.two(token, 5)?, self.two(token, 6)?];
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = days * SECONDS_OF_DAY + hour * 3_600 + minute * 60 + second;
        let fraction = if self.decimals > 0 { digits::read(token, self.fields[7], self.decimals)? as i64 } else { 0 };
        seconds.checked_mul(POWERS[self.decimals] as i64)?.checked_add(fraction)
    }

    fn render(&self, value: i64, slot: &mut [u8]) -> Option<usize> {
        let len = self.text.len();
        slot.get_mut(..len)?.copy_from_slice(&self.text);
        if !self.has(4) {
            self.write_days(value.clamp(-(1 << 40), 1 << 40), slot)?;
            return Some(len);
        }
        let unit = POWERS[self.decimals] as i64;
        let seconds = value.div_euclid(unit);
        let days = seconds.div_euclid(SECONDS_OF_DAY);
        let of_day = seconds.rem_euclid(SECONDS_OF_DAY);
        if self.has(0) {
            self.write_days(days, slot)?;
        } else if days != 0 {
            return None;
        }
        write_two(of_day / 3_600, self.fields[4], slot)?;
        write_two(of_day / 60 % 60, self.fields[5], slot)?;
        write_two(of_day % 60, self.fields[6], slot)?;
        if self.decimals > 0 {
            let mut digits = [0; 24];
            digits::write(value.rem_euclid(unit) as u64, self.decimals, &mut digits)?;
            let at = self.fields[7];
            slot.get_mut(at..at + self.decimals)?.copy_from_slice(&digits[..self.decimals]);
        }
        Some(len)
    }
}

fn write_two(value: i64, at: usize, slot: &mut [u8]) -> Option<()> {
    let pair = slot.get_mut(at..at + 2)?;
    pair[0] = b'0' + (value / 10) as u8;
    pair[1] = b'0' + (value % 10) as u8;
    Some(())
}

/// Returns whether the text begins like `sample`, in which `0` is any digit and `a` any letter.
fn matches(text: &[u8], sample: &[u8]) -> bool {
    let is_like = |(byte, sample): (&u8, &u8)| match sample {
        b'0' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_alphabetic(),
        exact => byte == exact,
    };
    text.len() >= sample.len() && text.iter().zip(sample).all(is_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_in_their_pattern() {
        for (text, pattern) in [
            ("2013-01-01T05:00:00Z", "YYYY-MM-DDThh:mm:ssZ"),
            ("2024-02-29 23:59:59.123456789+01:00", "YYYY-MM-DD hh:mm:ss.fffffffff+01:00"),
            ("10/Oct/2023:13:55:36", "DD/bbb/YYYY:hh:mm:ss"),
            ("1969-12-31", "YYYY-MM-DD"),
            ("00:00:01,5", "hh:mm:ss,f"),
        ] {
            let inferred = TimePattern::infer(text.as_bytes()).unwrap();
            assert_eq!(str::from_utf8(inferred.text()), Ok(pattern));
            let value = inferred.parse(text.as_bytes(), Span::new(0, text.len())).unwrap();
            let mut slot = [0; TimePattern::SLOT];
            let len = inferred.render(value, &mut slot).unwrap();
            assert_eq!(str::from_utf8(&slot[..len]), Ok(text));
        }
    }

    #[test]
    fn impossible_times_are_no_times() {
        let pattern = TimePattern::new(b"YYYY-MM-DD hh:mm:ss".to_vec()).unwrap();
        for text in ["2023-02-29 00:00:00", "2023-01-01 24:00:00", "2023-01-01 00:00:60", "2023-1-01 000:00:00"] {
            assert_eq!(pattern.parse(text.as_bytes(), Span::new(0, text.len())), None, "{text}");
        }
        for wrong in
            ["", "YYYY", "YYYY-MM-DD-bbb", "YYYY-MM-DD YYYY", "hh:mm", "YYYY-MM-DD.fff", "hh:mm:ss MM", "hhh:mm:ss"]
        {
            assert!(TimePattern::new(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_value_is_rendered_or_refused() {
        for text in ["YYYY-MM-DD hh:mm:ss.fffffffff", "YYYY-MM-DD", "hh:mm:ss", "DD/bbb/YYYY hh:mm:ss"] {
            let pattern = TimePattern::new(text.into()).unwrap();
            for value in [-(1 << 62), i64::MAX, 0, -1, 86_400, 1 << 40] {
                let mut slot = [0; TimePattern::SLOT];
                if let Some(len) = pattern.render(value, &mut slot) {
                    assert_eq!(pattern.parse(&slot, Span::new(0, len)), Some(value), "{text}");
                }
            }
        }
    }
}
