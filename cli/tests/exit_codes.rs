//! Messages and exit codes of every command for errors.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::net::TcpListener;

use process::{Place, causeway, closed, on};

#[test]
fn an_unusable_file_exits_2_and_names_every_problem() {
    let place = Place::new();
    let wrong = place.write("wrong.toml", "link = \"a\"\nmemroy = \"1 GiB\"\n[wan]\nrate = \"500\"\n[source]\n");
    let files = [
        (place.path().join("missing.toml"), "missing.toml: cannot be read: No such file"),
        (place.path().to_owned(), "cannot be read: Is a directory"),
        (wrong, "`500` has no unit"),
    ];
    for (file, expected) in files {
        let (code, said, sentence) = on("send", &file);
        assert_eq!((code, said.as_str()), (2, ""), "{sentence}");
        assert!(sentence.starts_with("causeway: ") && sentence.contains(expected), "{sentence}");
        assert_eq!(on("check", &file), (2, String::new(), sentence.clone()));
        if !expected.contains("no unit") {
            let asked = causeway(&["status", "--config", file.to_str().unwrap()]);
            assert_eq!(asked.status.code(), Some(2));
            assert_eq!(String::from_utf8(asked.stderr).unwrap(), sentence, "every command says the same");
        }
    }
    let (_, _, error) = on("send", &place.path().join("wrong.toml"));
    assert!(error.contains("wrong.toml:2:1: unknown key `memroy`; did you mean `memory`?"), "{error}");
    assert!(error.contains("`source.topics` is missing"), "{error}");
}

#[test]
fn a_file_of_the_other_side_names_the_command_it_is_for() {
    let place = Place::new();
    let sender = place.sender(closed(), closed(), closed());
    let receiver = place.receiver(closed(), closed());
    let (code, _, error) = on("send", &receiver);
    assert!(code == 2 && error.contains("is the configuration of a receiver; run `causeway receive "), "{error}");
    let (code, _, error) = on("receive", &sender);
    assert!(code == 2 && error.contains("is the configuration of a sender; run `causeway send "), "{error}");
    let neither = place.write("neither.toml", "[tls]\n");
    let (code, _, error) = on("check", &neither);
    assert!(code == 2 && error.contains("is neither a sender's nor a receiver's"), "{error}");
}

#[test]
fn a_taken_admin_port_exits_1_before_any_work() {
    let place = Place::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for (command, file) in
        [("send", place.sender(closed(), closed(), taken)), ("receive", place.receiver(closed(), taken))]
    {
        let (code, _, error) = on(command, &file);
        assert_eq!(code, 1, "{error}");
        let expected = format!("causeway: admin port {taken} cannot be used: Address already in use");
        assert!(error.contains(&expected) && error.contains("set another `listen` in [admin]"), "{error}");
        assert_eq!(error.lines().count(), 1, "no work had begun: {error}");
    }
}

#[test]
fn errors_found_only_at_start_exit_2_too() {
    let place = Place::new();
    let file = place.sender(closed(), closed(), closed());
    let with = |more: &str| format!("{}\n{more}", std::fs::read_to_string(&file).unwrap());
    let unknown = place.write("unknown.toml", &with("[source.client]\n\"no.such.property\" = 1\n"));
    let (code, _, error) = on("send", &unknown);
    assert!(code == 2 && error.contains("no.such.property"), "{error}");
    place.pki("other");
    std::fs::copy(place.path().join("other/sender.key"), place.path().join("pki/sender.key")).unwrap();
    let (code, _, error) = on("send", &file);
    assert!(code == 2 && error.contains("causeway: tls: "), "{error}");
}

#[test]
fn a_wrong_command_line_exits_2_and_help_teaches_the_codes() {
    assert_eq!(causeway(&["sned"]).status.code(), Some(2));
    assert_eq!(causeway(&["status", "a:1", "--admin", "b:1"]).status.code(), Some(2));
    let help = causeway(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    for taught in ["──▶ target Kafka", "causeway pki init", "Exit codes:", "3  halted", "within 10 s of SIGTERM"]
    {
        assert!(text.contains(taught), "{taught}: {text}");
    }
    for command in ["send", "receive", "check", "status"] {
        let text = String::from_utf8(causeway(&[command, "--help"]).stdout).unwrap();
        assert!(text.contains("Example") && text.contains(&format!("causeway {command} ")), "{text}");
    }
}

#[test]
fn a_closed_reader_ends_a_command_quietly() {
    let place = Place::new();
    let file = place.sender(closed(), closed(), closed());
    let file = file.to_str().unwrap();
    for arguments in [&["example", "sender"][..], &["check", file], &["netem", "profiles"]] {
        // A pipe that nothing reads, as behind `| head` once it has its lines.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let command =
            std::process::Command::new(env!("CARGO_BIN_EXE_causeway")).args(arguments).stdout(writer).output().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&command.status);
        let said = String::from_utf8(command.stderr).unwrap();
        assert_eq!((signal, said.as_str()), (Some(13), ""), "{arguments:?}");
    }
}

#[test]
fn no_response_exits_1_and_says_what_to_check() {
    let silent = closed().to_string();
    let output = causeway(&["status", &silent]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("no response; is Causeway running, and does this match `listen` in its [admin]?"),
        "{error}"
    );
    assert!(error.contains(&format!("{silent}: Connection refused")), "{error}");
}

