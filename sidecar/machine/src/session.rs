//! What a session is: a client's lease, under which it holds keys (consul-http.md §5).
//!
//! A session lives until it is destroyed, or until whoever leads says that its time is over; renewals leave no trace
//! here, and no clock is read (K21). Its ID was drawn by the proposer, so a retried creation finds itself.

use std::fmt;
use std::time::Duration;

use crate::command::ApiIndex;

/// A session's ID: 128 random bits, written as Consul's clients know them (a UUID in lower case).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionId {
    /// No session's ID. A lock delay under it holds for every key: after a restore nobody knows any more which keys the
    /// lost sessions held (K17).
    pub const NONE: Self = Self(0);

    /// The groups of hex digits in its text.
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

    /// From 128 random bits; marked as random (RFC 9562, version 4), so it is never [`SessionId::NONE`].
    pub fn from_random(bits: u128) -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        Self(bits & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62)
    }

    /// From its text; any other spelling is no session's.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(&text.replace('-', ""), 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut at = 0;
        for (group, length) in Self::GROUPS.into_iter().enumerate() {
            write!(f, "{}{}", if group == 0 { "" } else { "-" }, &digits[at..at + length])?;
            at += length;
        }
        Ok(())
    }
}

/// What becomes of a session's keys when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behavior {
    /// They are free.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// How long a session lives without a renewal: at least this long, counted from when its client sent the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ttl {
    /// Zero: for ever. Else from [`SESSION_TTL_MIN`](crate::limits::SESSION_TTL_MIN) to
    /// [`SESSION_TTL_MAX`](crate::limits::SESSION_TTL_MAX).
    pub duration: Duration,
    /// As the client wrote it: some read it back.
    pub text: String,
}

/// Which of Consul's lists of checks are shown. The one check there is always passes: a member that is gone ends no
/// session, only time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionChecks {
    /// `NodeChecks` holds it; else the list is empty.
    pub node: bool,
    /// `ServiceChecks` is an empty list; else null.
    pub service: bool,
    /// `Checks` holds it; else it is left out.
    pub named: bool,
}

/// A session as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpec {
    /// Drawn by the proposer.
    pub id: SessionId,
    /// The client's own name for it. Up to [`SESSION_TEXT_BYTES_MAX`](crate::limits::SESSION_TEXT_BYTES_MAX) bytes.
    pub name: String,
    /// The member it is bound to, by name; for people. The same limit.
    pub node: String,
    /// What becomes of its keys.
    pub behavior: Behavior,
    /// How long it lives without a renewal.
    pub ttl: Ttl,
    /// For how long nobody may acquire the keys it held when it ended; what is above
    /// [`LOCK_DELAY_MAX`](crate::limits::LOCK_DELAY_MAX) counts as that.
    pub lock_delay: Duration,
    /// What is shown of checks.
    pub checks: SessionChecks,
}

/// A session that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// As it was asked for.
    pub spec: SessionSpec,
    /// The index of its creation. It never changes, so this is also its modify index.
    pub create_index: ApiIndex,
}

/// What happened to a session, for whoever measures its time. Not part of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It lives.
    Began {
        /// Which.
        id: SessionId,
        /// Zero: for ever.
        ttl: Duration,
    },
    /// It is gone.
    Ended {
        /// Which.
        id: SessionId,
        /// The keys it held can't be acquired for so long; zero: they can.
        lock_delay: Duration,
    },
    /// Its keys can be acquired again.
    DelayEnded {
        /// Whose.
        id: SessionId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// consul-http.md §5: an ID has one spelling, and whatever else a client sends is no session.
    #[test]
    fn an_id_has_one_spelling() {
        let id = SessionId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for other in [
            "",
            "nope",
            "01234567-89AB-4def-8123-456789abcdef",
            "0123456789ab4def8123456789abcdef",
            "01234567-89ab-4def-8123-456789abcdef0",
            "+1234567-89ab-4def-8123-456789abcdef",
        ] {
            assert_eq!(SessionId::parse(other), None, "{other}");
        }
        assert_ne!(SessionId::from_random(0), SessionId::NONE);
    }
}
