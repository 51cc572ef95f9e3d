//! Tests of declared sections: problems with their places, defaults, bounds and the reference.

use std::time::Duration;

use toml::de::DeValue;
use wire::units::Size;

use super::properties::section;
use super::value::choice;
use super::{
    Address, AdoptLive, Document, Problems, Properties, ReadSection, Rejection, Reported, Section, Setting, load_with,
    parse_with, reference,
};

crate::settings! {
    /// The identity of this process.
    #[derive(Debug)]
    pub struct Top: Table "" {
        /// The name of the link.
        link: String = required, "a name";
    }
}

crate::settings! {
    /// The path to the receiver.
    #[derive(Debug)]
    pub struct Wan: Table "wan" {
        /// Time that a record waits for others.
        linger: Duration = default(r#""5 ms""#), "a duration, such as `5 ms`", [r#""0 s""#, r#""1 s""#], live;
        /// Addresses of the receiver.
        receiver: Vec<Address> = required, "addresses, such as `link.example:7443`";
        /// Bytes of memory for records.
        memory: Option<Size> = otherwise("half of it"), "a size, such as `256 MiB`", [r#""64 MiB""#, r#""1 GiB""#];
        /// Number of lanes of the link.
        lanes: u16 = default("8"), "a count", ["1", "64"];
        /// The colour of the link.
        colour: Colour = default(r#""green""#), "a colour";
    }
    parts(table) {
        /// Properties that are passed through.
        client: Properties = table.document().table("wan.client").read_properties();
    }
}

crate::settings! {
    /// The other processes.
    #[derive(Debug)]
    pub struct Peer: Repeated "peers" {
        /// The name of the process.
        name: String = required, "a name";
    }
}

const SECTIONS: &[Section] = &[Top::SECTION, Wan::SECTION, section("wan.client"), Peer::SECTION];

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Colour {
    Green,
    Red,
}

impl Setting for Colour {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("green", Self::Green), ("red", Self::Red)])
    }
}

#[derive(Debug)]
struct Read {
    top: Top,
    wan: Wan,
    peers: Vec<Peer>,
}

fn read(document: &Document<'_>) -> Result<Read, Reported> {
    let top = document.read();
    let wan = document.read();
    let peers = document.read_all();
    Ok(Read { top: top?, wan: wan?, peers: peers? })
}

fn forbidden(property: &str) -> Option<&'static str> {
    (property == "acks").then_some("a link waits for all")
}

fn good(text: &str) -> Read {
    parse_with(text, "link.toml", SECTIONS, forbidden, read).unwrap()
}

fn bad(text: &str) -> String {
    parse_with(text, "link.toml", SECTIONS, forbidden, read).unwrap_err().to_string()
}

/// The problem of one value in an otherwise good file.
fn bad_wan(line: &str) -> String {
    bad(&format!("link = \"a\"\n[wan]\nreceiver = \"h:1\"\n{line}\n"))
}

