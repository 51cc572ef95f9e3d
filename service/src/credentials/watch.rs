//! Watch over the files of one set. Sans-IO: it is given the contents, and says when to try them.
//!
//! New contents are tried once two looks in a row show the same: then no file is being written. What cannot be used, such as
//! a certificate without its key, is tried again, and what is in use stays in use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::contents::Contents;

/// Interval between two looks at the files.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pause before the same contents are tried again: meanwhile the clock, a file's mode or the cluster may have changed.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Watch over one set of files.
#[derive(Debug)]
pub struct FileWatch {
    /// Contents in use.
    used: Contents,
    /// Contents of the last look.
    seen: Contents,
    refused: Option<Refused>,
}

/// Contents that could not be used.
#[derive(Debug)]
struct Refused {
    contents: Contents,
    at: Instant,
    reason: String,
}

/// What a look leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing is to be done now.
    Nothing,
    /// The contents shall be tried: [`FileWatch::handle_used`] or [`FileWatch::handle_refused`] follows.
    Try,
    /// Contents that could not be used are gone: the files have those in use again.
    Restored,
}

impl FileWatch {
    /// Begins with the contents in use.
    pub fn new(used: Contents) -> Self {
        Self { seen: used.clone(), used, refused: None }
    }

    /// Takes what the files have now.
    pub fn look(&mut self, now: Instant, contents: Contents) -> Look {
        let is_stable = self.seen == contents;
        self.seen = contents;
        if self.seen == self.used {
            return if self.refused.take().is_some() { Look::Restored } else { Look::Nothing };
        }
        let is_tried = self.refused.as_ref().is_some_and(|refused| {
            refused.contents == self.seen && now.saturating_duration_since(refused.at) < TRY_AGAIN
        });
        if is_stable && !is_tried { Look::Try } else { Look::Nothing }
    }

    /// Notes that the contents last seen are in use. Returns the files that they changed.
    pub fn handle_used(&mut self) -> Vec<PathBuf> {
        let changed = self.seen.changed_since(&self.used).map(ToOwned::to_owned).collect();
        self.used = self.seen.clone();
        self.refused = None;
        changed
    }

    /// Notes why the contents last seen cannot be used. Returns whether the reason is news.
    pub fn handle_refused(&mut self, now: Instant, reason: String) -> bool {
        let is_news = self.fault() != Some(&reason);
        self.refused = Some(Refused { contents: self.seen.clone(), at: now, reason });
        is_news
    }

    /// Returns why the files' contents are not in use, if they could not be used.
    pub fn fault(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| &*refused.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    struct Files {
        dir: TempDir,
        watch: FileWatch,
        now: Instant,
    }

    impl Files {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("pem"), "old").unwrap();
            fs::write(dir.path().join("key"), "old").unwrap();
            let watch = FileWatch::new(Self::contents(&dir));
            Self { dir, watch, now: Instant::now() }
        }

        fn contents(dir: &TempDir) -> Contents {
            Contents::read(["pem", "key"].map(|name| dir.path().join(name)))
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.dir.path().join(name), text).unwrap();
        }

        fn look(&mut self) -> Look {
            self.now += LOOK_EVERY;
            self.watch.look(self.now, Self::contents(&self.dir))
        }

        fn refuse(&mut self, reason: &str) -> bool {
            self.watch.handle_refused(self.now, reason.to_owned())
        }
    }

    #[test]
    fn what_changed_is_tried_once_it_stays_the_same() {
        let mut files = Files::new();
        assert_eq!(files.look(), Look::Nothing);
        for text in ["n", "ne", "new"] {
            files.write("pem", text);
            assert_eq!(files.look(), Look::Nothing, "it is being written");
        }
        assert_eq!(files.look(), Look::Try);
        assert_eq!(files.watch.handle_used(), [files.dir.path().join("pem")]);
        assert_eq!([files.look(), files.look()], [Look::Nothing; 2]);
        files.write("pem", "new");
        assert_eq!([files.look(), files.look()], [Look::Nothing; 2], "the same bytes");
    }

    #[test]
    fn half_of_a_pair_is_tried_again_and_named_once() {
        let mut files = Files::new();
        files.write("pem", "new");
        assert_eq!([files.look(), files.look()], [Look::Nothing, Look::Try]);
        assert!(files.refuse("no pair"));
        assert_eq!(files.watch.fault(), Some("no pair"));
        // The file's mode may have changed, which its contents do not show.
        let tries = (0..10).filter(|_| files.look() == Look::Try && !files.refuse("no pair")).count();
        assert_eq!(tries, 2, "every ten seconds");
        files.write("key", "new");
        assert_eq!([files.look(), files.look()], [Look::Nothing, Look::Try], "without a pause");
        assert_eq!(files.watch.handle_used().len(), 2);
        assert_eq!(files.watch.fault(), None);
    }

    #[test]
    fn a_file_that_is_gone_and_back_leads_to_nothing() {
        let mut files = Files::new();
        fs::remove_file(files.dir.path().join("key")).unwrap();
        assert_eq!(files.look(), Look::Nothing);
        files.write("key", "old");
        assert_eq!(files.look(), Look::Nothing, "it was gone for a moment");
        fs::remove_file(files.dir.path().join("key")).unwrap();
        assert_eq!([files.look(), files.look()], [Look::Nothing, Look::Try]);
        assert!(files.refuse("no such file") && !files.refuse("no such file") && files.refuse("another reason"));
        files.write("key", "old");
        assert_eq!([files.look(), files.look()], [Look::Restored, Look::Nothing]);
        assert_eq!(files.watch.fault(), None);
    }
}
