//! Contents of a set of files, as hashes: a change is seen whichever way a file is replaced, by a write in place, a rename or
//! the symbolic link of a mounted Secret, and the same bytes are no change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest;

/// Bytes of a file that are compared; bundles of all public authorities have a quarter of a MiB.
const COMPARED_MAX: u64 = 4 << 20;

/// Contents of files by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Content>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// Hash of a file.
    Hash([u8; digest::SHA256_OUTPUT_LEN]),
    /// A directory or device, whose contents are not compared: the TLS library looks into a directory itself.
    NoFile,
    Unreadable(io::ErrorKind),
}

impl Contents {
    /// Reads the files at these paths.
    pub fn read(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(
            paths.into_iter().map(|path| (Content::read(&path), path)).map(|(content, path)| (path, content)).collect(),
        )
    }

    /// Returns whether there is any file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the paths whose contents are not those of `before`.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Path> {
        self.0.iter().filter(|(path, content)| before.0.get(*path) != Some(*content)).map(|(path, _)| &**path)
    }
}

impl Content {
    fn read(path: &Path) -> Self {
        let hash = || {
            // Looked at first: opening a pipe would wait for its other end.
            if !std::fs::metadata(path)?.is_file() {
                return Ok(Self::NoFile);
            }
            let mut text = Vec::new();
            File::open(path)?.take(COMPARED_MAX).read_to_end(&mut text)?;
            let mut hash = [0; digest::SHA256_OUTPUT_LEN];
            hash.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
            Ok(Self::Hash(hash))
        };
        hash().unwrap_or_else(|error: io::Error| Self::Unreadable(error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn changed(now: &Contents, before: &Contents) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        now.changed_since(before).map(name).collect()
    }

    #[test]
    fn contents_count_and_not_how_a_file_came_to_have_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "1").unwrap();
        fs::write(at("b"), "1").unwrap();
        let read = || Contents::read([at("a"), at("b"), at("c")]);
        let first = read();
        fs::write(at("new"), "1").unwrap();
        fs::rename(at("new"), at("a")).unwrap();
        assert_eq!(read(), first, "the same bytes");
        fs::write(at("b"), "2").unwrap();
        assert_eq!(changed(&read(), &first), ["b"], "of the same length");
        fs::remove_file(at("a")).unwrap();
        fs::write(at("c"), "").unwrap();
        assert_eq!(changed(&read(), &first), ["a", "b", "c"]);
        assert!(
            Contents::read([]).is_empty() && Contents::read([dir.path().to_owned()]).changed_since(&first).count() == 1
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_swapped_symbolic_link_changes_every_file_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("1", "old"), ("2", "new")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tls.crt"), text).unwrap();
            fs::write(at(version).join("ca.crt"), "both").unwrap();
        }
        std::os::unix::fs::symlink("1", at("..data")).unwrap();
        for name in ["tls.crt", "ca.crt"] {
            std::os::unix::fs::symlink(format!("..data/{name}"), at(name)).unwrap();
        }
        let read = || Contents::read([at("tls.crt"), at("ca.crt")]);
        let first = read();
        std::os::unix::fs::symlink("2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        assert_eq!(changed(&read(), &first), ["tls.crt"], "the other has the same bytes");
    }
}
