//! `causeway completions` and `causeway man`: what a package installs with the program, made from the same words as
//! `--help`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::args::Args;
use crate::exit::Failure;

const PROGRAM: &str = "causeway";

/// Prints the script by which a shell completes the command line.
pub(crate) fn print_completions(shell: Shell) {
    write_completions(shell, &mut io::stdout().lock());
}

fn write_completions(shell: Shell, out: &mut dyn io::Write) {
    generate(shell, &mut Args::command(), PROGRAM, out);
}

/// Writes a manual page for the program and for each of its commands to `directory`, and prints how many.
pub(crate) fn write_pages(directory: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("{}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Args::command();
    // The names of pages are those of whole command lines.
    command.build();
    let pages = pages(&command, PROGRAM);
    for (name, page) in &pages {
        fs::write(directory.join(format!("{name}.1")), page).map_err(failed)?;
    }
    println!("{} pages in {}; try: man {}", pages.len(), directory.display(), directory.join("causeway.1").display());
    Ok(())
}

/// Pages of a command and of the commands below it, by name.
fn pages(command: &Command, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut page = Vec::new();
    let named = command.clone().display_name(name.to_owned());
    // A `Vec` takes every byte.
    let _ = clap_mangen::Man::new(named).render(&mut page);
    let below = command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set());
    let below = below.flat_map(|below| pages(below, &format!("{name}-{}", below.get_name())));
    [(name.to_owned(), page)].into_iter().chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_completes_commands_and_options() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("causeway.bash");
        write_completions(Shell::Bash, &mut fs::File::create(&script).unwrap());
        let completed = |words: &str, at: usize| {
            let program = format!(
                "source {}; COMP_WORDS=({words}); COMP_CWORD={at}; _causeway causeway \"${{COMP_WORDS[{at}]}}\" causeway; \
                 echo ${{COMPREPLY[@]}}",
                script.display()
            );
            let output = std::process::Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
            assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(completed("causeway switch", 1), "switch-over\n");
        assert_eq!(completed("causeway switch-over --qu", 2), "--quiet\n");
        assert_eq!(completed("causeway pki is", 2), "issue\n");
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let mut script = Vec::new();
            write_completions(shell, &mut script);
            assert!(String::from_utf8(script).unwrap().contains("switch-over"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_help() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("man1");
        write_pages(&target).unwrap();
        let read = |name: &str| fs::read_to_string(target.join(format!("{name}.1"))).unwrap();
        for command in Args::command().get_subcommands() {
            let page = read(&format!("causeway-{}", command.get_name()));
            let option = command.get_opts().find_map(clap::Arg::get_long);
            let option = option.map(|name| name.replace('-', "\\-")).unwrap_or_default();
            assert!(page.contains(".SH SYNOPSIS") && page.contains(&option), "{}: {page}", command.get_name());
        }
        assert!(read("causeway-check").contains("Exit codes: 0 every check passed"), "the last part of the help");
        assert!(read("causeway-pki-init").contains("certificate"), "commands below others");
        assert!(read("causeway").contains("exactly once"));
    }
}
