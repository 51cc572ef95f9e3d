//! The page of a receiver: all its links, those in trouble first.

use maud::{Markup, html};
use receiver::GroupStatus;
use receiver::status::{Board, LinkStatus, Status};

use super::chart::charts;
use super::halts::{For, needs_action};
use super::parts::{lines, more_than, way};
use super::{Around, Shown};
use crate::answers::Answers;
use crate::history::Sample;
use crate::overview::plain;
use crate::overview::receiver::{
    CHARTS, TROUBLED_MAX, answer, groups_table, links, problem, sort_by_trouble, stations, troubled,
};
use crate::status::lifts::Halts;
use crate::status::sentences::{listens, named};

impl Shown for Answers<Board> {
    fn sample(&self) -> (Sample, Vec<(String, u64)>) {
        let status = self.0.status();
        let sample = Sample::of_receiver(&status);
        (sample, status.links.into_iter().map(|link| (link.link, link.counts.records)).collect())
    }

    fn draw(&self, around: &Around<'_>) -> (String, Markup) {
        let status = self.0.status();
        let title = format!("{}: Causeway receiver", named(&status.instance));
        (title, sections(status, &self.0.groups(), around))
    }
}

fn sections(mut status: Status, groups: &[GroupStatus], around: &Around<'_>) -> Markup {
    sort_by_trouble(&mut status);
    let troubled = troubled(&status);
    html! {
        header {
            h1 { (named(&status.instance)) }
            p { "Receiver, causeway " (status.version) ", " (listens(&status)) "." }
        }
        main {
            (answer(&status, &troubled).shown())
            (way(&stations(&status)))
            @if !troubled.is_empty() {
                section id="halts" aria-labelledby="halts-head" {
                    h2 #halts-head { "Links with problems" }
                    @for link in troubled.iter().take(TROUBLED_MAX) { (of_link(link)) }
                    (more_than(troubled.len(), TROUBLED_MAX, "p"))
                }
            }
            (charts(around.history, &CHARTS))
            (links(&status, around.history).shown())
            (groups_table(&status, groups).shown())
        }
    }
}

/// The problems of one link, and what lifts its halts.
fn of_link(link: &LinkStatus) -> Markup {
    let holder = link.sender.as_ref().map(|sender| format!("; the commands are for its sender, {}", plain(sender)));
    let halts = Halts { listed: &link.halted, count: link.halted_partitions };
    let sender = For { link: &link.link, options: "", words: holder.as_deref().unwrap_or_default() };
    html! {
        article id=(plain(&format!("link-{}", link.link))) {
            h3 { "Link " (named(&link.link)) ": " (plain(&problem(link))) }
            (lines(&link.trouble, "It names no further problem."))
            (needs_action(halts, &sender))
            (more_than(link.halted_partitions, link.halted.len(), "p"))
        }
    }
}

#[cfg(test)]
mod tests {
    use service::status::HaltedPartition;

    use super::*;
    use crate::history::History;

    fn status(links: Vec<LinkStatus>) -> Status {
        Status { instance: "sin-1".into(), listen: Some("0.0.0.0:7443".parse().unwrap()), links, ..Status::default() }
    }

    fn shown(links: Vec<LinkStatus>) -> String {
        let around = Around { history: &History::default(), options: "" };
        sections(status(links), &[], &around).into_string()
    }

    fn link(n: usize) -> LinkStatus {
        LinkStatus {
            link: format!("spoke-{n:03}"),
            sender: Some(format!("s{n}")),
            channels: 1,
            ..LinkStatus::default()
        }
    }

    #[test]
    fn of_200_links_those_in_trouble_come_first() {
        let mut links: Vec<_> = (0..200).map(link).collect();
        links[150].trouble = vec!["lane 0: <b>timed out</b>".into()];
        links[199].halted_partitions = 1;
        let halt = HaltedPartition { topic: "orders".into(), reason: "corrupt".into(), ..HaltedPartition::default() };
        links[199].halted = vec![halt];
        links[120].sender = None;
        let shown = shown(links);
        let row = |n: usize| shown.find(&format!("<th scope=\"row\">spoke-{n:03}<")).unwrap_or(usize::MAX);
        assert!([row(199), row(150), row(120), row(0), row(46)].is_sorted(), "{shown}");
        assert_eq!(row(47), usize::MAX, "50 rows");
        for part in [
            "and 150 more",
            "no: 199 of 200 links have a sender",
            "link spoke-199: 1 partitions halted",
            "lane 0: &lt;b&gt;timed out",
            "causeway resume orders/0<",
            "the commands are for its sender, s199",
            "see docs/troubleshoot.md#corrupt",
            "see docs/troubleshoot.md#no-active-sender",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }

    #[test]
    fn a_receiver_without_problems_says_so() {
        let shown = shown(vec![link(1)]);
        assert!(shown.contains("id=\"answer\" class=\"good\"") && shown.contains("none needed"), "{shown}");
        assert!(!shown.contains("Links with problems"));
    }

    #[test]
    fn a_list_of_halts_that_was_cut_gives_no_command_for_the_topic() {
        let mut link = link(1);
        let halt = |partition| HaltedPartition {
            topic: "orders".into(),
            partition,
            reason: "record-rejected".into(),
            ..HaltedPartition::default()
        };
        link.halted = (0..2).map(halt).collect();
        link.halted_partitions = 2;
        let complete = shown(vec![link.clone()]);
        link.halted_partitions = 150;
        let cut = shown(vec![link]);
        assert!(complete.contains("<code>causeway resume orders</code>"), "{complete}");
        assert!(!cut.contains("<code>causeway resume orders</code>") && cut.contains("and 148 more"), "{cut}");
        for shown in [complete, cut] {
            assert!(shown.contains("<code>causeway resume --skip orders/0 orders/1</code>"), "{shown}");
        }
    }

    #[test]
    fn a_promoted_link_needs_no_sender() {
        let mut link = link(1);
        link.sender = None;
        link.promotion.state = "promoted".into();
        let shown = shown(vec![link]);
        assert!(shown.contains("0 of 0 links have a sender") && shown.contains("class=\"good\""), "{shown}");
    }
}
