//! What a link costs, on the page of its sender.

use maud::Markup;
use sender::CostStatus;

use crate::overview::Table;
use crate::status::cost::{head, rows, sentences};

/// The section about cost: in money if there is a price, else in bytes.
pub(super) fn section(cost: &CostStatus) -> Markup {
    let note: Vec<_> =
        sentences(cost).into_iter().map(|(what, words)| format!("{}: {words}.", capital(what))).collect();
    let title = if cost.price_per_gb.is_some() { "Cost" } else { "Bytes by topic" };
    Table { id: "cost", title, note: note.join(" "), head: head(cost), rows: rows(cost), numbers: 1 }.shown()
}

fn capital(words: &str) -> String {
    let (first, rest) = words.split_at(words.len().min(1));
    first.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_money_only_with_a_price() {
        let cost = |price: Option<f64>| {
            let topic = serde_json::json!({ "topic": "<orders>", "wire_bytes": 2_048, "cost_per_month": price });
            let cost = serde_json::json!({ "price_per_gb": price, "currency": "EUR", "topics": [topic] });
            section(&serde_json::from_value(cost).unwrap()).into_string()
        };
        let priced = cost(Some(1.5));
        for part in ["<h2 id=\"cost-head\">Cost</h2>", "per month", "1.50 EUR", "&lt;orders&gt;", "2 KiB"] {
            assert!(priced.contains(part), "{part}\n{priced}");
        }
        let plain = cost(None);
        assert!(plain.contains("Bytes by topic") && !plain.contains("EUR"), "{plain}");
    }
}
