//! Tests of receiver files that are accepted or refused.

use std::time::Duration;

use service::config::{self, Absent, Forbidden, parse};
use wire::units::Size;

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let forbidden: Forbidden = |name| (name == "acks").then_some("a link waits for all replicas");
    parse(text, "receiver.toml", forbidden).map_err(|problems| problems.to_string())
}

/// The example with `line` after its first `[[links]]`.
fn with_link(line: &str) -> Result<Config, String> {
    read(&EXAMPLE.replace("[[links]]", &format!("[[links]]\n{line}")))
}

#[test]
fn the_example_is_enough() {
    let config = read(EXAMPLE).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:7443");
    assert_eq!(config.memory, Size::from_bytes(512 << 20));
    let target = &config.target;
    assert_eq!((target.transactions_per_second, target.transaction_burst), (40, 16));
    assert_eq!((target.transaction_timeout, target.replication_factor), (Duration::from_secs(30), None));
    let [link] = &config.links[..] else { panic!("one link") };
    assert_eq!((&*link.name, &*link.senders[0], link.copy_configs), ("fra-to-sin", "sender.fra.example", true));
    assert!(link.topics.matches("anything") && !link.topics.matches("__internal"));
    assert_eq!(link.rename.apply("orders"), "orders");
    assert_eq!(config.process.admin.listen.0.unwrap().port(), 7402);
}

#[test]
fn an_empty_file_names_every_missing_setting() {
    let problems = read("").unwrap_err();
    for missing in
        ["`target.bootstrap_servers` is missing", "no [[links]]", "`tls.ca`", "`tls.certificate`", "`tls.key`"]
    {
        assert!(problems.contains(missing), "{missing}: {problems}");
    }
    assert_eq!(problems.lines().count(), 5, "{problems}");
}

#[test]
fn a_group_is_renamed_by_its_links_rule() {
    let renamed = |rule: &str| {
        Ok::<_, String>(with_link(&format!("rename_groups = \"{rule}\""))?.links[0].rename_groups.apply("a"))
    };
    assert_eq!(renamed("fra.{group}-2").as_deref(), Ok("fra.a-2"));
    assert!(renamed("billing").unwrap_err().contains("has no `{group}`: every source group would become the same one"));
    assert!(renamed("__{group}").unwrap_err().contains("would make groups that begin with `__`"));
    assert_eq!(with_link("").unwrap().links[0].rename_groups.apply("a"), "a");
}

#[test]
fn a_topic_is_renamed_by_its_links_rule() {
    assert_eq!(with_link("rename = \"fra.{topic}-copy\"").unwrap().links[0].rename.apply("a"), "fra.a-copy");
    for (wrong, reason) in [
        ("fra", "has no `{topic}`"),
        ("{topic}{topic}", "around one `{topic}`"),
        ("a/{topic}", "may have only"),
        ("__{topic}", "internal to their cluster"),
    ] {
        let problem = with_link(&format!("rename = \"{wrong}\"")).unwrap_err();
        assert!(problem.contains("receiver.toml:5:10: `links.rename`: ") && problem.contains(reason), "{problem}");
    }
}

#[test]
fn problems_of_several_links_are_reported_together() {
    let links =
        "\n[[links]]\nname = \"B\"\nsenders = []\n[[links]]\nname = \"fra-to-sin\"\nsenders = [\"a b\", \"c\"]\n";
    let problems = read(&format!("{EXAMPLE}{links}")).unwrap_err();
    for problem in
        ["`links.name`: \"B\" is no link name", "`links.senders` is empty", "`links.senders`: \"a b\" is not"]
    {
        assert!(problems.contains(problem), "{problem}: {problems}");
    }
    let twice = "\n[[links]]\nname = \"fra-to-sin\"\nsenders = [\"c\"]\n";
    let problem = read(&format!("{EXAMPLE}{twice}")).unwrap_err();
    assert!(problem.contains("receiver.toml:14:8: `links.name`: \"fra-to-sin\" is named twice"), "{problem}");
}

