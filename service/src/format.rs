//! Numbers formatted for people.

use std::collections::BTreeMap;

use wire::partition::Partition;
use wire::units::Rate;

/// Topics with waiting partitions that are named at most.
const TOPICS_NAMED: usize = 20;

/// Bytes in the largest binary unit that fits, with one decimal: `11.9 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let number = format!("{:.1}", bytes as f64 / f64::from(1_u32 << shift));
    format!("{} {unit}", number.strip_suffix(".0").unwrap_or(&number))
}

/// A rate in whole megabits: `750 Mbit/s`.
pub fn megabits(rate: Rate) -> String {
    format!("{:.0} Mbit/s", rate.bits_per_second() as f64 / 1e6)
}

/// A rate in the largest unit that fits, with three digits: `93.2 Mbit/s`.
pub fn bits(per_second: f64) -> String {
    let units = [("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3), ("bit/s", 1.0)];
    let (unit, size) = units.into_iter().find(|(_, size)| per_second >= *size).unwrap_or(("bit/s", 1.0));
    let number = per_second / size;
    let shown = if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") };
    format!("{} {unit}", shown.strip_suffix(".0").unwrap_or(&shown))
}

/// A sentence for each topic with partitions that wait for a cluster; each partition comes with its reason.
pub fn waiting(cluster: &str, partitions: &[(Partition, String)]) -> Vec<String> {
    let mut topics: BTreeMap<&str, Vec<&(Partition, String)>> = BTreeMap::new();
    for waiting in partitions {
        topics.entry(&waiting.0.topic).or_default().push(waiting);
    }
    let sentence = |waiting: &Vec<&(Partition, String)>| {
        let (first, reason) = waiting[0];
        match waiting.len() - 1 {
            0 => format!("{first} waits for {cluster}: {reason}"),
            others => format!("{first} and {others} more of its topic wait for {cluster}: {reason}"),
        }
    };
    let mut sentences: Vec<_> = topics.values().take(TOPICS_NAMED).map(sentence).collect();
    if let Some(others) = topics.len().checked_sub(TOPICS_NAMED).filter(|others| *others > 0) {
        sentences.push(format!("partitions of {others} more topics wait for {cluster}"));
    }
    sentences
}

/// A number with its thousands grouped: `1,234,567`.
pub fn grouped(number: u64) -> String {
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
pub fn duration(seconds: f64) -> String {
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
    fn waiting_partitions_are_named_by_topic() {
        let partitions =
            [("a", 3), ("b", 0), ("a", 4)].map(|(topic, n)| (Partition::new(topic, n), "no leader".to_owned()));
        let expected =
            ["a/3 and 1 more of its topic wait for the source: no leader", "b/0 waits for the source: no leader"];
        assert_eq!(waiting("the source", &partitions), expected);
        let many: Vec<_> = (0..25).map(|n| (Partition::new(format!("t{n}"), 0), String::new())).collect();
        assert_eq!(waiting("the target", &many).last().unwrap(), "partitions of 5 more topics wait for the target");
    }

    #[test]
    fn numbers_are_rounded_for_people() {
        for (number, shown) in [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1 MiB"), (12_500_000, "11.9 MiB")] {
            assert_eq!(bytes(number), shown);
        }
        for (number, shown) in [(0.0, "0 bit/s"), (93_240_000.0, "93.2 Mbit/s"), (5e8, "500 Mbit/s"), (2e9, "2 Gbit/s")]
        {
            assert_eq!(bits(number), shown);
        }
        let written = [0, 999, 1_000, 123_456, 1_234_567].map(grouped);
        assert_eq!(written, ["0", "999", "1,000", "123,456", "1,234,567"]);
        for (seconds, shown) in [(0.4, "0 s"), (61.0, "1 min 1 s"), (3_600.0, "1 h"), (90_061.0, "1 d 1 h")] {
            assert_eq!(duration(seconds), shown);
        }
    }
}
