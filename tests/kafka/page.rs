//! The page of the admin port, in a real browser, with real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::browser::{Browser, Programs};
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::{Process, binary};
use harness::record::small;
use harness::wait::until_ok;
use harness::{halts, topics, verify};

const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds within which the page shows a halt, from when the status does.
const SHOWN_MS: u128 = 2_000;
/// Keys of WebDriver.
const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";
/// Environment variable that makes the test write the pictures of the documents.
const WRITE: &str = "CAUSEWAY_WRITE_DOCS";

fn address(process: &Process) -> String {
    format!("http://{}", process.admin.address())
}

fn wait_for_text(browser: &Browser, words: &str) -> Result<()> {
    let mut last = String::new();
    let found = until_ok(&format!("the page to say {words:?}"), PATIENCE, || {
        last = browser.text()?;
        Ok(last.contains(words).then_some(()))
    });
    found.with_context(|| format!("the last page was {last}"))
}

/// Makes the page note the time when it shows these words, in milliseconds since the epoch.
fn note_when_shown(browser: &Browser, words: &str) -> Result<()> {
    let script = format!(
        "const note = () => {{
             if (!window.shownAt && document.body.innerText.includes({words:?})) window.shownAt = Date.now();
         }};
         const all = {{ subtree: true, childList: true, characterData: true }};
         new MutationObserver(note).observe(document.getElementById('page'), all)"
    );
    browser.run(&script).map(drop)
}

/// Types into the form of the login, once its only field has the focus, and sends it.
fn log_in(browser: &Browser, token: &str) -> Result<()> {
    until_ok("the field of the token to have the focus", PATIENCE, || {
        let script = "return document.readyState === 'complete' && document.activeElement.id === 'token'";
        Ok((browser.run(script)? == true).then_some(()))
    })?;
    browser.press(token)?;
    browser.press(ENTER)
}

/// Writes what the window shows to `docs/images`, if the environment asks.
fn picture(browser: &Browser, name: &str) -> Result<()> {
    // The page below the window is not in the picture.
    browser.run("scrollTo(0, 0)")?;
    let picture = browser.screenshot()?;
    ensure!(picture.starts_with(b"\x89PNG"), "a screenshot is a PNG");
    if std::env::var_os(WRITE).is_some() {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
        fs::create_dir_all(&images)?;
        fs::write(images.join(format!("{name}.png")), picture)?;
    }
    Ok(())
}

/// Ensures that the page loaded from this origin alone, and that the console has no complaint.
fn ensure_clean(browser: &Browser, origin: &str) -> Result<()> {
    let mut requests = Vec::new();
    until_ok("the page to be refreshed", PATIENCE, || {
        requests.extend(browser.requests()?);
        Ok(requests.iter().any(|url| url.ends_with("/page/live")).then_some(()))
    })?;
    let foreign: Vec<_> = requests.iter().filter(|url| !url.starts_with(&format!("{origin}/"))).collect();
    ensure!(foreign.is_empty(), "requests to other origins: {foreign:?}");
    let console = browser.console()?;
    ensure!(console.is_empty(), "the console says {console:?}");
    Ok(())
}

/// Ensures that a narrow window needs no scrolling to the side, and that everything has a name for a screen reader.
fn ensure_usable(browser: &Browser) -> Result<()> {
    browser.look(360, 740, false)?;
    let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth")?;
    ensure!(overflow.as_i64().is_some_and(|pixels| pixels <= 0), "{overflow} pixels too wide in a narrow window");
    let nameless = browser.run(
        "const named = (e) => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.innerText;
         const all = document.querySelectorAll('svg, meter, button, section, [role=region]');
         return [...all].filter((e) => !named(e)).map((e) => e.outerHTML)",
    )?;
    ensure!(nameless == serde_json::json!([]), "without a name: {nameless}");
    browser.look(1100, 900, false)
}

