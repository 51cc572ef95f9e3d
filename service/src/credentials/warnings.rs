//! Warnings of certificates that expire: once each when 30, 7 and 1 days are left, and when none is. Sans-IO.

use std::collections::BTreeMap;

use super::expiry::Validity;

/// Days left at which a certificate is named.
const DAYS: [i64; 4] = [0, 1, 7, 30];
/// Days left from which on the status names it.
const TROUBLE_DAYS: i64 = 7;
const DAY: i64 = 86_400;
/// Certificates that are remembered although they are not in use: a peer's is again with its next session.
const REMEMBERED_MAX: usize = 1_000;
/// Part of its life in which a certificate is renewed as usual, if something renews it: the last third. A warning that
/// would come before it is left out, so that certificates of a day are not always about to expire.
const RENEWED_IN: i64 = 3;

/// Warnings that were given.
#[derive(Debug, Default)]
pub struct ExpiryWarnings {
    /// Fewest days of a warning about each certificate, by name and serial number.
    given: BTreeMap<(String, String), i64>,
}

impl ExpiryWarnings {
    /// Returns the certificates to warn of at `now`, in seconds since 1970.
    pub fn due<'c>(&mut self, now: i64, certificates: &'c [(String, Validity)]) -> Vec<&'c (String, Validity)> {
        let key = |(name, validity): &(String, Validity)| (name.clone(), validity.serial.clone());
        if self.given.len() > REMEMBERED_MAX {
            self.given.retain(|known, _| certificates.iter().any(|one| key(one) == *known));
        }
        let is_due = |one: &&(String, Validity)| {
            let Some(days) = crossed(now, &one.1) else { return false };
            let given = self.given.entry(key(one)).or_insert(i64::MAX);
            days < std::mem::replace(given, days.min(*given))
        };
        certificates.iter().filter(is_due).collect()
    }
}

/// Returns the sentence about a certificate that expires soon, or has expired.
pub fn sentence(now: i64, name: &str, validity: &Validity) -> Option<String> {
    crossed(now, validity).filter(|days| *days <= TROUBLE_DAYS)?;
    let verb = if validity.until <= now { "expired" } else { "expires" };
    Some(format!("certificate `{name}` (serial {}) {verb} at {}", validity.serial, validity.end()))
}

/// Returns the least number of days among [`DAYS`] that are left at most.
fn crossed(now: i64, validity: &Validity) -> Option<i64> {
    let life = validity.until.saturating_sub(validity.since);
    let is_usual = |days: &&i64| **days * DAY * RENEWED_IN < life.max(1);
    let left = validity.until.saturating_sub(now);
    DAYS.iter().filter(is_usual).find(|days| left <= **days * DAY).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: &str, days: i64) -> (String, Validity) {
        ("own".to_owned(), Validity { serial: serial.to_owned(), since: 0, until: days * DAY })
    }

    /// Days left of the year at which the warnings come.
    fn warned(certificates: &[(String, Validity)], days: std::ops::Range<i64>) -> Vec<i64> {
        let mut warnings = ExpiryWarnings::default();
        days.rev().filter(|left| !warnings.due((365 - left) * DAY, certificates).is_empty()).collect()
    }

    #[test]
    fn each_warning_comes_once() {
        assert_eq!(warned(&[certificate("a", 365)], -5..100), [30, 7, 1, 0]);
        assert_eq!(warned(&[certificate("a", 365)], 3..6), [5], "the process started late");
        assert_eq!(warned(&[certificate("a", 1_000)], 0..100), [] as [i64; 0]);
    }

    #[test]
    fn a_renewed_certificate_is_another_one() {
        let mut warnings = ExpiryWarnings::default();
        let old = [certificate("a", 10)];
        let now = 9 * DAY;
        assert_eq!(warnings.due(now, &old).len(), 1);
        assert_eq!(warnings.due(now, &[certificate("b", 365)]).len(), 0);
        assert_eq!(warnings.due(now, &old).len(), 0, "a session with it ended, and another began");
        for serial in 0..2 * REMEMBERED_MAX {
            assert_eq!(warnings.due(now, &[certificate(&serial.to_string(), 10)]).len(), 1);
        }
        assert!(warnings.given.len() <= REMEMBERED_MAX + 1, "the others are forgotten");
    }

    #[test]
    fn a_short_life_is_no_warning_until_it_ends() {
        let (_, short) = certificate("a", 1);
        assert_eq!(sentence(DAY / 2, "own", &short), None);
        assert_eq!(
            sentence(DAY, "own", &short).as_deref(),
            Some("certificate `own` (serial a) expired at 1970-01-02T00:00:00Z")
        );
        let (_, year) = certificate("b", 365);
        assert_eq!(sentence(357 * DAY, "peer", &year), None);
        assert!(sentence(358 * DAY, "peer", &year).unwrap().contains("`peer` (serial b) expires at 1971-01-01"));
    }
}
