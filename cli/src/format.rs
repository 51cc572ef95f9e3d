//! Numbers formatted for people.

use wire::units::Rate;

/// Bytes in the largest binary unit that fits, with one decimal: `11.9 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let number = format!("{:.1}", bytes as f64 / f64::from(1_u32 << shift));
    format!("{} {unit}", number.strip_suffix(".0").unwrap_or(&number))
}

/// A rate in whole megabits: `750 Mbit/s`.
pub(crate) fn megabits(rate: Rate) -> String {
    format!("{:.0} Mbit/s", rate.bits_per_second() as f64 / 1e6)
}

/// A rate in the largest unit that fits, with three digits: `93.2 Mbit/s`.
pub(crate) fn bits(per_second: f64) -> String {
    let units = [("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3), ("bit/s", 1.0)];
    let (unit, size) = units.into_iter().find(|(_, size)| per_second >= *size).unwrap_or(("bit/s", 1.0));
    let number = per_second / size;
    let shown = if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") };
    format!("{} {unit}", shown.strip_suffix(".0").unwrap_or(&shown))
}

/// A number with its thousands grouped: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A duration in its two largest units: `3 d 4 h`, `5 min 2 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let mut left = seconds as u64;
    let mut parts = Vec::new();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)] {
        if left >= length || (length == 1 && parts.is_empty()) {
            parts.push(format!("{} {unit}", left / length));
            left %= length;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_for_people() {
        for (number, shown) in [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1 MiB"), (12_500_000, "11.9 MiB")] {
            assert_eq!(bytes(number), shown);
        }
        for (number, shown) in [(0.0, "0 bit/s"), (93_240_000.0, "93.2 Mbit/s"), (5e8, "500 Mbit/s"), (2e9, "2 Gbit/s")]
        {
            assert_eq!(bits(number), shown);
        }
        assert_eq!((grouped(999), grouped(1_234_567)), ("999".to_owned(), "1,234,567".to_owned()));
        for (seconds, shown) in [(0.4, "0 s"), (61.0, "1 min 1 s"), (3_600.0, "1 h"), (90_061.0, "1 d 1 h")] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