#[test]
fn bounds_and_refused_properties_are_named() {
    let timeout = EXAMPLE.replace("[target]", "[target]\ntransaction_timeout = \"1 s\"\nreplication_factor = 0");
    let problems = read(&timeout).unwrap_err();
    assert!(problems.contains("`target.transaction_timeout` is \"1 s\", below the minimum of \"5 s\""), "{problems}");
    assert!(problems.contains("`target.replication_factor` is 0, below the minimum of 1"), "{problems}");
    let problem = read(&format!("{EXAMPLE}\n[target.client]\nacks = 1\n")).unwrap_err();
    assert!(problem.contains("`acks` in [target.client] is refused: a link waits for all replicas"), "{problem}");
}

#[test]
fn the_published_reference_is_printed_from_these_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/configuration.md");
    // The sections that the sender's part prints are named only; their defaults differ in `admin.listen`.
    let is_shared = |section: &&Section| ["tls", "admin", "log"].contains(&section.path);
    let (shared, own): (Vec<_>, Vec<_>) = SECTIONS.iter().partition(is_shared);
    let own: Vec<_> = own.into_iter().copied().collect();
    let titles: Vec<_> = shared.iter().map(|section| format!("`{}`", section.title())).collect();
    let listen = shared.iter().find_map(|section| section.field("listen")).unwrap();
    let Absent::Default(listen) = listen.absent else { panic!("the admin port has a default") };
    let body = format!(
        "```toml\n{EXAMPLE}```\n\n{}\n### {}\n\nThe same settings as in a sender's file. The default of `admin.listen` is \
         `{listen}`.\n",
        config::reference(&own),
        titles.join(", ")
    );
    service::metrics::check_page(path.as_ref(), &[("receiver", body)]);
}

#[test]
fn a_running_receiver_adopts_live_settings_and_names_the_rest() {
    let mut running = read(EXAMPLE).unwrap();
    let new = EXAMPLE
        .replace("[\"sender.fra.example\"]", "[\"other.example\"]\nrename = \"new.{topic}\"")
        .replace("pki/ca.pem", "pki/new.pem");
    let links = "[[links]]\nname = \"b\"\nsenders = [\"c\"]\nrename = \"b.{topic}\"\n";
    let changes = running.reload(
        read(&format!("memory = \"1 GiB\"\nrate = \"5 Mbit/s\"\n{new}[log]\nlevel = \"debug\"\n{links}")).unwrap(),
    );
    let [first, second] = &running.links[..] else { panic!("two links") };
    assert_eq!((&*first.senders[0], first.rename.apply("a")), ("other.example", "a".to_owned()));
    assert_eq!((&*second.name, second.rename.apply("a")), ("b", "b.a".to_owned()));
    assert!(running.process.tls.ca.ends_with("new.pem") && running.memory == Size::from_bytes(512 << 20));
    let named: Vec<_> = changes.iter().map(|change| (change.setting.as_str(), change.live)).collect();
    let expected = [
        ("links.b", true),
        ("links.fra-to-sin.rename", false),
        ("links.fra-to-sin.senders", true),
        ("log.level", true),
        ("memory", false),
        ("rate", true),
        ("tls.ca", true),
    ];
    assert_eq!(named, expected);
    running.reload(read(EXAMPLE).unwrap());
    assert_eq!(running.links.len(), 1, "a link can go as it came");
}

#[test]
fn links_cannot_have_more_memory_than_the_receiver() {
    let ours = |memory: &str| {
        read(&format!(
            "memory = \"{memory}\"\n{EXAMPLE}\n[[links]]\nname = \"b\"\nsenders = [\"c\"]\nmemory = \"128 MiB\"\n"
        ))
    };
    assert_eq!(ours("256 MiB").unwrap().links[1].memory, Some(Size::from_bytes(128 << 20)));
    let problem = ours("128 MiB").unwrap_err();
    assert!(
        problem.contains("each of the other 1 needs 1048576: more than the receiver's `memory` of 134217728"),
        "{problem}"
    );
}
