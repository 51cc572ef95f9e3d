//! Tests of sender files that are accepted or refused.

use std::time::Duration;

use service::config::{self, Forbidden, parse};
use service::names::InstanceName;
use wire::compress::Codec;

use crate::lane::compression::Compression;
use wire::units::Rate;

use super::*;
use crate::rate::schedule::Schedule;

fn read(text: &str) -> Result<Config, String> {
    let forbidden: Forbidden = |name| (name == "isolation.level").then_some("a link copies committed records only");
    parse(text, "sender.toml", forbidden).map_err(|problems| problems.to_string())
}

/// The example with `line` in the section that the line before it names.
fn with(section: &str, line: &str) -> Result<Config, String> {
    let text = EXAMPLE.replace(section, &format!("{section}\n{line}"));
    assert_ne!(text, EXAMPLE, "the example has {section}");
    read(&text)
}

#[test]
fn the_example_is_enough() {
    let config = read(EXAMPLE).unwrap();
    assert_eq!(&*config.link, "fra-to-sin");
    assert_eq!(config.instance, InstanceName::of_host());
    assert_eq!((config.memory, config.lanes), (Size::from_bytes(256 << 20), 8));
    assert!(config.source.filter().matches("orders") && config.source.filter().matches("payments.eu"));
    assert_eq!(config.source.start, Start::Earliest);
    assert_eq!(config.wan.receiver[0].to_string(), "link.sin.example:7443");
    assert_eq!((config.wan.server_name, config.wan.rate, config.wan.schedule), (None, None, Schedule::default()));
    assert_eq!((config.wan.compression, config.wan.linger), (Compression::Auto, Duration::from_millis(5)));
    assert_eq!(config.process.admin.listen.0.unwrap().to_string(), "127.0.0.1:7401");
}

#[test]
fn packets_have_one_thread_by_default() {
    let threads = |config: Config| config.io_threads.runtime().unwrap().metrics().num_workers();
    assert_eq!(threads(read(EXAMPLE).unwrap()), 1);
    assert_eq!(threads(read(&format!("io_threads = 3\n{EXAMPLE}")).unwrap()), 3);
    let refused = read(&format!("io_threads = 0\n{EXAMPLE}")).unwrap_err();
    assert!(refused.contains("`io_threads` is 0, below the minimum of 1"), "{refused}");
}

#[test]
fn an_empty_file_names_every_missing_setting() {
    let problems = read("").unwrap_err();
    for key in
        ["link", "source.bootstrap_servers", "source.topics", "wan.receiver", "tls.ca", "tls.certificate", "tls.key"]
    {
        assert!(problems.contains(&format!("`{key}` is missing; it takes ")), "{key}: {problems}");
    }
    assert_eq!(problems.lines().count(), 7, "{problems}");
}

#[test]
fn a_start_is_a_word_or_a_time_with_its_offset() {
    for (written, start) in [
        ("\"latest\"", Start::Latest),
        ("\"1970-01-01T01:00:00.5+01:00\"", Start::Timestamp(500)),
        ("1970-01-01T00:00:01Z", Start::Timestamp(1000)),
    ] {
        assert_eq!(with("[source]", &format!("start = {written}")).unwrap().source.start, start);
    }
    for wrong in ["\"newest\"", "\"2026-01-31T06:00:00\"", "2026-01-31"] {
        let problem = with("[source]", &format!("start = {wrong}")).unwrap_err();
        assert!(problem.contains("sender.toml:4:9: `source.start`: ") && problem.contains("is no start"), "{problem}");
    }
    assert!(with("[source]", "start = 5").unwrap_err().contains("is of type integer; it takes `earliest`"));
}

#[test]
fn a_codec_is_a_word_and_for_zstd_a_level() {
    for (written, codec) in [
        ("none", Codec::None),
        ("zstd", Codec::Zstd(1)),
        ("zstd:19", Codec::Zstd(19)),
        ("shape", Codec::Shape(1)),
        ("shape:3", Codec::Shape(3)),
    ] {
        let read = with("[wan]", &format!("compression = \"{written}\"")).unwrap().wan.compression;
        assert_eq!(read, Compression::Fixed(codec));
    }
    assert_eq!(with("[wan]", "compression = \"auto\"\ncompression_cpu = 1").unwrap().wan.compression_cpu, Some(1.0));
    assert_eq!(with("[wan]", "compression_cpu = 0.5").unwrap().wan.compression_cpu, Some(0.5));
    for wrong in ["0", "nan", "\"1\"", "-1.5", "300"] {
        assert!(with("[wan]", &format!("compression_cpu = {wrong}")).is_err(), "{wrong}");
    }
    assert!(with("[wan]", "compression = \"zstd:20\"").unwrap_err().contains("write \"zstd:1\" to \"zstd:19\""));
    assert!(with("[wan]", "compression = \"shape:0\"").unwrap_err().contains("write \"shape:1\" to \"shape:19\""));
    assert!(with("[wan]", "compression = \"lz5\"").unwrap_err().contains("did you mean \"lz4\"?"));
}

