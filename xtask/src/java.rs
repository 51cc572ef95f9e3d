//! Java and Maven, which the real-Kafka tests need and cargo cannot install.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::run;

/// The oldest Java version that Kafka brokers run on.
const JAVA: u32 = 17;

/// Packages in order of preference: not every release of Debian and Ubuntu has both.
const PACKAGES: [&str; 2] = ["openjdk-17-jdk-headless", "openjdk-21-jdk-headless"];

/// Checks that Java and Maven are installed. Installs them if it can; otherwise the error says what to install.
pub(crate) fn require() -> Result<()> {
    let java = java_version().is_some_and(|version| version >= JAVA);
    let maven = answers("mvn", "-version").is_some();
    if java && maven {
        return Ok(());
    }
    if !may_install() {
        bail!(
            "the real-Kafka tests need Java {JAVA} or newer and Maven: install them \
             (Debian, Ubuntu: apt-get install {} maven) and run this again",
            PACKAGES[0]
        );
    }
    run(&mut apt(&["update", "-qq"]))?;
    let mut packages = Vec::new();
    if !java {
        packages.push(*PACKAGES.iter().find(|name| package_exists(name)).context("apt knows no Java 17 or 21")?);
    }
    if !maven {
        packages.push("maven");
    }
    println!("installing with apt-get, as root: {}", packages.join(" "));
    run(apt(&["install", "-qq", "-y", "--no-install-recommends"]).args(packages))
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn package_exists(name: &str) -> bool {
    let shown = Command::new("apt-cache").args(["show", "--no-all-versions", name]).stdin(Stdio::null()).output();
    shown.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Returns whether this is root on Debian or Ubuntu.
fn may_install() -> bool {
    let root = answers("id", "-u").is_some_and(|id| id.trim() == "0");
    root && is_debian(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn is_debian(os_release: &str) -> bool {
    let ids = os_release.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    ids.flat_map(|ids| ids.trim_matches('"').split(' ')).any(|id| id == "debian" || id == "ubuntu")
}

fn java_version() -> Option<u32> {
    major(&answers("java", "-version")?)
}

/// Reads the major version from a line such as `openjdk version "17.0.15" 2025-04-15`.
fn major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    version.split(['.', '-']).next()?.parse().ok()
}

/// Output of a program on both streams, if it runs and succeeds.
fn answers(program: &str, question: &str) -> Option<String> {
    let output = Command::new(program).arg(question).stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_java_version_is_parsed() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major("java version \"1.8.0_202\""), Some(1));
        assert_eq!(major("openjdk version \"25-ea\""), Some(25));
        assert_eq!(major("command not found"), None);
    }

    #[test]
    fn debian_and_ubuntu_are_recognised() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=https://debian.org\n"));
    }
}
