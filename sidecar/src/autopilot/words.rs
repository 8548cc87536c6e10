//! What a member says of itself: its build, its zone, its application's version.
//!
//! Zone and version are a label and an annotation of its Pod. Kubernetes keeps files of them up to date, and they are looked
//! at every few seconds: a label may be set after the Pod was bound, and an annotation is edited while the member runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_api::peer::v1 as proto;
use quorate_machine::limits::AUTOPILOT_TEXT_BYTES_MAX;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::driver::{ApplicationWord, View};
use crate::limits::WORDS_POLL;

/// What a member says of itself, as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The version of its build.
    pub build: String,
    /// Its zone; empty if unknown.
    pub zone: String,
    /// The version that upgrade migration goes by; empty: none.
    pub upgrade_version: String,
}

/// The words in use; each report takes the latest.
pub type WordsReceiver = watch::Receiver<Words>;

impl Words {
    /// The report of this moment.
    pub(crate) fn report(&self, view: &View, application: &ApplicationWord) -> proto::Report {
        proto::Report {
            applied_index: view.applied.index.0,
            term: view.status.term.0,
            build: self.build.clone(),
            zone: self.zone.clone(),
            upgrade_version: self.upgrade_version.clone(),
            application_applied: application.applied.0,
            application_snapshot: application.snapshot.0,
        }
    }

    /// Words that never change.
    pub fn fixed(self) -> WordsReceiver {
        // The sender may go: what was said last stays.
        watch::channel(self).1
    }
}

/// Where zone and version are read from.
#[derive(Clone, Debug)]
pub struct WordsFiles {
    /// The zone; the file may be empty or missing.
    pub zone: PathBuf,
    /// The application's version, likewise; none: it is the text below.
    pub upgrade_version: Option<PathBuf>,
    /// The application's version where no file says it.
    pub fixed_version: String,
}

/// What the files held, one after the other; `None`: not readable just now.
type Texts = [Option<String>; 2];

impl WordsFiles {
    fn read(&self) -> Texts {
        [Some(&self.zone), self.upgrade_version.as_ref()].map(|path| read(path?))
    }

    fn words(&self, [zone, version]: &Texts) -> Words {
        let said = |text: &Option<String>| short(text.as_deref().unwrap_or_default());
        Words {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            zone: said(zone),
            upgrade_version: match self.upgrade_version {
                Some(_) => said(version),
                None => short(&self.fixed_version),
            },
        }
    }
}

/// Reads the files and keeps the receiver up to date until every receiver is gone. Needs a tokio runtime.
pub fn follow(files: WordsFiles) -> WordsReceiver {
    follow_every(files, WORDS_POLL)
}

fn follow_every(files: WordsFiles, every: Duration) -> WordsReceiver {
    let mut texts = files.read();
    let (sender, receiver) = watch::channel(files.words(&texts));
    tokio::spawn(async move {
        let mut poll = tokio::time::interval(every);
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = sender.closed() => return,
            }
            let [zone, version] = files.read();
            // What cannot be read just now is as it was.
            let now = [zone.or_else(|| texts[0].clone()), version.or_else(|| texts[1].clone())];
            if now == texts {
                continue;
            }
            texts = now;
            let words = files.words(&texts);
            info!(zone = words.zone, upgrade_version = words.upgrade_version, "zone or version changed");
            sender.send_replace(words);
        }
    });
    receiver
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok()
}

/// What a member says of itself is kept by every member, so it is short. Half a version would be another one.
fn short(text: &str) -> String {
    if text.len() > AUTOPILOT_TEXT_BYTES_MAX {
        warn!(
            bytes = text.len(),
            limit = AUTOPILOT_TEXT_BYTES_MAX,
            "a zone or version is too long (AUTOPILOT_TEXT_BYTES_MAX): ignored"
        );
        return String::new();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFTEN: Duration = Duration::from_millis(10);

    /// A label that comes late and an annotation that is edited are told without a restart (autopilot.md §4); a file that is
    /// gone for a moment takes nothing back, and a text longer than is kept says nothing.
    #[tokio::test]
    async fn zone_and_version_are_told_as_the_files_say_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let files = WordsFiles {
            zone: path("zone"),
            upgrade_version: Some(path("version")),
            fixed_version: "never said".to_owned(),
        };
        let mut words = follow_every(files, OFTEN);
        let said = |words: &mut WordsReceiver| {
            let words = words.borrow_and_update();
            (words.zone.clone(), words.upgrade_version.clone())
        };
        assert_eq!(said(&mut words), (String::new(), String::new()));

        std::fs::write(path("zone"), "z1\n").unwrap();
        std::fs::write(path("version"), "1.0.0").unwrap();
        words.wait_for(|words| words.upgrade_version == "1.0.0" && words.zone == "z1").await.unwrap();

        std::fs::remove_file(path("zone")).unwrap();
        std::fs::write(path("version"), "2.0.0").unwrap();
        words.wait_for(|words| words.upgrade_version == "2.0.0").await.unwrap();
        assert_eq!(said(&mut words), ("z1".to_owned(), "2.0.0".to_owned()));

        std::fs::write(path("version"), "2".repeat(AUTOPILOT_TEXT_BYTES_MAX + 1)).unwrap();
        words.wait_for(|words| words.upgrade_version.is_empty()).await.unwrap();
        assert_eq!(said(&mut words), ("z1".to_owned(), String::new()));
        assert!(tokio::time::timeout(OFTEN * 10, words.changed()).await.is_err(), "nothing changed");
    }

    /// Without a file the version is what the command line says.
    #[tokio::test]
    async fn a_fixed_version_needs_no_file() {
        let files = WordsFiles {
            zone: PathBuf::from("/nowhere/zone"),
            upgrade_version: None,
            fixed_version: "3.1".to_owned(),
        };
        assert_eq!(follow(files).borrow().upgrade_version, "3.1");
    }
}
