//! Writes: what each proposes, and how its outcome is answered. One shape for single calls and for the pipeline.

use quorate_api::v1;
use quorate_machine::{ApiIndex, Command, Outcome, Tagged, TxnOp};
use tokio::time::Instant;

use super::Service;
use super::refused::Refused;
use super::shape;

/// A write as a client sends it.
pub(super) trait Write {
    /// How it is answered.
    type Response;

    /// What it proposes. What is wrong with its shape is told here; the machine's limits are checked later.
    fn proposal(self) -> Result<Tagged, Refused>;

    /// The answer to what it came to.
    fn response(outcome: Outcome) -> Result<Self::Response, Refused>;
}

impl Service {
    /// Writes, and answers in the write's own words.
    pub(super) async fn write_one<W: Write>(
        &self,
        write: W,
        deadline: Instant,
    ) -> Result<W::Response, Refused> {
        let Tagged { tag, command } = write.proposal()?;
        W::response(self.propose(command, tag, deadline).await?)
    }
}

impl Write for v1::PutRequest {
    type Response = v1::PutResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let tag = shape::tag(self.tag)?;
        Ok(Tagged { tag, command: Command::Put { key: self.key, value: self.value, flags: self.flags } })
    }

    fn response(outcome: Outcome) -> Result<v1::PutResponse, Refused> {
        match outcome {
            Outcome::Written { modify_index } => Ok(v1::PutResponse { modify_index: modify_index.0 }),
            _ => Err(Refused::unexpected("a put")),
        }
    }
}

impl Write for v1::DeleteRequest {
    type Response = v1::DeleteResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let tag = shape::tag(self.tag)?;
        let expected = self.expected_modify_index.map(ApiIndex);
        Ok(Tagged { tag, command: Command::Delete { key: self.key, expected } })
    }

    fn response(outcome: Outcome) -> Result<v1::DeleteResponse, Refused> {
        match outcome {
            Outcome::Deleted { existed } => {
                Ok(v1::DeleteResponse { succeeded: true, existed, modify_index: 0 })
            }
            Outcome::Mismatch { modify_index } => Ok(v1::DeleteResponse {
                succeeded: false,
                existed: true,
                modify_index: modify_index.map_or(0, |index| index.0),
            }),
            _ => Err(Refused::unexpected("a delete")),
        }
    }
}

impl Write for v1::DeletePrefixRequest {
    type Response = v1::DeletePrefixResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let tag = shape::tag(self.tag)?;
        Ok(Tagged { tag, command: Command::DeletePrefix { prefix: self.prefix } })
    }

    fn response(outcome: Outcome) -> Result<v1::DeletePrefixResponse, Refused> {
        match outcome {
            Outcome::Deleted { existed } => Ok(v1::DeletePrefixResponse { existed }),
            _ => Err(Refused::unexpected("a delete")),
        }
    }
}

impl Write for v1::CompareAndSetRequest {
    type Response = v1::CompareAndSetResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let tag = shape::tag(self.tag)?;
        let (key, value, flags) = (self.key, self.value, self.flags);
        let expected = ApiIndex(self.expected_modify_index);
        Ok(Tagged { tag, command: Command::CompareAndSet { key, value, flags, expected } })
    }

    fn response(outcome: Outcome) -> Result<v1::CompareAndSetResponse, Refused> {
        match outcome {
            Outcome::Written { modify_index } => {
                Ok(v1::CompareAndSetResponse { succeeded: true, modify_index: modify_index.0 })
            }
            Outcome::Mismatch { modify_index } => Ok(v1::CompareAndSetResponse {
                succeeded: false,
                modify_index: modify_index.map_or(0, |index| index.0),
            }),
            _ => Err(Refused::unexpected("a compare-and-set")),
        }
    }
}

impl Write for v1::AcquireRequest {
    type Response = v1::AcquireResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let (tag, session) = (shape::tag(self.tag)?, shape::session(&self.session)?);
        let (key, value, flags) = (self.key, self.value, self.flags);
        Ok(Tagged { tag, command: Command::Acquire { key, value, flags, session } })
    }

    fn response(outcome: Outcome) -> Result<v1::AcquireResponse, Refused> {
        shape::acquire_response(&outcome)
    }
}

impl Write for v1::ReleaseRequest {
    type Response = v1::ReleaseResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let (tag, session) = (shape::tag(self.tag)?, shape::session(&self.session)?);
        let (key, value, flags) = (self.key, self.value, self.flags);
        Ok(Tagged { tag, command: Command::Release { key, value, flags, session } })
    }

    fn response(outcome: Outcome) -> Result<v1::ReleaseResponse, Refused> {
        match outcome {
            Outcome::Written { modify_index } => {
                Ok(v1::ReleaseResponse { released: true, modify_index: modify_index.0 })
            }
            Outcome::NotHeld => Ok(v1::ReleaseResponse { released: false, modify_index: 0 }),
            _ => Err(Refused::unexpected("a release")),
        }
    }
}

/// One that only reads is no write: `Kv.Txn` answers it without the log.
impl Write for v1::TxnRequest {
    type Response = v1::TxnResponse;

    fn proposal(self) -> Result<Tagged, Refused> {
        let (tag, ops) = (shape::tag(self.tag)?, shape::ops(self.ops)?);
        if !ops.iter().any(TxnOp::is_write) {
            return Err(Refused::field("ops", "no operation writes: send it to Kv.Txn; nothing to do"));
        }
        Ok(Tagged { tag, command: Command::Txn(ops) })
    }

    fn response(outcome: Outcome) -> Result<v1::TxnResponse, Refused> {
        shape::txn_response(outcome)
    }
}
