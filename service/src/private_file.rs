//! Files with a secret: a private key, a password, a token. A file that other users of the machine can read is refused
//! before it is used.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// Limit of a secret's size in bytes. A larger file was named by mistake.
pub const BYTES_MAX: u64 = 64 * 1024;

/// Checks that the file at `path` exists and that only its owner can read or change it.
///
/// The group may read a file that root owns: containers mount secrets like that.
pub fn check(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    if let Some(reason) = loose(&metadata) {
        return Err(io::Error::other(format!("{reason}; run `chmod 600 {}`", path.display())));
    }
    if metadata.len() > BYTES_MAX {
        return Err(io::Error::other(format!("{} B, above the limit of {BYTES_MAX} B", metadata.len())));
    }
    fs::File::open(path).map(drop)
}

/// The text of the file at `path` without its last line end.
pub fn read(path: &Path) -> io::Result<String> {
    check(path)?;
    let text = fs::read_to_string(path)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(io::Error::other("the file is empty"));
    }
    Ok(text.to_owned())
}

#[cfg(unix)]
fn loose(metadata: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let allowed = if metadata.uid() == 0 { 0o740 } else { 0o700 };
    let mode = metadata.mode() & 0o777;
    (mode & !allowed != 0).then(|| format!("others may read or change it (its mode is {mode:03o})"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn only_the_owner_may_read_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, "hunter2\r\n").unwrap();
        let root = fs::metadata(&file).unwrap().uid() == 0;
        for (mode, taken) in
            [(0o600, true), (0o400, true), (0o700, true), (0o640, root), (0o644, false), (0o620, false), (0o604, false)]
        {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            match read(&file) {
                Ok(text) => assert!(taken && text == "hunter2", "{mode:o}"),
                Err(error) => {
                    let expected = format!(
                        "others may read or change it (its mode is {mode:03o}); run `chmod 600 {}`",
                        file.display()
                    );
                    assert!(!taken && error.to_string() == expected, "{mode:o}: {error}");
                }
            }
        }
    }

    #[test]
    fn an_empty_and_a_huge_file_are_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for (text, reason) in [("\n".to_owned(), "empty"), ("a".repeat(64 * 1024 + 1), "above the limit of 65536 B")] {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(read(&file).unwrap_err().to_string().contains(reason));
        }
    }
}