#[test]
fn an_example_is_a_file_to_start_from() {
    let place = Place::new();
    for (side, file) in [("sender", "a sender of link fra-to-sin"), ("receiver", "a receiver")] {
        let printed = causeway(&["example", side]);
        assert_eq!(printed.status.code(), Some(0));
        let path = place.write("example.toml", &String::from_utf8(printed.stdout).unwrap());
        // The example names other certificates than this place has, and brokers that do not exist.
        let (code, said, error) = on("check", &path);
        assert_eq!(code, 1, "{error}");
        assert!(said.contains(file) && said.contains("FAILED"), "{said}");
    }
}

/// A port for tests on every address of this machine, and the file of its token.
fn exposed(place: &Place) -> (std::path::PathBuf, std::net::SocketAddr) {
    let admin = closed();
    let token = place.write("token", "a token for this test only\n");
    std::fs::set_permissions(token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = std::fs::read_to_string(place.sender(closed(), closed(), admin)).unwrap();
    let listen = format!("listen = \"0.0.0.0:{}\"", admin.port());
    let text = text.replace(&format!("listen = \"{admin}\""), &format!("{listen}\ntoken = \"token\""));
    (place.write("exposed.toml", &text), admin)
}

#[test]
fn an_exposed_admin_port_requires_tls_and_its_token() {
    let place = Place::new();
    let (file, admin) = exposed(&place);
    let bare = place.write("bare.toml", &std::fs::read_to_string(&file).unwrap().replace("token = \"token\"", ""));
    let (code, _, error) = on("send", &bare);
    assert!(code == 2 && error.contains("which other machines may reach, and there is no `admin.token`"), "{error}");

    let running = process::Running::start("send", &file);
    let at = format!("localhost:{}", admin.port());
    let [ca, token] = ["pki/ca.pem", "token"].map(|name| place.path().join(name).display().to_string());
    let status = |arguments: &[&str]| {
        let output = causeway(&[&["status", at.as_str()], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let (code, said) = loop {
        let (code, said) = status(&["--ca", &ca, "--token", &token]);
        if code == 0 || std::time::Instant::now() > until {
            break (code, said);
        }
    };
    assert!(code == 0 && said.starts_with("sender"), "{said}");
    let output = causeway(&["status", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.starts_with("sender") && said.contains(&format!(" at {admin}, ")), "address, CA and token: {said}");
    let url = format!("https://{at}");
    let output = causeway(&["status", &url, "--ca", &ca, "--token", &token]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, said) = status(&["--ca", &ca]);
    assert!(
        code == 1 && said.contains("requires the token of its `admin.token`: pass its file with --token"),
        "{said}"
    );
    let (code, said) = status(&["--token", &token]);
    assert!(code == 1 && said.contains("no response"), "plain HTTP: {said}");
    place.pki("stranger");
    let stranger = place.path().join("stranger/ca.pem").display().to_string();
    let (code, said) = status(&["--ca", &stranger, "--token", &token]);
    assert!(code == 1 && said.contains("certificate"), "{said}");
    drop(running);
}

#[test]
fn every_fault_of_a_file_has_one_sentence_with_its_place() {
    let place = Place::new();
    let good = std::fs::read_to_string(place.sender(closed(), closed(), closed())).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let client = |line: &str| format!("{good}[source.client]\n{line}\n");
    let cases = [
        ("malformed", with("link = \"a-to-b\"", "link = \"a-to-b"), "faulty.toml:1:"),
        ("missing", with("topics = [\"orders\"]", ""), "`source.topics` is missing; it takes"),
        ("unknown", with("topics", "topcs"), "unknown key `topcs`; did you mean `topics`?"),
        ("of another type", with("[\"orders\"]", "7"), "`source.topics` is of type integer; it takes"),
        ("without a unit", with("500 Mbit/s", "500"), "`wan.rate`: "),
        ("out of bounds", format!("memory = \"1 MiB\"\n{good}"), "`memory` is \"1 MiB\", below the minimum of"),
        (
            "contradictory: topics",
            with("topics = [\"orders\"]", "topics = [\"orders\"]\nexclude = [\"orders\"]"),
            "`source.exclude` takes back \"orders\" from `source.topics`; remove one",
        ),
        (
            "contradictory: lanes and memory",
            format!("memory = \"64 MiB\"\n{good}[lanes]\ncount = 64\n"),
            "too little for 64 lanes of 4 MiB each; raise it to 256 MiB or lower `lanes.count`",
        ),
        ("not a pattern", with("\"orders\"", "\"a(\""), "is no regular expression"),
        ("a file that is not there", with("pki/ca.pem", "pki/no.pem"), "no.pem cannot be used: No such file"),
        (
            "breaks the promise",
            client("acks = 1"),
            "`acks` in [source.client] is refused: a link waits for all replicas",
        ),
        ("a secret in it", client("\"sasl.password\" = \"hunter2\""), "is a secret; write it as { file ="),
    ];
    for (what, text, sentence) in cases {
        let (code, said, error) = on("send", &place.write("faulty.toml", &text));
        assert_eq!((code, said.as_str()), (2, ""), "{what}: {error}");
        assert!(error.contains(sentence), "{what}: {error}");
        assert!(!error.contains("hunter2"), "{what}: {error}");
        let place = error.lines().nth(1).unwrap_or_default();
        assert!(place.contains("faulty.toml:"), "{what} has its place: {error}");
    }
}