#[test]
fn contradicting_settings_are_refused_with_a_remedy() {
    let problem = read(&format!("memory = \"64 MiB\"\n{EXAMPLE}\n[lanes]\ncount = 64\n")).unwrap_err();
    let expected = "sender.toml:1:10: `memory` is 64 MiB, too little for 64 lanes of 4 MiB each; \
                    raise it to 256 MiB or lower `lanes.count`";
    assert_eq!(problem, expected);
    let problem = with("[source]", "exclude = [\"tmp\", \"orders\"]").unwrap_err();
    assert!(problem.contains("`source.exclude` takes back \"orders\" from `source.topics`; remove one"), "{problem}");
}

#[test]
fn patterns_names_and_properties_are_checked() {
    let problem = with("[source]", "exclude = [\"ok\", \"a(\"]").unwrap_err();
    assert!(problem.contains("sender.toml:4:18: `source.exclude`: \"a(\" is no regular expression: "), "{problem}");
    let problem = with("[wan]", "server_name = \"a b\"").unwrap_err();
    assert!(problem.contains("`wan.server_name`: \"a b\" is not a DNS name"), "{problem}");
    let problem = read(&format!("{EXAMPLE}\n[source.client]\nisolation.level = \"x\"\n")).unwrap_err();
    assert!(problem.contains("`isolation.level` in [source.client] is refused: a link copies"), "{problem}");
}

#[test]
fn the_published_reference_is_printed_from_these_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/configuration.md");
    let body = format!("```toml\n{EXAMPLE}```\n\n{}", config::reference(SECTIONS));
    service::metrics::check_page(path.as_ref(), &[("sender", body)]);
}

#[test]
fn an_admin_port_that_others_can_reach_needs_a_token() {
    let read = |admin: &str| parse::<Config>(&format!("{EXAMPLE}[admin]\n{admin}\n"), "sender.toml", |_| None);
    for exposed in ["0.0.0.0:7401", "[::]:7401", "10.0.0.7:7401", "[::ffff:10.0.0.7]:7401"] {
        let problem = read(&format!("listen = \"{exposed}\"")).unwrap_err().to_string();
        let expected = format!(
            "sender.toml:15:10: `admin.listen` is {exposed}, which other machines may reach, and there is no `admin.token`"
        );
        assert!(problem.contains(&expected), "{problem}");
        let config = read(&format!("listen = \"{exposed}\"\ntoken = \"token\"")).unwrap();
        assert!(config.process.admin.is_tls());
    }
    for here in ["127.0.0.1:7401", "[::1]:7401", "off"] {
        assert!(!read(&format!("listen = \"{here}\"")).unwrap().process.admin.is_tls());
    }
}

#[test]
fn a_running_sender_adopts_live_settings_and_names_the_rest() {
    let read = |text: &str| parse::<Config>(text, "sender.toml", |_| None).unwrap();
    let mut running = read(EXAMPLE);
    let new = EXAMPLE
        .replace("\"orders\"", "\"invoices\"")
        .replace("pki/sender.key", "pki/new.key")
        .replace("[wan]", "[wan]\nrate = \"7 Mbit/s\"\ntime_zone = \"Europe/Berlin\"")
        .replace("link.sin.example", "other.example");
    let groups = "[groups]\ninclude = [\"billing\"]\n[acls]\nfollow = true\n[cost]\nprice_per_gb = 0.02\n";
    let changes = running.reload(read(&format!("{new}{groups}[log]\nlevel = \"debug\"\nformat = \"json\"\n")));
    assert_eq!(running.cost.price_per_gb, Some(0.02));
    assert!(running.groups.filter().matches("billing") && running.acls.follow);
    assert!(running.source.filter().matches("invoices") && !running.source.filter().matches("orders"));
    assert!(running.process.tls.key.ends_with("new.key"));
    assert_eq!(
        running.process.log,
        service::logging::LogSettings { level: service::logging::Level::Debug, format: service::logging::Format::Text }
    );
    assert_eq!(running.wan.rate, Some(Rate::from_bits_per_second(7_000_000)));
    assert_eq!(running.wan.schedule.zone().to_string(), "Europe/Berlin");
    assert_eq!(running.wan.receiver[0].host, "link.sin.example");
    let named: Vec<_> = changes.iter().map(|change| (change.setting.as_str(), change.live)).collect();
    let expected = [
        ("acls.follow", true),
        ("cost.price_per_gb", true),
        ("groups.include", true),
        ("log.format", false),
        ("log.level", true),
        ("source.topics", true),
        ("tls.key", true),
        ("wan.rate", true),
        ("wan.receiver", false),
        ("wan.time_zone", true),
    ];
    assert_eq!(named, expected);
    // Every live setting is tested above, or another setting of the same type is.
    let live: Vec<_> = SECTIONS.iter().flat_map(|s| s.fields).filter(|field| field.live).map(|f| f.name).collect();
    let wan = ["rate", "time_zone", "days", "from", "to", "rate"];
    let of_classes = ["topics", "priority", "share", "ceiling"];
    let others = [
        "include",
        "exclude",
        "interval",
        "follow",
        "interval",
        "price_per_gb",
        "currency",
        "ca",
        "certificate",
        "key",
        "token",
        "level",
    ];
    assert_eq!(
        live,
        [&["topics", "exclude", "forward", "ignore_links"], &wan[..], &of_classes[..], &others[..]].concat()
    );
}

