//! Halts: each with its sentence, the page of the manual and the command that lifts it, ready to copy.

use maud::{Markup, html};

use super::parts::more_than;
use crate::overview::{ROWS_MAX, plain};
use crate::status::lifts::{DETAILS_MAX, HaltGroup, Halts, Lift};

/// Sender that the commands are for.
pub(super) struct For<'a> {
    /// Link, which makes the ids of the articles differ; empty on a page of one link.
    pub(super) link: &'a str,
    /// Options that name its admin port, with a space before them.
    pub(super) options: &'a str,
    /// Words that name it, if it is another process.
    pub(super) words: &'a str,
}

/// Halts by topic and reason, each with what lifts it.
pub(super) fn needs_action(halts: Halts<'_>, sender: &For<'_>) -> Markup {
    let groups = HaltGroup::all(halts);
    html! {
        @for group in groups.iter().take(ROWS_MAX) {
            // The script keeps an article in place by its id, so that a button stays with its command.
            article.halt id=(plain(&format!("halt-{}/{}/{}", sender.link, group.topic, group.reason))) {
                h3 { (plain(&group.heading())) }
                p { (group.sentence()) }
                ul {
                    @for halt in group.halts.iter().take(DETAILS_MAX) {
                        li { (plain(&format!("{}/{}: {}", halt.topic, halt.partition, halt.detail))) }
                    }
                    (more_than(group.halts.len(), DETAILS_MAX, "li"))
                }
                p { "Manual: " code { (group.manual()) } (sender.words) }
                @for lift in group.lifts(sender.options) { (command(&lift)) }
            }
        }
        (more_than(groups.len(), ROWS_MAX, "p"))
    }
}

/// A command with a button that copies it.
pub(super) fn command(lift: &Lift) -> Markup {
    html! {
        p.command {
            span { (lift.when) ": " }
            code { (lift.command) }
            " " button type="button" data-copy="" aria-label=(format!("Copy: {}", lift.command)) { "Copy" }
        }
    }
}

#[cfg(test)]
mod tests {
    use service::status::HaltedPartition;

    use super::*;

    #[test]
    fn a_halt_has_its_sentence_its_manual_and_its_command() {
        let halt = |partition| HaltedPartition {
            topic: "orders".into(),
            partition,
            position: 7,
            reason: "target-not-empty".into(),
            detail: "log end <9>".into(),
        };
        let shown = |listed: &[HaltedPartition]| {
            let sender = For { link: "a", options: " --config /etc/s.toml", words: "" };
            needs_action(Halts { listed, count: listed.len() }, &sender).into_string()
        };
        let one = shown(&[halt(3)]);
        for part in [
            "orders/3 halted, target-not-empty",
            "records that this link did not write: empty, rename or adopt it.",
            "orders/3: log end &lt;9&gt;",
            "<code>docs/troubleshoot.md#target-not-empty</code>",
            "<code>causeway adopt orders/3 --config /etc/s.toml</code>",
            "id=\"halt-a/orders/target-not-empty\"",
        ] {
            assert!(one.contains(part), "{part}: {one}");
        }
        let many = shown(&(0..200).map(halt).collect::<Vec<_>>());
        assert!(many.contains("orders: 200 partitions halted") && many.contains("and 195 more"), "{many}");
        assert!(many.contains("<code>causeway adopt orders/0 orders/1 orders/2 "), "{many}");
    }
}
