//! `cargo xtask package`: a Debian package with the program, its services, manual pages and completions, and the check that
//! the package can be installed and what it installs works.
//!
//! The same commit and program make the same bytes: times are those of the commit, owners are root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::step::{cargo, printed, remove_tree, root, run as run_command};

/// Highest exposure of a service that `systemd-analyze security` may find, in tenths: 2.0 of 10 counts as safe.
const EXPOSURE_MAX: u32 = 20;

/// Where the files of `deploy/systemd` go.
const DEPLOYED: [(&str, &str); 3] = [
    ("causeway-sender@.service", "usr/lib/systemd/system"),
    ("causeway-receiver@.service", "usr/lib/systemd/system"),
    ("60-causeway.conf", "usr/lib/sysctl.d"),
];

/// Where the completions of a shell go.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/causeway"),
    ("zsh", "usr/share/zsh/vendor-completions/_causeway"),
    ("fish", "usr/share/fish/vendor_completions.d/causeway.fish"),
];

/// Other files, by their paths in the project.
const DOCUMENTS: [(&str, &str); 4] = [
    ("README.md", "README.md"),
    ("LICENSE", "copyright"),
    ("deploy/prometheus/causeway.rules.yaml", "prometheus/causeway.rules.yaml"),
    ("deploy/grafana/causeway.json", "grafana/causeway.json"),
];

/// How the package is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// As small as it gets.
    Most,
    /// As fast as it gets: for the check.
    Least,
}

/// Options of `cargo xtask package`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Program to pack; built for release if there is none.
    program: Option<PathBuf>,
    /// Directory of the package.
    out: Option<PathBuf>,
    /// Check a package of the program in place of keeping one.
    checks: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let value = match argument {
                "--check" => {
                    options.checks = true;
                    continue;
                }
                "--program" => &mut options.program,
                "--out" => &mut options.out,
                other => bail!("unknown option {other}; see cargo xtask --help"),
            };
            *value = Some(arguments.next().with_context(|| format!("{argument} requires a path"))?.into());
        }
        Ok(options)
    }
}

/// Makes the package, and prints where it is. `built` is the directory of cargo's builds.
pub(crate) fn run(options: Options, built: &Path) -> Result<()> {
    if let Some(obstacle) = obstacle() {
        bail!("{obstacle}");
    }
    let program = match options.program {
        Some(program) => program,
        None => {
            run_command(&mut cargo(&["build", "--release", "--locked", "--bin", "causeway"]))?;
            built.join("release/causeway")
        }
    };
    if options.checks {
        return check(&program, built);
    }
    let out = options.out.unwrap_or_else(|| built.join("package"));
    let package = make(&program, &out, Effort::Most)?;
    let sum = printed(Command::new("sha256sum").arg(package.file_name().context("a name")?).current_dir(&out))?;
    fs::write(package.with_extension("deb.sha256"), &sum)?;
    print!("{}\n{sum}", package.display());
    Ok(())
}

/// Reason why this machine cannot make a package; `None` if it can.
pub(crate) fn obstacle() -> Option<String> {
    let missing: Vec<_> = ["dpkg-deb", "strip", "gzip", "git"].into_iter().filter(|tool| is_missing(tool)).collect();
    (!missing.is_empty()).then(|| format!("not found: {}", missing.join(", ")))
}

fn is_missing(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_err()
}

/// Makes a package of this program twice, installs it below a directory, and uses what is there.
pub(crate) fn check(program: &Path, built: &Path) -> Result<()> {
    let work = built.join("package-check");
    clear(&work)?;
    let [first, second] = [0, 1].map(|number| make(program, &work.join(format!("out-{number}")), Effort::Least));
    let first = first?;
    ensure!(fs::read(&first)? == fs::read(second?)?, "two packages of one program differ");
    let installed = work.join("root");
    install(&first, &installed)?;
    let program = installed.join("usr/bin/causeway");
    let version = printed(Command::new(&program).arg("--version"))?;
    ensure!(
        version.trim() == format!("causeway {}", env!("CARGO_PKG_VERSION")),
        "the installed program says {version}"
    );
    // As an operator begins: an example, which is to be edited.
    for role in ["sender", "receiver"] {
        let example = installed.join(format!("usr/share/doc/causeway/examples/{role}.toml"));
        ensure!(fs::read_to_string(&example)?.contains("[tls]"), "{} is no configuration", example.display());
        check_service(&installed, role)?;
    }
    println!("{version}installed below {}, with 2 services", installed.display());
    Ok(())
}

/// Checks an installed service: that systemd understands it, and what it exposes.
fn check_service(installed: &Path, role: &str) -> Result<()> {
    let unit = installed.join(format!("usr/lib/systemd/system/causeway-{role}@.service"));
    let text = fs::read_to_string(&unit)?;
    let restarts = "RestartPreventExitStatus=2 3";
    ensure!(text.contains(restarts), "{} has no {restarts}", unit.display());
    if is_missing("systemd-analyze") {
        println!("systemd-analyze: not found, {} is not checked by it", unit.display());
        return Ok(());
    }
    // The paths of the commands are those of the installed system.
    let tried = installed.join(format!("causeway-{role}@try.service"));
    let program = installed.join("usr/bin/causeway");
    fs::write(&tried, text.replace("/usr/bin/causeway", &program.to_string_lossy()))?;
    // A setting that it does not know is only a warning to it.
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&tried).output()?;
    let said = String::from_utf8_lossy(&verified.stderr);
    ensure!(verified.status.success() && said.is_empty(), "systemd-analyze verify: {said}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    printed(
        Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", &threshold]).arg(&tried),
    )?;
    Ok(())
}

