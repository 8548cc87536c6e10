//! The bytes of sessions: in the command that creates one, and in its row.
//!
//! ```text
//! spec = id (16 bytes, big endian) | name | node | behavior u8 | ttl | ttl's text | lock delay | checks u8 (bits node, service, named)
//! row  = format u8 = 1 | create index | spec
//! ```
//! Durations are numbers of nanoseconds.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::command::ApiIndex;
use crate::session::{Behavior, Session, SessionChecks, SessionId, SessionSpec, Ttl};

const FORMAT: u8 = 1;

/// Bytes of an ID in rows' keys.
pub(crate) const ID_BYTES: usize = 16;

impl Session {
    /// Its row; also how a leader tells another member of it.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::default();
        to.byte(FORMAT);
        to.number(self.create_index.0);
        write_spec(&mut to, &self.spec);
        to.finish()
    }

    /// Read a row's bytes.
    pub fn decode(row: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(row);
        from.version("session row", FORMAT)?;
        let create_index = ApiIndex(from.number("create index")?);
        let spec = read_spec(&mut from)?;
        from.end()?;
        Ok(Self { spec, create_index })
    }
}

pub(crate) fn write_id(to: &mut Writer, id: SessionId) {
    to.bytes(&id.0.to_be_bytes());
}

pub(crate) fn read_id(from: &mut Reader<'_>) -> Result<SessionId, DecodeError> {
    id_of(&from.bytes("session")?)
}

/// The ID in these bytes.
pub(crate) fn id_of(bytes: &[u8]) -> Result<SessionId, DecodeError> {
    let bytes = <[u8; ID_BYTES]>::try_from(bytes);
    let bytes = bytes.map_err(|_| DecodeError::OutOfRange { what: "length of a session's ID" })?;
    Ok(SessionId(u128::from_be_bytes(bytes)))
}

pub(crate) fn write_spec(to: &mut Writer, spec: &SessionSpec) {
    write_id(to, spec.id);
    to.bytes(spec.name.as_bytes());
    to.bytes(spec.node.as_bytes());
    to.byte(match spec.behavior {
        Behavior::Release => 0,
        Behavior::Delete => 1,
    });
    write_duration(to, spec.ttl.duration);
    to.bytes(spec.ttl.text.as_bytes());
    write_duration(to, spec.lock_delay);
    let SessionChecks { node, service, named } = spec.checks;
    to.byte(u8::from(node) | u8::from(service) << 1 | u8::from(named) << 2);
}

pub(crate) fn read_spec(from: &mut Reader<'_>) -> Result<SessionSpec, DecodeError> {
    let id = read_id(from)?;
    let (name, node) = (from.text("session name")?, from.text("session node")?);
    let behavior = match from.byte("session behavior")? {
        0 => Behavior::Release,
        1 => Behavior::Delete,
        tag => return Err(DecodeError::UnknownTag { what: "session behavior", tag: u64::from(tag) }),
    };
    let ttl = Ttl { duration: read_duration(from)?, text: from.text("session TTL")? };
    let lock_delay = read_duration(from)?;
    let checks = match from.byte("session checks")? {
        bits @ 0..=7 => SessionChecks { node: bits & 1 != 0, service: bits & 2 != 0, named: bits & 4 != 0 },
        tag => return Err(DecodeError::UnknownTag { what: "session checks", tag: u64::from(tag) }),
    };
    Ok(SessionSpec { id, name, node, behavior, ttl, lock_delay, checks })
}

/// Longer than 584 years is not written.
pub(crate) fn write_duration(to: &mut Writer, duration: Duration) {
    to.number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

pub(crate) fn read_duration(from: &mut Reader<'_>) -> Result<Duration, DecodeError> {
    from.number("duration").map(Duration::from_nanos)
}

/// A lock delay's row: what remains of it, as far as the log knows (K21).
pub(crate) fn delay_row(remaining: Duration) -> Bytes {
    let mut to = Writer::default();
    to.byte(FORMAT);
    write_duration(&mut to, remaining);
    to.finish()
}

pub(crate) fn read_delay_row(row: &Bytes) -> Result<Duration, DecodeError> {
    let mut from = Reader::new(row);
    from.version("lock delay row", FORMAT)?;
    let remaining = read_duration(&mut from)?;
    from.end()?;
    Ok(remaining)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::generate;

    proptest! {
        /// K24: a session's row means the same on every member.
        #[test]
        fn a_session_survives_its_bytes(spec in generate::session_spec(), index in any::<u64>()) {
            let session = Session { spec, create_index: ApiIndex(index) };
            prop_assert_eq!(Session::decode(&session.encode()).unwrap(), session);
        }

        /// Rows come with snapshots: any bytes give a session or an error.
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), known in any::<bool>()) {
            if known && !bytes.is_empty() {
                bytes[0] = FORMAT;
            }
            let _ = Session::decode(&bytes.into());
        }
    }
}
