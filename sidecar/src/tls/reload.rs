//! Certificates that change under a running process: the files are looked at every few seconds.
//!
//! Kubernetes replaces a mounted Secret by switching a symbolic link, so the three files change at
//! once; a set that can't be used yet (half written by hand, key not matching) is reported once and
//! the one in use stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use super::credentials::{Credentials, CredentialsError};
use crate::limits::CERTIFICATE_POLL;

/// The credentials in use; each new connection takes the latest.
pub type CredentialsReceiver = watch::Receiver<Arc<Credentials>>;

/// A directory with `ca.crt`, `tls.crt` and `tls.key`.
#[derive(Clone, Debug)]
pub struct CredentialsFiles {
    directory: PathBuf,
}

impl CredentialsFiles {
    /// The files of this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Reads and checks all three.
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        let read = |name: &str| {
            let path = self.directory.join(name);
            std::fs::read(&path)
                .map_err(|source| CredentialsError::Read { path: path.display().to_string(), source })
        };
        Credentials::from_pem(&read("ca.crt")?, &read("tls.crt")?, &read("tls.key")?)
    }

    /// When each file last changed; `None` for one that is missing just now.
    fn changed(&self) -> [Option<SystemTime>; 3] {
        ["ca.crt", "tls.crt", "tls.key"].map(|name| modified(&self.directory.join(name)))
    }
}

/// Loads the files and keeps the receiver up to date until every receiver is gone.
///
/// The first load must succeed: without a certificate no port can open.
pub fn follow(files: CredentialsFiles) -> Result<CredentialsReceiver, CredentialsError> {
    let mut seen = files.changed();
    let (sender, receiver) = watch::channel(Arc::new(files.load()?));
    tokio::spawn(async move {
        let mut poll = tokio::time::interval(CERTIFICATE_POLL);
        loop {
            tokio::select! {
                _ = poll.tick() => {}
                () = sender.closed() => return,
            }
            let now = files.changed();
            if now == seen {
                continue;
            }
            seen = now;
            match files.load() {
                Ok(loaded) => {
                    info!(identity = %loaded.identity(), "certificates reloaded");
                    sender.send_replace(Arc::new(loaded));
                }
                Err(error) => warn!(%error, "changed certificates are unusable, keeping the old ones"),
            }
        }
    });
    Ok(receiver)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
