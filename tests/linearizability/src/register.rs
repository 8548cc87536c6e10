//! One key as one copy would keep it: the specification that answers are held against.
//!
//! A key that is locked holds its holder, a session as a value of its own; then it is asked with the operations on locks
//! alone, and read.

/// What is written. Every write of a run writes a value of its own, so that a read says which write it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u32);

/// What a client asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read it.
    Read,
    /// Write it.
    Put(Value),
    /// Write it if it holds exactly this, or nothing.
    CompareAndSet {
        /// What it must hold.
        expected: Option<Value>,
        /// What is written.
        new: Value,
    },
    /// Delete it.
    Delete,
    /// Delete it if it holds exactly this; that it is missing already is success (Consul's rule).
    DeleteIf {
        /// What it must hold.
        expected: Value,
    },
    /// An archive is restored that holds this, or not this key: whatever was there is gone.
    Restore(Option<Value>),
    /// This session is to hold the key, unless another one does.
    Acquire(Value),
    /// This session holds it no more.
    Release(Value),
    /// This session ends, and holds nothing any more.
    End(Value),
}

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// What the key holds.
    Holds(Option<Value>),
    /// It was written.
    Written,
    /// The condition did not hold.
    Mismatch,
    /// It is gone.
    Deleted {
        /// It was there before.
        existed: bool,
    },
}

impl Operation {
    /// What one copy that holds `state` answers, and what it holds then.
    pub fn apply(self, state: Option<Value>) -> (Answer, Option<Value>) {
        match self {
            Self::Put(value) => (Answer::Written, Some(value)),
            Self::Restore(archived) => (Answer::Written, archived),
            Self::CompareAndSet { expected, new } if expected == state => (Answer::Written, Some(new)),
            Self::Acquire(session) if state.is_none_or(|holder| holder == session) => {
                (Answer::Written, Some(session))
            }
            // Who does not get a lock is told who holds it.
            Self::Read | Self::Acquire(_) => (Answer::Holds(state), state),
            Self::Release(session) if state == Some(session) => (Answer::Written, None),
            Self::End(session) => (Answer::Written, state.filter(|holder| *holder != session)),
            Self::DeleteIf { expected } if state.is_some_and(|value| value != expected) => {
                (Answer::Mismatch, state)
            }
            Self::CompareAndSet { .. } | Self::Release(_) => (Answer::Mismatch, state),
            Self::Delete | Self::DeleteIf { .. } => (Answer::Deleted { existed: state.is_some() }, None),
        }
    }

    /// What it writes that may be a value like any other, if nobody ever sees it. A session is none: its own calls tell
    /// it from others.
    pub fn writes(self) -> Option<Value> {
        match self {
            Self::Put(value) | Self::CompareAndSet { new: value, .. } => Some(value),
            Self::Restore(archived) => archived,
            Self::Read
            | Self::Delete
            | Self::DeleteIf { .. }
            | Self::Acquire(_)
            | Self::Release(_)
            | Self::End(_) => None,
        }
    }

    /// The value it compares with.
    pub fn expects(self) -> Option<Value> {
        match self {
            Self::CompareAndSet { expected, .. } => expected,
            Self::DeleteIf { expected }
            | Self::Acquire(expected)
            | Self::Release(expected)
            | Self::End(expected) => Some(expected),
            Self::Read | Self::Put(_) | Self::Delete | Self::Restore(_) => None,
        }
    }

    /// The same call with another value written.
    #[must_use]
    pub fn writing(self, value: Value) -> Self {
        match self {
            Self::Put(_) => Self::Put(value),
            Self::CompareAndSet { expected, .. } => Self::CompareAndSet { expected, new: value },
            Self::Restore(Some(_)) => Self::Restore(Some(value)),
            Self::Read
            | Self::Delete
            | Self::DeleteIf { .. }
            | Self::Restore(None)
            | Self::Acquire(_)
            | Self::Release(_)
            | Self::End(_) => self,
        }
    }
}
