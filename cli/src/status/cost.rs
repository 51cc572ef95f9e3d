//! `causeway status --cost`: what each topic takes on the wire, and what that costs.

use sender::{CostStatus, TopicCost};
use service::format::{bytes, duration};

use super::table::Page;

/// Heads of the table, of which the last ones are money.
pub(crate) const HEAD: [&str; 7] =
    ["topic", "record bytes", "on the wire", "ratio", "own batches", "per month", "saved"];
const HEAD_WITHOUT_PRICE: usize = 5;

/// The cost of a sender. The most expensive topics come last, where a long list ends on the screen.
pub(super) fn page(address: &str, cost: &CostStatus) -> String {
    let mut page = Page::headed(format!("what the sender at {address} has sent in {}", duration(cost.since_seconds)));
    sentences(cost).iter().for_each(|(what, words)| page.line(what, words));
    let mut rows = rows(cost);
    rows[1..].reverse();
    rows.rotate_left(1);
    page.table(head(cost), rows);
    page.0
}

/// Heads of the table: without a price there is no money.
pub(crate) fn head(cost: &CostStatus) -> &'static [&'static str] {
    if cost.price_per_gb.is_some() { &HEAD } else { &HEAD[..HEAD_WITHOUT_PRICE] }
}

/// What the whole link costs, each sentence with its name.
pub(crate) fn sentences(cost: &CostStatus) -> Vec<(&'static str, String)> {
    let CostStatus { total, .. } = cost;
    let money = |value: Option<f64>| money(value, &cost.currency);
    let none = [bytes(cost.no_topic_bytes), bytes(cost.in_flight_bytes)];
    let parts = format!("{} of them without a topic, {} in flight", none[0], none[1]);
    let mut sentences = Vec::new();
    match cost.price_per_gb {
        Some(price) => {
            let whole =
                format!("{} at {price} {} per GB: {}", bytes(cost.sent_bytes), cost.currency, money(total.cost));
            sentences.push(("sent", format!("{whole}; {parts}")));
            let span = match cost.rate_seconds {
                seconds if seconds > 0.0 => format!("at the rate of the last {}", duration(seconds)),
                _ => "no rate yet".to_owned(),
            };
            let rates = [money(total.cost_per_day), money(total.cost_per_month)];
            sentences.push(("cost", format!("{} per day, {} per month, {span}", rates[0], rates[1])));
        }
        None => {
            let words = format!("{}; {parts}; set `cost.price_per_gb` to see money", bytes(cost.sent_bytes));
            sentences.push(("sent", words));
        }
    }
    let batches = match total.source_bytes {
        Some(source) => format!("the producers' own batches: {}", bytes(source)),
        None => "the producers' own batches: unknown".to_owned(),
    };
    let saved = if cost.price_per_gb.is_some() { format!("{}; {batches}", money(total.saved)) } else { batches };
    sentences.push((if cost.price_per_gb.is_some() { "saved" } else { "compare" }, saved));
    sentences
}

/// Rows of the table: the sum, then the topics, the most expensive first, then those that are gone.
pub(crate) fn rows(cost: &CostStatus) -> Vec<Vec<String>> {
    let named = |name: &str, of: &TopicCost| row(name, of, cost);
    let topics = cost.topics.iter().map(|topic| named(&topic.topic, topic));
    let gone = (cost.gone != TopicCost::default() && cost.gone.wire_bytes > 0).then(|| named("(gone)", &cost.gone));
    [named("(all)", &cost.total)].into_iter().chain(topics).chain(gone).collect()
}

fn row(name: &str, of: &TopicCost, cost: &CostStatus) -> Vec<String> {
    let known = |number: Option<u64>| number.map_or_else(|| "unknown".to_owned(), bytes);
    let ratio = of.ratio.map_or_else(|| "unknown".to_owned(), |ratio| format!("{ratio:.2}"));
    let mut row = vec![name.to_owned(), bytes(of.record_bytes), bytes(of.wire_bytes), ratio, known(of.source_bytes)];
    if cost.price_per_gb.is_some() {
        row.extend([of.cost_per_month, of.saved].map(|value| money(value, &cost.currency)));
    }
    row
}

/// Money with two decimals, or with as many as show something.
fn money(value: Option<f64>, currency: &str) -> String {
    let Some(value) = value else { return "unknown".to_owned() };
    let decimals = match value.abs() {
        small if small < 0.000_000_5 => return format!("0 {currency}"),
        small if small < 0.01 => 6,
        small if small < 1.0 => 4,
        _ => 2,
    };
    format!("{value:.decimals$} {currency}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(price: Option<f64>) -> CostStatus {
        serde_json::from_value(serde_json::json!({
            "price_per_gb": price, "currency": "EUR", "since_seconds": 7_260.0, "rate_seconds": 600.0,
            "sent_bytes": 5_000_000_000_u64, "no_topic_bytes": 2048, "in_flight_bytes": 1024,
            "total": {
                "record_bytes": 40_000_000_000_u64, "wire_bytes": 5_000_000_000_u64, "ratio": 8.0,
                "source_bytes": 15_000_000_000_u64, "cost": 0.1, "cost_per_day": 1.5, "cost_per_month": 45.66,
                "saved": 0.2,
            },
            "topics": [
                { "topic": "orders", "record_bytes": 1024, "wire_bytes": 512, "ratio": 2.0, "cost_per_month": 0.00012 },
                { "topic": "new" },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn bytes_are_shown_in_money() {
        let shown = page("a:1", &cost(Some(0.02)));
        for line in [
            "what the sender at a:1 has sent in 2 h 1 min\n",
            "  sent        4.7 GiB at 0.02 EUR per GB: 0.1000 EUR; 2 KiB of them without a topic, 1 KiB in flight\n",
            "  cost        1.50 EUR per day, 45.66 EUR per month, at the rate of the last 10 min\n",
            "  saved       0.2000 EUR; the producers' own batches: 14 GiB\n",
            "  orders         1 KiB        512 B     2.00      unknown  0.000120 EUR     unknown\n",
            "   (all)      37.3 GiB      4.7 GiB     8.00       14 GiB     45.66 EUR  0.2000 EUR\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
        let order = ["new", "orders", "(all)"].map(|name| shown.find(&format!("{name} ")).unwrap());
        assert!(order.is_sorted(), "{shown}");
    }

    #[test]
    fn without_a_price_there_are_bytes() {
        let shown = page("a:1", &cost(None));
        assert!(shown.contains("set `cost.price_per_gb` to see money"), "{shown}");
        assert!(!shown.contains("EUR") && !shown.contains("per month"), "{shown}");
        assert!(shown.contains("  compare     the producers' own batches: 14 GiB\n"), "{shown}");
    }
}
