//! What a cluster says about settings of a topic that it refuses: which they are, and the nearest value that it accepts.

/// Returns the words of a refusal that may be names of settings.
pub(crate) fn words(refusal: &str) -> Vec<&str> {
    let words = refusal.split(|letter: char| !(letter.is_ascii_alphanumeric() || ".-_".contains(letter)));
    words.map(|word| word.trim_matches('.')).collect()
}

/// Returns the value nearest to `value` that the cluster accepts for the setting `name`, if its refusal states a limit, as
/// in `Invalid value 262144 for configuration segment.bytes: Value must be at least 1048576`.
pub(crate) fn nearest(refusal: &str, name: &str, value: &str) -> Option<String> {
    let value: i64 = value.parse().ok()?;
    let (_, about) = refusal.split_once(&format!("configuration {name}:"))?;
    let limit_after = |words: &str| {
        let (_, rest) = about.split_once(words)?;
        let number = rest.trim_start().split(|letter: char| letter != '-' && !letter.is_ascii_digit()).next()?;
        number.parse::<i64>().ok()
    };
    let least = limit_after("must be at least").filter(|least| value < *least);
    let most = || limit_after("must be no more than").filter(|most| value > *most);
    least.or_else(most).map(|limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_is_the_stated_limit() {
        let refusal = "Invalid value 262144 for configuration segment.bytes: Value must be at least 1048576";
        assert_eq!(nearest(refusal, "segment.bytes", "262144").as_deref(), Some("1048576"));
        assert_eq!(nearest(refusal, "retention.bytes", "262144"), None, "it is about another setting");
        assert_eq!(nearest(refusal, "segment.bytes", "2097152"), None, "this value is not below the limit");
        let most = "Invalid value 2 for configuration min.cleanable.dirty.ratio: Value must be no more than 1";
        assert_eq!(nearest(most, "min.cleanable.dirty.ratio", "2").as_deref(), Some("1"));
        assert_eq!(nearest("the policy refuses segment.bytes", "segment.bytes", "1"), None);
        assert_eq!(nearest(refusal, "segment.bytes", "x"), None);
    }
}
