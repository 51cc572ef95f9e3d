//! `causeway top` on a real terminal, with real processes that have no Kafka.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use process::{Place, Running, causeway, closed};

/// Fewer than a sender has to show.
const ROWS: usize = 24;
const COLUMNS: usize = 110;

/// A terminal with `causeway top`, made by script(1), in a shell that says how it ended and what the terminal is then.
struct Terminal {
    script: Child,
    output: Arc<Mutex<String>>,
}

impl Terminal {
    fn showing(admin: SocketAddr) -> Self {
        let top = env!("CARGO_BIN_EXE_causeway");
        let words = format!(
            "stty rows {ROWS} cols {COLUMNS}; sh -c 'echo pid $$ here; exec {top} top {admin}'; echo ended $? here; stty -a"
        );
        let mut script = Command::new("script");
        script.args(["-qfc", &words, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let mut from = script.stdout.take().unwrap();
        let to = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..read]);
                *to.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self { script, output }
    }

    fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = screen(&self.output());
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < until, "not {what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn press(&mut self, key: &str) {
        self.script.stdin.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
    }

    /// Process id of `causeway top`.
    fn pid(&self) -> String {
        self.output().split("pid ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Waits for the end of `causeway top`, after which the terminal must be as before.
    fn assert_restored(&self) {
        // What the shell prints behind the end scrolls the screen.
        let is_over = || self.output().split_once("ended 0 here").is_some_and(|(_, after)| after.contains("extproc"));
        self.wait_for("ended with 0", |_| is_over());
        let output = self.output();
        assert!(output.contains(" icanon ") && output.contains(" echo "), "the terminal reads lines: {output}");
        assert!(output.rfind("\x1b[?1049l") > output.rfind("\x1b[?1049h"), "the alternate screen is left");
        assert!(output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l"), "the cursor is shown");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// What a terminal shows after this output. It obeys what `causeway top` uses: the cursor's place, and to clear all.
fn screen(output: &str) -> String {
    let mut cells = vec![vec![' '; COLUMNS]; ROWS];
    let mut row = 0;
    let mut column = 0;
    let mut letters = output.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if letters.next_if_eq(&'[').is_some() => {
                let mut parameters = String::new();
                while let Some(letter) = letters.next_if(|letter| !letter.is_ascii_alphabetic()) {
                    parameters.push(letter);
                }
                let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1));
                match letters.next() {
                    Some('H') => {
                        (row, column) = (numbers.next().unwrap_or(1) - 1, numbers.next().unwrap_or(1) - 1);
                    }
                    Some('J') => cells.iter_mut().for_each(|row| row.fill(' ')),
                    _ => {}
                }
            }
            '\n' => row += 1,
            '\r' => column = 0,
            letter if !letter.is_control() => {
                if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = letter;
                }
                column += 1;
            }
            _ => {}
        }
        row = row.min(ROWS - 1);
    }
    cells.into_iter().map(|row| row.into_iter().collect::<String>() + "\n").collect()
}

#[test]
fn it_survives_a_restart_and_restores_the_terminal() {
    let place = Place::new();
    let admin = closed();
    let file = place.sender(closed(), closed(), admin);
    let running = Running::start("send", &file).answering(admin);
    let mut top = Terminal::showing(admin);
    let shown = top.wait_for("shown", |screen| screen.contains("a-to-b: sender"));
    assert!(shown.contains("keeping up   unknown: the source was not asked yet"), "{shown}");
    assert!(shown.contains("500 Mbit/s") || shown.contains("no session"), "{shown}");
    drop(running);
    let silent = top.wait_for("silent", |screen| screen.contains("unreachable since"));
    assert!(silent.contains("The answer: unknown") && !silent.contains("a-to-b"), "{silent}");
    let _running = Running::start("send", &file).answering(admin);
    top.wait_for("shown again", |screen| screen.contains("a-to-b: sender") && !screen.contains("unreachable"));
    // Page down, and the last line.
    top.press("\x1b[6~");
    top.wait_for("scrolled", |screen| screen.contains("lines above") && !screen.contains(" 0 lines above"));
    top.press("q");
    top.assert_restored();
}

#[test]
fn a_signal_and_an_interrupt_restore_the_terminal() {
    let mut terminals = [Terminal::showing(closed()), Terminal::showing(closed())];
    for terminal in &terminals {
        terminal.wait_for("shown", |screen| screen.contains("unreachable since"));
    }
    let sent = Command::new("kill").args(["-s", "TERM", &terminals[0].pid()]).status().unwrap();
    assert!(sent.success());
    terminals[1].press("\x03");
    terminals.iter().for_each(Terminal::assert_restored);
}

#[test]
fn it_ends_with_its_terminal() {
    let terminal = Terminal::showing(closed());
    terminal.wait_for("shown", |screen| screen.contains("unreachable since"));
    let place = format!("/proc/{}/stat", terminal.pid());
    // One that has ended, and that no parent has waited for, is a zombie.
    let runs = || std::fs::read_to_string(&place).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(runs());
    drop(terminal);
    let until = Instant::now() + Duration::from_secs(10);
    while runs() {
        assert!(Instant::now() < until, "it still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_pipe_gets_one_screen_as_text() {
    let place = Place::new();
    let admin = closed();
    let file = place.receiver(closed(), admin);
    let _running = Running::start("receive", &file).answering(admin);
    let said = |arguments: &[&str]| {
        let output = causeway(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, shown, _) = said(&["top", "--once", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("The answer: ") && shown.contains("waiting for the target cluster"), "{shown}");
    assert!(!shown.contains('\x1b') && shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    let (code, shown, error) = said(&["top", &admin.to_string()]);
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(error.contains("`causeway top --once` prints one screen as text"), "{error}");
    let (code, shown, error) = said(&["top", "--once", &closed().to_string()]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(error.contains("refused"), "{error}");
}