/// Ensures that the page of a link that carries draws its curves, and is green.
fn ensure_healthy(browser: &Browser, sender: &Process) -> Result<()> {
    // Two samples make the first point of a curve; a picture for the documents has a longer one.
    let drawn = if std::env::var_os(WRITE).is_some() { 20 } else { 1 };
    until_ok("the curves to be drawn", PATIENCE * 3, || {
        let script = "return (document.querySelector('#curves path').getAttribute('d').match(/[ML]/g) || []).length";
        Ok(browser.run(script)?.as_u64().is_some_and(|points| points >= drawn).then_some(()))
    })?;
    // The lag is unknown until the source was asked for every partition.
    until_ok("the link to be well", PATIENCE, || {
        let level = browser.run("return document.getElementById('answer').className")?;
        ensure!(level != "wrong", "a link that carries is {level}: {}", browser.text()?);
        Ok((level == "good").then_some(()))
    })?;
    picture(browser, "page-healthy")?;
    ensure_clean(browser, &address(sender))
}

/// Ensures that the page of a receiver shows its link and is refreshed.
fn ensure_receiver(browser: &Browser, receiver: &Process) -> Result<()> {
    browser.open(&address(receiver))?;
    wait_for_text(browser, "1 of 1 links have a sender")?;
    ensure_usable(browser)?;
    let mut seen = 0;
    until_ok("the receiver's page to be refreshed", PATIENCE, || {
        seen += browser.requests()?.len();
        Ok((seen > 5).then_some(()))
    })?;
    ensure!(browser.console()?.is_empty(), "the receiver's page has no complaint");
    Ok(())
}

#[test]
fn a_page_shows_a_halt_and_what_lifts_it() -> Result<()> {
    let Some(programs) = Programs::find()? else { return Ok(()) };
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "orders", 2)?;
    // The source has these topics later; then their partitions halt, because those of the target have a record already.
    let refused = format!("{topic}.refused");
    let another = format!("{topic}.another");
    for topic in [&refused, &another] {
        topics::create(&pair.target, topic, 1, &[])?;
        journal::write(&pair.target, topic, 0, &small(0..1))?;
    }
    let link = topics::unique("fra-to-sin");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&format!("{topic}.*")])?;
    files.sender.set("wan", "rate", "\"100 Mbit/s\"");
    let (receiver, sender) = files.start()?;
    let load = Load::new(&topic, 2).rate(400).start(&pair.source)?;
    sender.admin.wait_for("records to be carried", PATIENCE, |status| status["totals"]["records"] != 0)?;

    let browser = Browser::start(&programs)?;
    browser.look(1100, 900, false)?;
    browser.open(&address(&sender))?;
    wait_for_text(&browser, &link)?;
    ensure_healthy(&browser, &sender)?;

    let heading = format!("{refused}/0 halted, target-not-empty");
    note_when_shown(&browser, &heading)?;
    topics::create(&pair.source, &refused, 1, &[])?;
    halts::wait_for(&sender, &refused, 0, "target-not-empty")?;
    let known = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    wait_for_text(&browser, &heading)?;
    let shown = browser.run("return shownAt")?.as_u64().context("the page did not note the time")?;
    let after = u128::from(shown).saturating_sub(known);
    println!("the page shows the halt {after} ms after the status");
    ensure!(after <= SHOWN_MS, "shown {after} ms after the status");
    for words in ["records that this link did not write", "docs/troubleshoot.md#target-not-empty", "1 partition"] {
        wait_for_text(&browser, words)?;
    }
    let wrong =
        browser.run("return [...document.querySelectorAll('#way li.wrong h3')].map((e) => e.firstChild.data)")?;
    ensure!(wrong == serde_json::json!(["Target "]), "stations in trouble because of the target: {wrong}");
    picture(&browser, "page-halted")?;
    browser.look(1100, 900, true)?;
    let ground = browser.run("return getComputedStyle(document.body).backgroundColor")?;
    ensure!(ground == "rgb(16, 21, 28)", "a page at night is {ground}");
    picture(&browser, "page-night")?;
    ensure_usable(&browser)?;

    ensure_keyboard(&browser)?;
    let focused = "return document.activeElement.parentElement.querySelector('code').textContent";
    let command = browser.run(focused)?;
    topics::create(&pair.source, &another, 1, &[])?;
    wait_for_text(&browser, &format!("{another}/0 halted, target-not-empty"))?;
    let now = browser.run(focused)?;
    ensure!(now == command, "next to another halt, the button in focus has the command {now}, before {command}");
    run_copied(command.as_str().context("no command")?, &refused)?;
    until_ok("the halt to leave the page", PATIENCE, || Ok((!browser.text()?.contains(&heading)).then_some(())))?;
    ensure_clean(&browser, &address(&sender))?;

    let _sender = ensure_restart(&browser, &files, sender)?;
    ensure_receiver(&browser, &receiver)?;
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)
}

