//! `causeway import-mm2`: the files of a link from those of MirrorMaker 2, and how to change over without carrying a
//! record twice.

mod client;
mod files;
mod mirror;
mod offsets;
mod properties;
mod strimzi;
mod unlike;

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kafka::properties::forbidden;
use service::config::parse;

use crate::args;
use crate::exit::Failure;
use crate::status::lifts::quoted;
use files::{Imported, Output, SENDER};
use mirror::Mirror;

/// Script with the command for each partition.
const RESUME: &str = "resume.sh";

pub(crate) fn run(arguments: &args::ImportMm2) -> Result<(), Failure> {
    let file = &arguments.file;
    let refused = |reason: String| Failure::Config(format!("{}: {reason}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    let mirror = read(&text).map_err(refused)?;
    let flow = mirror.flow(arguments.flow.as_deref()).map_err(refused)?;
    let from = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let imported = Imported::new(&mirror, flow, &from, arguments.link.as_deref()).map_err(refused)?;
    if let Some(offsets) = &arguments.offsets {
        let script = script(&imported, offsets)?;
        write(&arguments.directory, &[script])?;
        println!("wrote {}", arguments.directory.join(RESUME).display());
        return Ok(());
    }
    // What is written can be used.
    config(&imported)?;
    write(&arguments.directory, &imported.outputs)?;
    print!("{}", recipe(&imported, arguments));
    Ok(())
}

/// Reads a file of either kind.
fn read(text: &str) -> Result<Mirror, String> {
    let is_yaml = text.lines().any(|line| line.starts_with("kind:"));
    if is_yaml { strimzi::parse(text) } else { Mirror::of_properties(properties::parse(text)?) }
}

/// Writes new files. None of them may exist: what an operator changed is never overwritten.
fn write(directory: &Path, outputs: &[Output]) -> Result<(), Failure> {
    let failed = |path: &Path, error: &dyn Display| Failure::Failed(format!("{}: {error}", path.display()));
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    if let Some(path) = outputs.iter().map(|output| directory.join(&output.name)).find(|path| path.exists()) {
        return Err(failed(&path, &"it exists; remove it, or name another directory"));
    }
    for Output { name, text, is_secret } in outputs {
        let path = directory.join(name);
        let mode = if *is_secret { 0o600 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// The commands by which each partition begins behind the last record that MirrorMaker 2 copied.
fn script(imported: &Imported, offsets: &Path) -> Result<Output, Failure> {
    let refused = |reason: String| Failure::Config(format!("{}: {reason}", offsets.display()));
    let read = || match offsets.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
        false => fs::read_to_string(offsets),
    };
    let text: String = read().map_err(|error: io::Error| refused(error.to_string()))?;
    let next = offsets::parse(&text, &imported.source).map_err(refused)?;
    if next.is_empty() {
        return Err(refused(format!(
            "it has no offset of cluster {}; is it topic {}?",
            imported.source, imported.offsets_topic
        )));
    }
    let sender = config(imported)?;
    let filter = sender.source.filter();
    let mut script = format!(
        "#!/bin/sh\n# Link {}: each partition continues behind the last record that MirrorMaker 2 copied.\n\
         # Run it once, while these partitions are halted as target-not-empty. One that is not is refused.\n\
         cd \"$(dirname \"$0\")\" || exit 1\nfailed=0\n",
        imported.link
    );
    for (at, offset) in next {
        let is_carried = filter.matches(&at.topic);
        let at = quoted(&format!("{}/{}", at.topic, at.partition));
        if !is_carried {
            script.push_str(&format!("# {at}, at {offset}, is not carried by the link\n"));
            continue;
        }
        script.push_str(&format!("causeway resume {at} --from {offset} --config sender.toml || failed=1\n"));
    }
    script.push_str("exit $failed\n");
    Ok(Output { name: RESUME.to_owned(), text: script, is_secret: false })
}

/// The translated file of the sender.
fn config(imported: &Imported) -> Result<sender::config::Config, Failure> {
    let sender = imported.outputs.iter().find(|output| output.name == SENDER);
    let text = sender.map(|output| output.text.as_str()).unwrap_or_default();
    Ok(parse(text, SENDER, forbidden)?)
}

/// What to do, for people.
fn recipe(imported: &Imported, arguments: &args::ImportMm2) -> String {
    let directory = arguments.directory.display();
    let file = quoted(&arguments.file.display().to_string());
    let flow = arguments.flow.as_ref().map(|flow| format!(" --flow {}", quoted(flow))).unwrap_or_default();
    let named = arguments.link.as_ref().map(|link| format!(" --link {link}")).unwrap_or_default();
    let mut page: String = imported
        .outputs
        .iter()
        .map(|output| format!("wrote {}\n", arguments.directory.join(&output.name).display()))
        .collect();
    page.push_str("\nBy hand:\n");
    imported.by_hand.iter().for_each(|words| page.push_str(&format!("  - {words}\n")));
    let crash = match imported.is_exactly_once {
        true => "",
        false => {
            "\n     If it was killed, or did not end by itself, the target may have a minute of records behind these\n     \
             offsets: compare the last records of each partition on both sides, and correct its line in resume.sh."
        }
    };
    let Imported { target, offsets_topic, .. } = imported;
    page.push_str(&format!(
        "\nThe change-over, which carries nothing twice:
  1. `causeway check` of both files, until every check passes.
  2. Stop every MirrorMaker 2 of this flow with SIGTERM, and wait until it has ended.
  3. Read how far it has copied:
     kafka-console-consumer.sh --bootstrap-server {target} --topic {offsets_topic} \\
       --from-beginning --timeout-ms 10000 --property print.key=true > mm2-offsets.txt
     causeway import-mm2 {file} {directory}{flow}{named} --offsets mm2-offsets.txt{crash}
  4. `causeway receive` and `causeway send`. What MirrorMaker 2 wrote halts as target-not-empty: nothing is
     written there. Partitions whose target is empty begin at their start.
  5. sh {directory}/{RESUME}, at the sender; every partition in it resumes.
  6. `causeway status`: a partition that is still halted has no offset in Kafka Connect; see
     docs/migrate-mm2.md.
"
    ));
    page
}
