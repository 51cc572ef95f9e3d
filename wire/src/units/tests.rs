//! What operators may write, what they may not, and that nothing is lost between the two.

use proptest::prelude::*;

use super::*;

fn rate(text: &str) -> Result<u64, String> {
    text.parse::<Rate>().map(Rate::bits_per_second).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<Size>().map(Size::bytes).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

#[test]
fn quantities_parse_to_exactly_what_they_say() {
    assert_eq!(rate("500 Mbit/s"), Ok(500_000_000));
    assert_eq!(rate("1.5 Gbit/s"), Ok(1_500_000_000));
    assert_eq!(rate("64kbit/s"), Ok(64_000));
    assert_eq!(rate(" 1 bit/s "), Ok(1));
    assert_eq!(size("64 MiB"), Ok(64 << 20));
    assert_eq!(size("1.5 KiB"), Ok(1536));
    assert_eq!(size("2 GB"), Ok(2_000_000_000));
    assert_eq!(size("0 B"), Ok(0));
    assert_eq!(span("5 ms"), Ok(Duration::from_millis(5)));
    assert_eq!(span("2 min"), Ok(Duration::from_secs(120)));
    assert_eq!(span("7 d"), Ok(Duration::from_secs(7 * 86_400)));
    assert_eq!(span("0 s"), Ok(Duration::ZERO));
}

#[test]
fn a_missing_or_unknown_unit_is_named_with_an_example() {
    let no_unit = "`500` has no unit we know; write it like `500 Mbit/s`";
    assert_eq!(rate("500"), Err(no_unit.to_owned()));
    assert_eq!(rate("500 mbps").unwrap_err(), no_unit.replace("`500`", "`500 mbps`"));
    assert_eq!(size("64 mib").unwrap_err(), "`64 mib` has no unit we know; write it like `64 MiB`");
    assert_eq!(span("5 minutes").unwrap_err(), "`5 minutes` has no unit we know; write it like `30 s`");
}

#[test]
fn what_is_not_a_plain_number_is_refused() {
    for text in ["", "Mbit/s", "-5 Mbit/s", "NaN Mbit/s", "inf Mbit/s", ". Mbit/s", "1. Mbit/s", ".5 Mbit/s"] {
        assert!(rate(text).unwrap_err().contains("does not begin with a number"), "{text}");
    }
    for text in ["1e3 Mbit/s", "1_000 Mbit/s", "1,5 Mbit/s", "1.2.3 Mbit/s", "٣ Mbit/s"] {
        assert!(rate(text).is_err(), "{text}");
    }
}

#[test]
fn zero_overflow_and_fractions_of_the_smallest_unit_are_refused() {
    assert_eq!(
        rate("0.0 Mbit/s").unwrap_err(),
        "`0.0 Mbit/s` is zero; leave the key out or write it like `500 Mbit/s`"
    );
    assert_eq!(size("18446744073709551615 B"), Ok(u64::MAX));
    assert!(size("18446744073709551616 B").unwrap_err().ends_with("the limit is 18446744073709551615 B"));
    assert!(size(&format!("{} GiB", "9".repeat(500))).unwrap_err().contains("too large"));
    assert_eq!(size("0.1 KiB").unwrap_err(), "`0.1 KiB` is not a whole number of B");
    assert!(size(&format!("0.{}1 GiB", "0".repeat(500))).is_err());
}

#[test]
fn quantities_are_displayed_in_the_unit_people_would_choose() {
    let shown = |bits| Rate::from_bits_per_second(bits).to_string();
    assert_eq!(shown(500_000_000), "500 Mbit/s");
    assert_eq!(shown(1_500_000_000), "1.5 Gbit/s");
    assert_eq!(shown(1_000_001), "1000.001 kbit/s");
    assert_eq!(Size::from_bytes(64 << 20).to_string(), "64 MiB");
    assert_eq!(Size::from_bytes(1000).to_string(), "1000 B");
    assert_eq!(format!("{:>8}", Size::from_bytes(1)), "     1 B");
    let shown = |millis| display_duration(Duration::from_millis(millis)).to_string();
    assert_eq!([shown(0), shown(5), shown(90_000), shown(120_000)], ["0 s", "5 ms", "90 s", "2 min"]);
}

#[test]
fn bytes_of_a_rate_are_whole_and_never_overflow() {
    let rate = Rate::from_bits_per_second(500_000_000);
    assert_eq!(rate.bytes_per_second(), 62_500_000);
    assert_eq!(rate.bytes_in(Duration::from_millis(100)), 6_250_000);
    assert_eq!(Rate::from_bits_per_second(7).bytes_in(Duration::from_secs(1)), 0);
    assert_eq!(Rate::from_bits_per_second(u64::MAX).bytes_in(Duration::MAX), u64::MAX);
}

proptest! {
    #[test]
    fn what_is_displayed_parses_to_itself(value: u64) {
        let rate = Rate::from_bits_per_second(value.max(1));
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        let size = Size::from_bytes(value);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let duration = Duration::from_nanos(value);
        prop_assert_eq!(parse_duration(&display_duration(duration).to_string()), Ok(duration));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text: String, number: f64, unit in "[a-zA-Z/]{0,6}") {
        crate::hostile::units(text.as_bytes());
        crate::hostile::units(format!("{number} {unit}").as_bytes());
    }
}