#[test]
fn a_price_is_a_number_and_a_currency_a_word() {
    let cost = |text: &str| read(&format!("{EXAMPLE}\n[cost]\n{text}\n")).map(|config| config.cost);
    let good = cost("price_per_gb = 2\ncurrency = \"US$\"").unwrap();
    assert_eq!((good.price_per_gb, good.currency.to_string().as_str()), (Some(2.0), "US$"));
    let none = read(EXAMPLE).unwrap().cost;
    assert_eq!((none.price_per_gb, none.currency.to_string().as_str()), (None, "EUR"));
    for (text, sentence) in [
        ("price_per_gb = -0.01", "`cost.price_per_gb` is -0.01, below the minimum of 0"),
        ("price_per_gb = nan", "`cost.price_per_gb`: is not a number, such as `1.5`"),
        ("price_per_gb = \"0.02\"", "`cost.price_per_gb`"),
        ("currency = \"\"", "is no currency: write a word or sign of 1 to 8 characters"),
        ("currency = \"a b\"", "is no currency"),
        ("currency = \"ninechars\"", "is no currency"),
    ] {
        let problem = cost(text).expect_err(sentence);
        assert!(problem.contains(sentence), "{problem}");
    }
}

#[test]
fn policies_are_a_word_or_a_list() {
    let text = format!(
        "{EXAMPLE}\n[[policies]]\ntopics = \"clicks\"\npolicy = \"skip\"\n[[policies]]\ntopics = [\".*\"]\npolicy = [\"stop\"]\n"
    );
    let policies = read(&text).unwrap().policies;
    assert_eq!(policies.0[0].policy, [Policy::Skip]);
    assert!(policies.skips("clicks", wire::halt::HaltReason::RetentionOvertook).is_some());
    assert!(policies.skips("orders", wire::halt::HaltReason::RetentionOvertook).is_none());
    assert!(read(EXAMPLE).unwrap().policies.0.is_empty(), "without an entry nothing is skipped");
    let problem = read(&text.replace("\"skip\"", "\"skpi\"")).unwrap_err();
    assert!(problem.contains("`policies.policy`: \"skpi\" is not known; did you mean \"skip\"?"), "{problem}");
    let problem = read(&format!("{EXAMPLE}\n[[policies]]\npolicy = \"skip\"\n")).unwrap_err();
    assert!(problem.contains("`policies.topics` is missing"), "{problem}");
}

/// The example with classes behind it.
fn classes(text: &str) -> Result<Config, String> {
    let text = format!("{}\n{text}", EXAMPLE.replace("[wan]", "[wan]\nrate = \"100 Mbit/s\""));
    parse(&text, "sender.toml", |_| None).map_err(|problems| problems.to_string())
}

