//! What every command says and exits with where something is wrong.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

mod process;

use std::net::TcpListener;

use process::{Place, causeway, closed, on};

#[test]
fn a_file_that_cannot_be_used_exits_2_and_every_problem_is_named() {
    let place = Place::new();
    let wrong = place.write("wrong.toml", "link = \"a\"\nmemroy = \"1 GiB\"\n[wan]\nrate = \"500\"\n[source]\n");
    let files = [
        (place.path().join("missing.toml"), "missing.toml"),
        (place.path().to_owned(), "cannot be read: Is a directory"),
        (wrong, "`500` has no unit"),
    ];
    for (file, expected) in files {
        for command in ["send", "check"] {
            let (code, said, error) = on(command, &file);
            assert_eq!((code, said.as_str()), (2, ""), "{command}: {error}");
            assert!(error.starts_with("causeway: ") && error.contains(expected), "{command}: {error}");
        }
    }
    let (_, _, error) = on("send", &place.path().join("wrong.toml"));
    assert!(error.contains("wrong.toml:2:1: unknown key `memroy`; did you mean `memory`?"), "{error}");
    assert!(error.contains("`source.topics` is missing"), "{error}");
}

#[test]
fn a_file_of_the_other_side_names_the_command_it_is_for() {
    let place = Place::new();
    let (sender, receiver) = (place.sender(closed(), closed(), closed()), place.receiver(closed(), closed()));
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
fn what_only_the_start_shows_to_be_wrong_exits_2_too() {
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
fn nobody_to_ask_exits_1_and_says_what_to_look_at() {
    let nobody = closed().to_string();
    let output = causeway(&["status", &nobody]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("nobody answers; is a sender or receiver running"), "{error}");
    assert!(error.contains(&format!("{nobody}: Connection refused")), "{error}");
}

#[test]
fn an_example_is_a_file_to_start_from() {
    let place = Place::new();
    for (side, file) in [("sender", "a sender of link fra-to-sin"), ("receiver", "a receiver")] {
        let printed = causeway(&["example", side]);
        assert_eq!(printed.status.code(), Some(0));
        let path = place.write("example.toml", &String::from_utf8(printed.stdout).unwrap());
        // It names certificates where this place has its own, and brokers that do not exist.
        let (code, said, error) = on("check", &path);
        assert_eq!(code, 1, "{error}");
        assert!(said.contains(file) && said.contains("FAILED"), "{said}");
    }
}