#[test]
fn a_missing_setting_takes_its_default() {
    let read = good(
        "link = \"a\"\n[wan]\nreceiver = [\"h:1\", \"[::1]:7443\"]\nmemory = \"64 MiB\"\n[[peers]]\nname = \"b\"\n",
    );
    assert_eq!(read.top.link, "a");
    assert_eq!(read.wan.receiver.iter().map(Address::to_string).collect::<Vec<_>>(), ["h:1", "[::1]:7443"]);
    assert_eq!(read.wan.linger, Duration::from_millis(5));
    assert_eq!(read.wan.memory, Some(Size::from_bytes(64 << 20)));
    assert_eq!((read.wan.lanes, read.wan.colour), (8, Colour::Green));
    assert_eq!(read.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(good("link = \"a\"\nwan.receiver = \"h:1\"\nwan.colour = \"red\"").wan.colour, Colour::Red);
}

#[test]
fn every_problem_is_reported_in_the_order_of_the_file() {
    let text = "\
lnk = \"a\"
memory = \"64 MiB\"
[wan]
receiver = [\"h:1\", \"h\", \"h:0\"]
linger = 5
lanes = \"8\"
colour = \"gren\"
[wann]
[[peers]]
nmae = \"b\"
";
    let expected = "\
link.toml:1:1: unknown key `lnk`; did you mean `link`?
link.toml:2:1: unknown key `memory` here; it belongs to [wan]
link.toml:4:20: `wan.receiver`: \"h\" is not an address; write a host and a port, such as \"link.example:7443\" or \"[::1]:7443\"
link.toml:4:25: `wan.receiver`: \"h:0\" is not an address; write a host and a port, such as \"link.example:7443\" or \"[::1]:7443\"
link.toml:5:10: `wan.linger`: 5 has no unit; write it like \"5 ms\"
link.toml:6:9: `wan.lanes` is of type string; it takes a count
link.toml:7:10: `wan.colour`: \"gren\" is not known; did you mean \"green\"?
link.toml:8:2: unknown key `wann`; did you mean `wan`?
link.toml:9:1: `peers.name` is missing; it takes a name
link.toml:10:1: unknown key `nmae`; did you mean `name`?
link.toml:11:1: `link` is missing; it takes a name";
    assert_eq!(bad(text), expected);
}

#[test]
fn a_quantity_without_a_unit_does_not_parse() {
    assert!(bad_wan("linger = 5").ends_with("4:10: `wan.linger`: 5 has no unit; write it like \"5 ms\""));
    assert!(bad_wan("linger = \"5\"").contains("`wan.linger`: `5` has no unit we know"));
    assert!(bad_wan("memory = 1.5").contains("1.5 has no unit"));
}

#[test]
fn a_value_out_of_bounds_is_named_with_its_limit() {
    let above = "link.toml:4:10: `wan.linger` is \"2 s\", above the maximum of \"1 s\"; lower it";
    assert_eq!(bad_wan("linger = \"2 s\""), above);
    assert_eq!(bad_wan("lanes = 0"), "link.toml:4:9: `wan.lanes` is 0, below the minimum of 1; raise it");
    assert!(bad_wan("lanes = -1").contains("`wan.lanes`: -1 is not a count from 0 to 4294967295"));
    assert_eq!(good("link = \"a\"\n[wan]\nreceiver = \"h:1\"\nlanes = 64\nlinger = \"1 s\"").wan.lanes, 64);
}

#[test]
fn a_missing_key_is_reported_at_its_section() {
    let missing = "link.toml:2:2: `wan.receiver` is missing; it takes addresses, such as `link.example:7443`";
    assert_eq!(bad("link = \"a\"\n[wan]\n"), missing);
    assert!(bad("link = \"a\"\n[wan]\nreceiver = []").contains("3:12: `wan.receiver` is empty; it takes addresses"));
}

#[test]
fn invalid_toml_is_reported_with_the_rest() {
    let problems = bad("link = \"a\"\n[wan]\nreceiver = \"h:1\"\nlinger = \nlanes = 65\n");
    assert!(problems.contains("link.toml:4:"), "{problems}");
    assert!(problems.contains("link.toml:5:9: `wan.lanes` is 65, above the maximum of 64"), "{problems}");
    assert!(
        bad_wan("xyz = 1")
            .ends_with("4:1: unknown key `xyz`; [wan] has `linger`, `receiver`, `memory`, `lanes`, `colour`")
    );
    assert!(bad_wan("lanes = 1\nlanes = 2").contains("duplicate key"));
}

#[test]
fn a_section_written_as_something_else_is_refused() {
    let text = "link = \"a\"\npeers = 5\n[wan]\nreceiver = \"h:1\"\n";
    assert_eq!(bad(text), "link.toml:2:1: `peers` is a section; write it as [[peers]]");
    assert!(bad("link = \"a\"\nwan = 5").contains("2:1: `wan` is a section; write it as [wan]"));
}

#[test]
fn columns_count_characters() {
    let text = "link = \"a\"\n[wan]\nreceiver = [\"ü:1\", \"h:0\"]\n";
    assert!(bad(text).contains("link.toml:3:20: "), "{}", bad(text));
}

fn client(line: &str) -> String {
    format!("link = \"a\"\n[wan]\nreceiver = \"h:1\"\n[wan.client]\n{line}\n")
}

#[test]
fn client_properties_pass_through_quoted_or_dotted() {
    let text = client("\"socket.nagle.disable\" = true\nsecurity.protocol = \"SASL_SSL\"\nfetch.wait.max.ms = 100");
    let resolved = good(&text).wan.client.resolve().unwrap();
    let resolved = resolved.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
    let expected = [("fetch.wait.max.ms", "100"), ("security.protocol", "SASL_SSL"), ("socket.nagle.disable", "true")];
    assert_eq!(resolved, expected);
}

#[test]
fn dangerous_client_properties_are_refused() {
    let problems = bad(&client("acks = 1\nsasl.password = \"hunter2\"\ndebug = [\"all\"]"));
    assert!(problems.contains("5:8: `acks` in [wan.client] is refused: a link waits for all"), "{problems}");
    assert!(problems.contains("6:17: `sasl.password` in [wan.client] is a secret; write it as { file ="), "{problems}");
    assert!(problems.contains("7:9: `debug` in [wan.client] is of type array"), "{problems}");
    assert!(!problems.contains("hunter2"));
}

fn load_in(dir: &std::path::Path, text: &str) -> Result<Read, Problems> {
    let path = dir.join("link.toml");
    std::fs::write(&path, text).unwrap();
    load_with(&path, SECTIONS, forbidden, read)
}

#[test]
fn a_secret_is_read_from_its_file_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let text = client("sasl.password = { file = \"password\" }");
    let problems = load_in(dir.path(), &text).unwrap_err().to_string();
    assert!(
        problems.contains("link.toml:5:17: `sasl.password` in [wan.client] cannot be read: secret in "),
        "{problems}"
    );
    let secret = dir.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    #[cfg(unix)]
    {
        let chmod = |mode| std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(mode));
        chmod(0o644).unwrap();
        let problems = load_in(dir.path(), &text).unwrap_err().to_string();
        assert!(problems.contains("others may read or change it (its mode is 644); run `chmod 600 "), "{problems}");
        chmod(0o600).unwrap();
    }
    let config = load_in(dir.path(), &text).unwrap();
    assert_eq!(config.wan.client.resolve().unwrap(), [("sasl.password".to_owned(), "hunter2".to_owned())].into());
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = config.wan.client.iter().map(|(_, property)| property.to_string()).collect::<String>();
    assert!(shown.ends_with("password)") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_unreadable_file_is_a_problem_without_a_place() {
    let problems = load_with(std::path::Path::new("no/such.toml"), SECTIONS, forbidden, read).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems.to_string().starts_with("no/such.toml: cannot be read: "), "{problems}");
}

#[test]
fn the_reference_describes_each_field() {
    let page = reference(SECTIONS);
    let linger = "- **`linger`**: a duration, such as `5 ms`. Default `\"5 ms\"`. From `\"0 s\"` to `\"1 s\"`. *Live.*\n  Time that";
    assert!(page.contains(linger), "{page}");
    assert!(page.contains("### `[[peers]]`\n\nThe other processes.\n\n- **`name`**: a name. Required.\n"), "{page}");
    assert!(page.contains("Default: half of it."), "{page}");
}

#[test]
fn only_live_settings_change_in_a_running_process() {
    let mut running = good("link = \"a\"\n[wan]\nreceiver = \"h:1\"").wan;
    running.adopt_live(good("link = \"a\"\n[wan]\nreceiver = \"h:2\"\nlinger = \"9 ms\"\nlanes = 3").wan);
    assert_eq!((running.linger, running.lanes), (Duration::from_millis(9), 8));
    assert_eq!(running.receiver[0].port, 1);
}
