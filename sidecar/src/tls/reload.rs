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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dev::{Authority, Issued};

    fn write(directory: &Path, issued: &Issued) {
        for (name, text) in
            [("ca.crt", &issued.ca_pem), ("tls.crt", &issued.certificate_pem), ("tls.key", &issued.key_pem)]
        {
            std::fs::write(directory.join(name), text).unwrap();
        }
    }

    /// K46: a renewed certificate is in use without a restart; one that can't be used changes nothing.
    #[tokio::test]
    async fn changed_files_are_used_for_new_connections_and_unusable_ones_are_not() {
        let authority = Authority::new(7).unwrap();
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &authority.issue("db-0").unwrap());
        let mut credentials = follow(CredentialsFiles::new(directory.path().to_owned())).unwrap();
        assert_eq!(credentials.borrow().identity().raft_id, "db-0");

        std::fs::write(directory.path().join("tls.key"), "half written").unwrap();
        let waited = tokio::time::timeout(CERTIFICATE_POLL * 2, credentials.changed()).await;
        assert!(waited.is_err(), "an unusable key was taken into use");

        write(directory.path(), &authority.issue("db-0-renewed").unwrap());
        tokio::time::timeout(Duration::from_secs(30), credentials.changed()).await.unwrap().unwrap();
        assert_eq!(credentials.borrow().identity().raft_id, "db-0-renewed");
    }
}