/// Runs a command as an operator would who copied it from the page. It names this topic.
fn run_copied(command: &str, topic: &str) -> Result<()> {
    let run = command.replacen("causeway", &binary()?.display().to_string(), 1);
    ensure!(run != command && command.contains(topic), "{command}");
    let output = Command::new("sh").args(["-c", &run]).output()?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Ensures that the page says so while its process is away, and continues with the next one, which is returned.
fn ensure_restart(browser: &Browser, files: &LinkFiles, mut sender: Process) -> Result<Process> {
    sender.kill();
    wait_for_text(browser, "No answer from the process since")?;
    // The browser itself complains of a port where no process listens.
    browser.console()?;
    let before = browser.run("return document.getElementById('as-of').textContent")?;
    drop(sender);
    let sender = files.sender.start()?;
    until_ok("the page to continue", PATIENCE, || {
        let script = "return document.getElementById('stale').hidden && document.getElementById('as-of').textContent";
        let now = browser.run(script)?;
        Ok((now.is_string() && now != before).then_some(()))
    })?;
    sender.admin.wait_until_ready(PATIENCE)?;
    browser.console()?;
    Ok(sender)
}

/// Ensures that the first key leads to the content, and that a refresh leaves the focus where it is.
fn ensure_keyboard(browser: &Browser) -> Result<()> {
    browser.run("document.activeElement.blur()")?;
    browser.press(TAB)?;
    let first = browser.run("return document.activeElement.className")?;
    ensure!(first == "skip", "the first key leads to {first}");
    browser.run("document.querySelector('button[data-copy]').focus()")?;
    let as_of = "return document.getElementById('as-of').textContent";
    let before = browser.run(as_of)?;
    until_ok("a refresh", PATIENCE, || Ok((browser.run(as_of)? != before).then_some(())))?;
    let focus = browser.run("return document.activeElement.textContent")?;
    ensure!(focus == "Copy", "after a refresh the focus is on {focus}");
    Ok(())
}

#[test]
fn a_page_behind_a_token_asks_for_it_once() -> Result<()> {
    let Some(programs) = Programs::find()? else { return Ok(()) };
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "hidden", 1)?;
    let link = topics::unique("guarded");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let token = files.pki().join("admin.token");
    fs::write(&token, "0123456789abcdef-0123456789abcdef")?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    files.sender.set("admin", "token", &format!("\"{}\"", token.display()));
    let mut sender = files.sender.start()?;
    let answers = |sender: &Process| {
        let admin = sender.admin;
        until_ok("the port to answer", PATIENCE, || Ok(admin.get("/live").ok()))
    };
    answers(&sender)?;

    let browser = Browser::start(&programs)?;
    browser.open(&address(&sender))?;
    let login = format!("{}/login", address(&sender));
    ensure!(browser.url()? == login, "without a session the page is {}", browser.url()?);
    log_in(&browser, "not the token")?;
    wait_for_text(&browser, "This is not the token of this port.")?;
    log_in(&browser, "0123456789abcdef-0123456789abcdef")?;
    wait_for_text(&browser, &link)?;
    ensure!(browser.url()? == format!("{}/", address(&sender)), "the page is {}", browser.url()?);
    ensure!(browser.run("return document.cookie")? == "", "no script reads the cookie");
    ensure!(!browser.requests()?.iter().any(|url| url.contains("0123456789abcdef")), "the token is in no URL");
    // The session shows the page, and opens nothing else.
    let refused = browser.run("return fetch('/status').then((answer) => answer.status)")?;
    ensure!(refused == 401, "a session asks for the status: {refused}");

    sender.kill();
    drop(sender);
    let sender = files.sender.start()?;
    answers(&sender)?;
    until_ok("the page to ask again", PATIENCE, || Ok((browser.url()? == login).then_some(())))
}
