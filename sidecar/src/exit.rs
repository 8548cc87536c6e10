//! How the process ends: exit codes after sysexits and the JSON termination message (K39).
//!
//! The operator tells a broken member from any other crash by these codes alone, so each has one
//! meaning: 65 the volume's data is corrupt, 78 it is somebody else's, 74 the disk is full or failed.
//! Every other trouble is told by 64, 69 or 73 and is never a reason to delete a volume.
//!
//! Not here: ending the process. Only `main` does that, with what a [`Failure`] says.

use std::fmt;
use std::path::Path;

/// Where Kubernetes looks for a container's last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Exit codes of `quorate-sidecar`; the numbers are those of sysexits and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Wrong flags or environment.
    Usage,
    /// The data directory holds data that is damaged.
    CorruptData,
    /// A port or another service this needs can't be had.
    Unavailable,
    /// The data directory can't be created.
    CannotCreate,
    /// The disk is full or failed.
    Io,
    /// The data directory belongs to another member or cluster.
    WrongIdentity,
    /// The data directory is from before a recovery (K18): an old majority must not come back.
    BeforeRecovery,
}

impl Code {
    /// The number the process exits with.
    pub fn number(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::CorruptData => 65,
            Self::Unavailable => 69,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::WrongIdentity | Self::BeforeRecovery => 78,
        }
    }

    /// The one-word reason of the termination message.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Usage => "Usage",
            Self::CorruptData => "CorruptData",
            Self::Unavailable => "Unavailable",
            Self::CannotCreate => "CannotCreate",
            Self::Io => "Io",
            Self::WrongIdentity => "WrongIdentity",
            Self::BeforeRecovery => "BeforeRecovery",
        }
    }
}

/// Why the process ends other than asked to.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What failed, why, and what to do next.
    pub message: String,
}

impl Failure {
    /// A failure with this code and text.
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The termination message: `{code, reason, message}` on one line.
    pub fn termination_message(&self) -> String {
        serde_json::json!({
            "code": self.code.number(),
            "reason": self.code.reason(),
            "message": self.message,
        })
        .to_string()
    }

    /// Leaves the termination message where Kubernetes put a file for it, if it did.
    pub fn leave_termination_message(&self, path: &Path) {
        if path.exists() {
            // Best effort by nature: the process is ending, and stderr has the same words.
            let _ = std::fs::write(path, self.termination_message());
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    /// K39: the operator parses this line and nothing else.
    #[test]
    fn the_termination_message_is_one_json_object_with_code_reason_and_message() {
        let failure = Failure::new(Code::Io, "cannot write log.redb: no space left on device");
        let parsed: serde_json::Value = serde_json::from_str(&failure.termination_message()).unwrap();
        assert_eq!(parsed["code"], 74);
        assert_eq!(parsed["reason"], "Io");
        assert_eq!(parsed["message"], "cannot write log.redb: no space left on device");
    }

    /// K39: a termination log is written only where Kubernetes made one.
    #[test]
    fn no_termination_file_is_created_where_there_was_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("termination-log");
        Failure::new(Code::Usage, "x").leave_termination_message(&path);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        Failure::new(Code::Usage, "x").leave_termination_message(&path);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"code\":64"));
    }
}
