//! Several operations as one: all of them or none.

use bytes::Bytes;
use quorate_api::v1::{self, txn_op::Op};

use crate::entry::{Entry, ModifyIndex};
use crate::session::Session;

/// Operations, in the order in which they run; each sees the effects of those before it.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    ops: Vec<Op>,
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Applied: the entries it read, and those it wrote (without values), in order. Deletes give none.
    Applied(Vec<Entry>),
    /// Not applied: each operation that failed, by its place from 0, and why.
    Failed(Vec<(u32, String)>),
}

impl Txn {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a key.
    #[must_use]
    pub fn set(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.with(Op::Set(v1::TxnSet { key: key.into(), value: value.into(), flags: 0 }))
    }

    /// Writes a key if it is at `expected`; `None`: if it does not exist.
    #[must_use]
    pub fn compare_and_set(
        self,
        key: impl Into<Bytes>,
        expected: Option<ModifyIndex>,
        value: impl Into<Bytes>,
    ) -> Self {
        self.with(Op::Cas(v1::TxnCas {
            key: key.into(),
            value: value.into(),
            flags: 0,
            expected_modify_index: expected.map_or(0, |index| index.0),
        }))
    }

    /// Reads a key; fails if it does not exist.
    #[must_use]
    pub fn get(self, key: impl Into<Bytes>) -> Self {
        self.with(Op::Get(v1::TxnKey { key: key.into() }))
    }

    /// Deletes a key.
    #[must_use]
    pub fn delete(self, key: impl Into<Bytes>) -> Self {
        self.with(Op::Delete(v1::TxnKey { key: key.into() }))
    }

    /// Fails unless the key is at this modify index.
    #[must_use]
    pub fn check_index(self, key: impl Into<Bytes>, expected: ModifyIndex) -> Self {
        self.with(Op::CheckIndex(v1::TxnIndex { key: key.into(), expected_modify_index: expected.0 }))
    }

    /// Fails if the key exists.
    #[must_use]
    pub fn check_not_exists(self, key: impl Into<Bytes>) -> Self {
        self.with(Op::CheckNotExists(v1::TxnKey { key: key.into() }))
    }

    /// Fails unless this session holds the key: put it first, and nothing is written after a lock was lost.
    #[must_use]
    pub fn check_session(self, key: impl Into<Bytes>, session: &Session) -> Self {
        self.with(Op::CheckSession(v1::TxnSession { key: key.into(), session: session.id().to_owned() }))
    }

    fn with(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    pub(crate) fn into_wire(self) -> Vec<v1::TxnOp> {
        self.ops.into_iter().map(|op| v1::TxnOp { op: Some(op) }).collect()
    }
}

impl TxnOutcome {
    pub(crate) fn from_wire(response: v1::TxnResponse) -> Self {
        if response.succeeded {
            Self::Applied(response.results.into_iter().map(Entry::from_wire).collect())
        } else {
            Self::Failed(
                response.failures.into_iter().map(|failure| (failure.op_index, failure.what)).collect(),
            )
        }
    }
}
