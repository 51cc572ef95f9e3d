//! `causeway top`: what the page shows, on a terminal, asked every second. This part reads keys, signals and answers;
//! `state` keeps what was said, and `view` draws it.

mod ask;
mod sheet;
mod state;
mod view;

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Size;
use ratatui::widgets::Widget;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::ask::{Ports, Said};
use self::state::{Scroll, State};
use crate::args;
use crate::exit::Failure;

const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a key before the next look at signals and answers.
const LOOK: Duration = Duration::from_millis(100);
/// Time to leave after a signal.
const LEFT_WITHIN: Duration = Duration::from_millis(500);
/// Columns of the one screen of `--once`, where no terminal says how many there are.
const COLUMNS: u16 = 100;

pub(crate) fn run(arguments: &args::Top) -> Result<(), Failure> {
    let ports = Ports::of(arguments)?;
    if arguments.once {
        return print_once(ports);
    }
    if !std::io::stdout().is_terminal() {
        let words = "standard output is no terminal; `causeway top --once` prints one screen as text";
        return Err(Failure::Config(words.to_owned()));
    }
    let is_left = Arc::new(AtomicBool::new(false));
    leave_on_signals(Arc::clone(&is_left))?;
    let state = State::new(ports.name());
    let answers = ask_every_second(ports)?;
    // It sets a hook by which a panic restores the terminal, too.
    let mut terminal = ratatui::try_init().map_err(Failure::failed)?;
    let shown = show(&mut terminal, state, &answers, &is_left);
    ratatui::restore();
    shown.map_err(Failure::failed)
}

fn print_once(mut ports: Ports) -> Result<(), Failure> {
    let mut state = State::new(ports.name());
    let said = ports.ask();
    if let Said::Nothing { reason, .. } = said {
        return Err(Failure::Failed(reason));
    }
    state.handle(said, Duration::ZERO, Timestamp::now());
    let width = match std::io::stdout().is_terminal() {
        true => ratatui::crossterm::terminal::size().map_or(COLUMNS, |(width, _)| width),
        false => COLUMNS,
    };
    std::io::stdout().write_all(view::text(&state, width).as_bytes()).map_err(Failure::failed)
}

/// Shows the answers until a key or a signal says to leave.
fn show(
    terminal: &mut DefaultTerminal,
    mut state: State,
    answers: &Receiver<Said>,
    is_left: &AtomicBool,
) -> std::io::Result<()> {
    let started = Instant::now();
    let mut is_new = true;
    while !is_left.load(Ordering::Relaxed) {
        match answers.try_recv() {
            Ok(said) => {
                state.handle(said, started.elapsed(), Timestamp::now());
                is_new = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(std::io::Error::other("the thread that asks has ended")),
        }
        if std::mem::take(&mut is_new) {
            terminal.draw(|frame| (&state).render(frame.area(), frame.buffer_mut()))?;
        }
        match next_event() {
            Ok(Some(Event::Key(key))) if leaves(key) => return Ok(()),
            Ok(Some(Event::Key(key))) => {
                if let Some(scroll) = scroll(key) {
                    view::scroll(&mut state, scroll, terminal.size()?);
                }
                is_new = true;
            }
            Ok(Some(Event::Resize(width, height))) => {
                view::scroll(&mut state, Scroll::Lines(0), Size { width, height });
                is_new = true;
            }
            Ok(_) => {}
            // A signal interrupts the wait.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Leaves on a signal. The reading of keys never ends on a terminal that is gone, and then this ends the process.
fn leave_on_signals(is_left: Arc<AtomicBool>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(Failure::failed)?;
    let leave = move || {
        if signals.forever().next().is_some() {
            is_left.store(true, Ordering::Relaxed);
            std::thread::sleep(LEFT_WITHIN);
            ratatui::restore();
            kafka::leave(0);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(leave).map_err(Failure::failed)?;
    Ok(())
}

fn next_event() -> std::io::Result<Option<Event>> {
    if event::poll(LOOK)? { event::read().map(Some) } else { Ok(None) }
}

fn leaves(key: KeyEvent) -> bool {
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn scroll(key: KeyEvent) -> Option<Scroll> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => Some(Scroll::Lines(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Scroll::Lines(1)),
        KeyCode::PageUp => Some(Scroll::Pages(-1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Scroll::Pages(1)),
        KeyCode::Home => Some(Scroll::Top),
        KeyCode::End => Some(Scroll::Bottom),
        _ => None,
    }
}

/// Asks on a thread of its own, so that keys are obeyed while a process does not answer.
fn ask_every_second(mut ports: Ports) -> Result<Receiver<Said>, Failure> {
    let (said, answers) = sync_channel(1);
    let asks = move || {
        while said.send(ports.ask()).is_ok() {
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("asks".to_owned()).spawn(asks).map_err(Failure::failed)?;
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_leave_and_scroll() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!([KeyCode::Char('q'), KeyCode::Esc].map(key).into_iter().all(leaves));
        assert!(leaves(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!leaves(key(KeyCode::Char('c'))) && !leaves(key(KeyCode::Down)));
        assert_eq!(scroll(key(KeyCode::PageDown)), Some(Scroll::Pages(1)));
        assert_eq!(scroll(key(KeyCode::Up)), Some(Scroll::Lines(-1)));
        assert_eq!(scroll(key(KeyCode::Tab)), None);
    }
}