#[test]
fn every_contradiction_among_classes_is_named() {
    let good = "[[classes]]\nname = \"critical\"\ntopics = [\"orders\"]\npriority = \"strict\"\nceiling = \"20 Mbit/s\"\nlanes = 1\n\
                [[classes]]\nname = \"bulk\"\ntopics = \"clicks.*\"\nshare = \"30 %\"\nceiling = \"60 %\"\n";
    let config = classes(good).unwrap();
    let [critical, bulk] = &config.classes.0[..] else { panic!("{:?}", config.classes) };
    assert!(critical.terms.strict && critical.terms.ceiling.is_some() && critical.lanes == 1);
    assert_eq!((bulk.terms.share.map(|share| share.to_string()), bulk.lanes), (Some("30 %".to_owned()), 2));
    assert_eq!(derived::lanes(&config), 11);
    let class = |more: &str| format!("{good}[[classes]]\nname = \"third\"\ntopics = [\"a\"]\n{more}\n");
    for (text, sentence) in [
        (good.replace("\"bulk\"", "\"critical\""), "two classes are called \"critical\"; rename one"),
        (good.replace("\"bulk\"", "\"default\""), "`default` is the class of all topics that no other matches"),
        (good.replace("\"bulk\"", "\"Bulk\""), "\"Bulk\" is not a class name"),
        (good.replace("30 %", "130 %"), "`classes.share`"),
        (good.replace("60 %", "20 %"), "below the share that is guaranteed"),
        (good.replace("60 %", "fast"), "`classes.ceiling`"),
        (good.replace("lanes = 1", "share = \"10 %\""), "is strict: it goes before all others and needs no share"),
        (good.replace("\"strict\"", "\"strickt\""), "did you mean \"strict\"?"),
        (class("share = \"71 %\""), "the shares of all classes are 101.00 %, above 100 %"),
        (class("lanes = 54"), "the lanes of all classes are 65, above the limit of 64"),
        (class("lanes = 64"), "`classes.lanes`"),
    ] {
        let problem = classes(&text).expect_err(sentence);
        assert!(problem.contains(sentence), "{problem}");
    }
    let without = read(&format!("{EXAMPLE}\n[[classes]]\nname = \"a\"\ntopics = \"a\"\nceiling = \"10 %\"\n"));
    assert!(without.unwrap_err().contains("10 % of no rate; state `wan.rate`, or the ceiling as a rate"));
}

/// The example with these entries.
fn scheduled(entries: &[[&str; 4]]) -> Result<Config, String> {
    let entry = |[days, from, to, rate]: &[&str; 4]| {
        format!("[[wan.schedule]]\ndays = \"{days}\"\nfrom = \"{from}\"\nto = \"{to}\"\nrate = \"{rate}\"\n")
    };
    read(&format!("{EXAMPLE}{}", entries.iter().map(entry).collect::<String>()))
}

#[test]
fn a_schedule_has_a_zone_and_its_highest_rate_counts() {
    let office = ["mon-fri", "08:00", "18:00", "100 Mbit/s"];
    let config = scheduled(&[office, ["sat,sun", "22:00", "06:00", "1 Gbit/s"]]).unwrap();
    let noon = "2026-01-14T12:00:00Z".parse().unwrap();
    assert_eq!(config.wan.schedule.at(noon).entry.unwrap().to_string(), "mon-fri 08:00-18:00");
    assert_eq!(config.wan.highest_rate(), None, "there is no limit at other times");
    let text =
        format!("{EXAMPLE}[[wan.schedule]]\ndays = \"mon\"\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"1 Gbit/s\"\n");
    let config = read(&text.replace("[wan]", "[wan]\nrate = \"2 Mbit/s\"")).unwrap();
    assert_eq!(config.wan.highest_rate(), Some(Rate::from_bits_per_second(1_000_000_000)));
}

#[test]
fn a_wrong_or_overlapping_schedule_entry_is_refused() {
    let office = ["mon-fri", "08:00", "18:00", "100 Mbit/s"];
    for (entries, sentence) in [
        (
            &[["monday", "08:00", "18:00", "1 Mbit/s"]][..],
            "`wan.schedule.days`: \"monday\" names no days; write \"mon-fri\"",
        ),
        (&[["mon", "8:00", "18:00", "1 Mbit/s"]], "`wan.schedule.from`: \"8:00\" is no time of day; write \"00:00\""),
        (&[["mon", "08:00", "08:00", "1 Mbit/s"]], "`wan.schedule.to` is when the entry begins; a whole day is from"),
        (&[["mon", "08:00", "18:00", "1 kbit/s"]], "`wan.schedule.rate` is \"1 kbit/s\", below the minimum of"),
        (
            &[office, ["fri", "17:00", "20:00", "1 Mbit/s"]],
            "the 1st and the 2nd [[wan.schedule]] both hold on fri 17:00; let one end where the other begins",
        ),
    ] {
        let problem = scheduled(entries).unwrap_err();
        assert!(problem.contains(sentence) && problem.starts_with("sender.toml:"), "{problem}");
    }
    let problem = with("[wan]", "time_zone = \"Europe/Berln\"").unwrap_err();
    assert!(
        problem.contains("`wan.time_zone`: \"Europe/Berln\" is no time zone; write it as in the IANA"),
        "{problem}"
    );
    let problem = read(&format!("{EXAMPLE}[[wan.schedule]]\nday = \"mon\"\n")).unwrap_err();
    assert!(problem.contains("unknown key `day`; did you mean `days`?"), "{problem}");
    let many = vec![["mon", "08:00", "08:01", "1 Mbit/s"]; 65];
    assert!(scheduled(&many).unwrap_err().contains("65 [[wan.schedule]], above the maximum of 64; join some"));
}
