//! Promotion of a link, as the page of a receiver shows it.

use jiff::Timestamp;
use receiver::PromotionStatus;

/// What is known of a promotion; `None` for a link that has none.
pub(super) fn promotion(promotion: &PromotionStatus) -> Option<String> {
    let PromotionStatus { state, at, by, .. } = promotion;
    let at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
    let since = at.map(|at| format!(" at {at}")).unwrap_or_default();
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    match state.as_str() {
        "promoted" => Some(format!("yes{since}{by}: it carries nothing any more")),
        "unfinished" => Some(format!("not completely{since}{by}: run `causeway failover` again")),
        "switching-over" => Some("waits for a quiet source, see `causeway switch-over`".to_owned()),
        "in-progress" => Some(format!("in progress{since}{by}")),
        _ => None,
    }
}
