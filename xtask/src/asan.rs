//! The shim's tests under AddressSanitizer, with librdkafka instrumented as well: memory that one side has freed and the
//! other still uses ends the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{cargo, printed, run as run_command};

/// Hosts for which rustc ships AddressSanitizer and its runtime is compatible with that of gcc.
const HOSTS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// Flags for C code, and the flag that takes the first one back for libraries that need no check.
const INSTRUMENTED: &str = "-fsanitize=address -fno-omit-frame-pointer -g1";
const PLAIN: &str = "-fno-sanitize=address";
/// Settings of AddressSanitizer: also memory of functions that have returned, and memory that is never freed.
const OPTIONS: &str = "detect_stack_use_after_return=1:detect_leaks=1:strict_string_checks=1";
/// Leak of the client that runs the mock cluster, which is not the shim's: it keeps a queue.
const KNOWN_LEAKS: &str = "leak:rdkafka::client::Client\n";

/// Runs the tests alone. A machine that cannot is an error.
pub(crate) fn alone(built: &Path) -> Result<()> {
    let target = built.join("asan");
    match obstacle(&target)? {
        None => run(&target, built, &[]),
        Some(reason) => bail!("AddressSanitizer cannot run here: {reason}"),
    }
}

/// Reason why this machine cannot build for AddressSanitizer; `None` if it can.
pub(crate) fn obstacle(target: &Path) -> Result<Option<String>> {
    let host = host()?;
    if !HOSTS.contains(&host.as_str()) {
        return Ok(Some(format!("rustc has no AddressSanitizer for {host}")));
    }
    let libraries = PathBuf::from(rustc(&["--print", "sysroot"])?).join("lib/rustlib").join(&host).join("lib");
    let names = std::fs::read_dir(&libraries).with_context(|| format!("cannot list {}", libraries.display()))?;
    let has_runtime = names.flatten().any(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a"));
    if !has_runtime {
        return Ok(Some(format!("this rustc has no AddressSanitizer runtime in {}", libraries.display())));
    }
    // Configure of librdkafka links test programs, so the C compiler needs its own runtime too.
    std::fs::create_dir_all(target)?;
    let source = target.join("probe.c");
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut link = Command::new(&compiler);
    let linked = link.arg("-fsanitize=address").arg(&source).arg("-o").arg(target.join("probe")).output();
    let compiler = compiler.to_string_lossy();
    Ok(match linked {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("{compiler} cannot link with -fsanitize=address: {}", said.lines().next().unwrap_or_default()))
        }
        Err(error) => Some(format!("{compiler}: {error}")),
    })
}

/// Builds and runs the tests in a target directory of their own. `built` is the directory of the gate's other builds:
/// their OpenSSL is used, because it needs no check and takes minutes to build.
pub(crate) fn run(target: &Path, built: &Path, features: &[&str]) -> Result<()> {
    let host = host()?;
    let known_leaks = target.join("known-leaks");
    std::fs::write(&known_leaks, KNOWN_LEAKS)?;
    let mut test = cargo(&["test", "--package", "causeway-kafka", "--locked", "--lib", "--test", "mock_cluster"]);
    test.args(features).args(["--target", &host]).arg("--target-dir").arg(target);
    // Dependencies are built once and run for seconds: their own speed does not matter.
    test.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    // A target makes cargo build scripts and macros without the sanitizer. librdkafka's build reads only `CFLAGS`; the
    // builds of the other C libraries read the second variable after it.
    test.env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes")
        .env(format!("CFLAGS_{}", host.replace('-', "_")), PLAIN)
        .env("ASAN_OPTIONS", OPTIONS)
        .env("LSAN_OPTIONS", format!("print_suppressions=0:suppressions={}", known_leaks.display()));
    let mut c_flags = INSTRUMENTED.to_owned();
    if let Some(openssl) = built_openssl(built).filter(|_| features.is_empty()) {
        c_flags.push_str(&format!(" -I{}", openssl.join("include").display()));
        let libraries = ["lib64", "lib"].map(|name| openssl.join(name)).into_iter().find(|path| path.exists());
        test.env("LDFLAGS", format!("-L{}", libraries.context("OpenSSL has no libraries")?.display()));
        test.env("OPENSSL_NO_VENDOR", "1").env("OPENSSL_STATIC", "1").env("OPENSSL_DIR", openssl);
    }
    run_command(test.env("CFLAGS", c_flags))
}

/// The newest OpenSSL that cargo has built from source below `target`.
fn built_openssl(target: &Path) -> Option<PathBuf> {
    let crates = std::fs::read_dir(target.join("debug/build")).ok()?.flatten();
    let crates = crates.filter(|entry| entry.file_name().to_string_lossy().starts_with("openssl-sys-"));
    let installed = crates.map(|entry| entry.path().join("out/openssl-build/install"));
    let installed = installed.filter(|path| path.join("include/openssl/ssl.h").exists());
    installed.max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
}

fn host() -> Result<String> {
    let version = rustc(&["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Ok(printed(Command::new(program).args(arguments))?.trim().to_owned())
}