/// Installs a package below a directory, with a database of its own.
fn install(package: &Path, below: &Path) -> Result<()> {
    let database = below.join("var/lib/dpkg");
    for directory in ["info", "updates"] {
        fs::create_dir_all(database.join(directory))?;
    }
    fs::write(database.join("status"), "")?;
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--root").arg(below).args(["--force-depends", "--force-not-root", "--force-bad-path", "--install"]);
    printed(dpkg.arg(package)).map(drop)
}

/// Makes the package of a program in the directory `out`. Returns its path.
fn make(program: &Path, out: &Path, effort: Effort) -> Result<PathBuf> {
    let stage = out.join("stage");
    clear(&stage)?;
    stage_files(program, &stage)?;
    // Not those of this user's files: the same bytes on every machine, and readable by everybody.
    printed(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&stage))?;
    let name = format!("causeway_{}_{}.deb", env!("CARGO_PKG_VERSION"), architecture()?);
    let package = out.join(name);
    let compression: &[&str] = match effort {
        Effort::Most => &["-Zxz"],
        Effort::Least => &["-Zgzip", "-z1"],
    };
    let mut build = Command::new("dpkg-deb");
    build.arg("--root-owner-group").args(compression).arg("--build").args([&stage, &package]);
    let time = printed(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?;
    printed(build.env("SOURCE_DATE_EPOCH", time.trim()))?;
    fs::remove_dir_all(&stage)?;
    Ok(package)
}

/// Puts every file in its place below `stage`.
fn stage_files(program: &Path, stage: &Path) -> Result<()> {
    let installed = put(stage, "usr/bin/causeway", &fs::read(program).with_context(|| program.display().to_string())?)?;
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755))?;
    printed(Command::new("strip").arg("--strip-debug").arg(&installed))?;
    for (file, directory) in DEPLOYED {
        put(stage, &format!("{directory}/{file}"), &fs::read(root().join("deploy/systemd").join(file))?)?;
    }
    for (shell, path) in COMPLETIONS {
        put(stage, path, printed(Command::new(&installed).args(["completions", shell]))?.as_bytes())?;
    }
    for (file, name) in DOCUMENTS {
        put(stage, &format!("usr/share/doc/causeway/{name}"), &fs::read(root().join(file))?)?;
    }
    for role in ["sender", "receiver"] {
        let example = printed(Command::new(&installed).args(["example", role]))?;
        put(stage, &format!("usr/share/doc/causeway/examples/{role}.toml"), example.as_bytes())?;
    }
    let pages = stage.join("usr/share/man/man1");
    printed(Command::new(&installed).arg("man").arg(&pages))?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name"]);
    for page in fs::read_dir(&pages)? {
        gzip.arg(page?.path());
    }
    printed(&mut gzip)?;
    put(stage, "DEBIAN/control", control(&installed)?.as_bytes())?;
    Ok(())
}

/// Writes a file, and the directories above it. Returns its path.
fn put(stage: &Path, path: &str, content: &[u8]) -> Result<PathBuf> {
    let path = stage.join(path);
    fs::create_dir_all(path.parent().context("a directory")?)?;
    fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The package's description.
fn control(program: &Path) -> Result<String> {
    let newest = newest_glibc(&fs::read(program)?).context("the program names no version of glibc")?;
    let [version, architecture] = [env!("CARGO_PKG_VERSION"), architecture()?];
    Ok(format!(
        "Package: causeway\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The Causeway authors\n\
         Section: net\n\
         Priority: optional\n\
         Depends: libc6 (>= {newest}), libgcc-s1\n\
         Description: Kafka topics from one data centre to another, exactly once\n \
         A sender near the source cluster and a receiver near the target cluster carry\n \
         topics over QUIC, in large compressed frames, within a bandwidth that you set.\n"
    ))
}

/// Newest version of glibc whose symbols the program needs, such as `2.34`.
fn newest_glibc(program: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits = program[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&program[at + MARK.len()..at + MARK.len() + digits]).ok()?.parse::<u32>().ok()
    };
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    marks.filter_map(|(at, _)| minor(at)).max().map(|minor| format!("2.{minor}"))
}

/// This machine's architecture, as Debian names it.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no package is made for {other}"),
    }
}

/// Removes a directory with everything in it, if it exists, and makes it again.
fn clear(directory: &Path) -> Result<()> {
    remove_tree(directory)?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused() {
        let parsed = Options::parse(&["--program", "a", "--out", "b"]).unwrap();
        assert_eq!(parsed, Options { program: Some("a".into()), out: Some("b".into()), checks: false });
        assert!(Options::parse(&["--check"]).unwrap().checks);
        assert!(Options::parse(&["--program"]).is_err() && Options::parse(&["--rpm"]).is_err());
    }

    #[test]
    fn newest_glibc_is_compared_as_a_number() {
        let program = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBC_2.";
        assert_eq!(newest_glibc(program).as_deref(), Some("2.34"));
        assert_eq!(newest_glibc(b"static"), None);
    }
}
