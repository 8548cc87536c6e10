//! Between wire and core: every message of a peer is converted and checked here, and nowhere else.
//!
//! Past this file types are trusted. Bytes from a peer can be refused, never panic (B6): whatever is
//! missing, too long or unknown is a [`WireError`] that names the field, and the connection ends.
//! Not here: whether a message makes sense now; the core judges that.

use bytes::Bytes;
use quorate_api::peer::v1 as proto;
use quorate_raft::{
    Address, AppendOutcome, Body, ClusterId, Configuration, Entry, Epoch, Incarnation, Index, Intent, LogId,
    Message, Mode, Payload, RaftId, RecoveryEpoch, Round, Server, ServerId, Suffrage, Term, Version,
    Versions,
};

/// What a peer sent can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable message from a peer: {field}: {problem}")]
pub struct WireError {
    field: &'static str,
    problem: String,
}

impl WireError {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "missing")
    }
}

/// What both sides say first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What its sender speaks (K24).
    pub versions: Versions,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The recovery epoch of its directory.
    pub recovery_epoch: RecoveryEpoch,
    /// Who sends it.
    pub sender: ServerId,
    /// Whom it means to reach; only in a caller's.
    pub expected: Option<ServerId>,
}

impl Hello {
    /// For the wire.
    pub fn to_wire(&self) -> proto::Hello {
        proto::Hello {
            version_min: self.versions.min.0,
            version_max: self.versions.max.0,
            cluster_id: Bytes::copy_from_slice(&self.cluster_id.0.to_be_bytes()),
            recovery_epoch: self.recovery_epoch.0,
            sender: Some(server_id_to_wire(&self.sender)),
            expected: self.expected.as_ref().map(server_id_to_wire),
        }
    }

    /// From the wire.
    pub fn from_wire(hello: Option<proto::Hello>) -> Result<Self, WireError> {
        let hello = hello.ok_or_else(|| WireError::missing("hello"))?;
        Ok(Self {
            versions: Versions { min: Version(hello.version_min), max: Version(hello.version_max) },
            cluster_id: ClusterId(number128("hello.cluster_id", &hello.cluster_id)?),
            recovery_epoch: RecoveryEpoch(hello.recovery_epoch),
            sender: server_id("hello.sender", hello.sender)?,
            expected: hello.expected.map(|id| server_id("hello.expected", Some(id))).transpose()?,
        })
    }
}

/// A message for the wire.
pub(super) fn message_to_wire(message: Message) -> proto::Message {
    proto::Message {
        from: Some(server_id_to_wire(&message.from)),
        to: Some(server_id_to_wire(&message.to)),
        term: message.term.0,
        body: Some(body_to_wire(message.body)),
    }
}

/// A message from the wire.
pub(super) fn message_from_wire(message: proto::Message) -> Result<Message, WireError> {
    let body = message.body.ok_or_else(|| WireError::missing("body"))?;
    Ok(Message {
        from: server_id("from", message.from)?,
        to: server_id("to", message.to)?,
        term: Term(message.term),
        body: body_from_wire(body)?,
    })
}

fn body_to_wire(body: Body) -> proto::message::Body {
    use proto::message::Body as Wire;
    match body {
        Body::PreVoteRequest { proposed, last } => Wire::PreVoteRequest(proto::PreVoteRequest {
            proposed: proposed.0,
            last: Some(log_id_to_wire(last)),
        }),
        Body::PreVoteResponse { proposed, granted } => {
            Wire::PreVoteResponse(proto::PreVoteResponse { proposed: proposed.0, granted })
        }
        Body::VoteRequest { last, is_transfer } => {
            Wire::VoteRequest(proto::VoteRequest { last: Some(log_id_to_wire(last)), is_transfer })
        }
        Body::VoteResponse { granted } => Wire::VoteResponse(proto::VoteResponse { granted }),
        Body::AppendRequest { epoch, previous, entries, commit } => {
            Wire::AppendRequest(proto::AppendRequest {
                epoch: epoch.0,
                previous: Some(log_id_to_wire(previous)),
                entries: entries.into_iter().map(entry_to_wire).collect(),
                commit: commit.0,
            })
        }
        Body::AppendResponse { epoch, outcome } => Wire::AppendResponse(proto::AppendResponse {
            epoch: epoch.0,
            outcome: Some(outcome_to_wire(outcome)),
        }),
        Body::HeartbeatRequest { epoch, round } => {
            Wire::HeartbeatRequest(proto::HeartbeatRequest { epoch: epoch.0, round: round.0 })
        }
        Body::HeartbeatResponse { epoch, round, commit, applied, lacks } => {
            Wire::HeartbeatResponse(proto::HeartbeatResponse {
                epoch: epoch.0,
                round: round.0,
                commit: commit.0,
                applied: applied.0,
                lacks: lacks.0,
            })
        }
        Body::TimeoutNow => Wire::TimeoutNow(proto::TimeoutNow {}),
        Body::VolumeLost { recorded } => {
            Wire::VolumeLost(proto::VolumeLost { recorded: Some(server_id_to_wire(&recorded)) })
        }
    }
}

fn body_from_wire(body: proto::message::Body) -> Result<Body, WireError> {
    use proto::message::Body as Wire;
    Ok(match body {
        Wire::PreVoteRequest(body) => Body::PreVoteRequest {
            proposed: Term(body.proposed),
            last: log_id("pre_vote_request.last", body.last)?,
        },
        Wire::PreVoteResponse(body) => {
            Body::PreVoteResponse { proposed: Term(body.proposed), granted: body.granted }
        }
        Wire::VoteRequest(body) => {
            Body::VoteRequest { last: log_id("vote_request.last", body.last)?, is_transfer: body.is_transfer }
        }
        Wire::VoteResponse(body) => Body::VoteResponse { granted: body.granted },
        Wire::AppendRequest(body) => {
            let previous = log_id("append_request.previous", body.previous)?;
            Body::AppendRequest {
                epoch: Epoch(body.epoch),
                previous,
                entries: entries_from_wire(previous.index, body.entries)?,
                commit: Index(body.commit),
            }
        }
        Wire::AppendResponse(body) => {
            Body::AppendResponse { epoch: Epoch(body.epoch), outcome: outcome_from_wire(body.outcome)? }
        }
        Wire::HeartbeatRequest(body) => {
            Body::HeartbeatRequest { epoch: Epoch(body.epoch), round: Round(body.round) }
        }
        Wire::HeartbeatResponse(body) => Body::HeartbeatResponse {
            epoch: Epoch(body.epoch),
            round: Round(body.round),
            commit: Index(body.commit),
            applied: Index(body.applied),
            lacks: Index(body.lacks),
        },
        Wire::TimeoutNow(_) => Body::TimeoutNow,
        Wire::VolumeLost(body) => {
            Body::VolumeLost { recorded: server_id("volume_lost.recorded", body.recorded)? }
        }
    })
}

fn outcome_to_wire(outcome: AppendOutcome) -> proto::append_response::Outcome {
    use proto::append_response::Outcome as Wire;
    match outcome {
        AppendOutcome::Accepted { matched } => Wire::Accepted(proto::AppendAccepted { matched: matched.0 }),
        AppendOutcome::Rejected { previous, hint } => {
            Wire::Rejected(proto::AppendRejected { previous: previous.0, hint: Some(log_id_to_wire(hint)) })
        }
    }
}

fn outcome_from_wire(outcome: Option<proto::append_response::Outcome>) -> Result<AppendOutcome, WireError> {
    use proto::append_response::Outcome as Wire;
    Ok(match outcome.ok_or_else(|| WireError::missing("append_response.outcome"))? {
        Wire::Accepted(accepted) => AppendOutcome::Accepted { matched: Index(accepted.matched) },
        Wire::Rejected(rejected) => AppendOutcome::Rejected {
            previous: Index(rejected.previous),
            hint: log_id("append_rejected.hint", rejected.hint)?,
        },
    })
}

fn entry_to_wire(entry: Entry) -> proto::Entry {
    use proto::entry::Payload as Wire;
    let payload = match entry.payload {
        Payload::Noop => Wire::Noop(proto::Noop {}),
        Payload::Barrier => Wire::Barrier(proto::Barrier {}),
        Payload::Command(command) => Wire::Command(command),
        Payload::Configuration(configuration) => Wire::Configuration(configuration_to_wire(&configuration)),
    };
    proto::Entry { term: entry.term.0, payload: Some(payload) }
}

/// Entries follow `previous` without gaps, so their indexes are not sent.
fn entries_from_wire(previous: Index, entries: Vec<proto::Entry>) -> Result<Vec<Entry>, WireError> {
    use proto::entry::Payload as Wire;
    let mut index = previous;
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        let next = index.0.checked_add(1).ok_or_else(|| WireError::new("entries", "index too large"))?;
        index = Index(next);
        let payload = match entry.payload.ok_or_else(|| WireError::missing("entry.payload"))? {
            Wire::Noop(_) => Payload::Noop,
            Wire::Barrier(_) => Payload::Barrier,
            Wire::Command(command) => Payload::Command(command),
            Wire::Configuration(configuration) => {
                Payload::Configuration(configuration_from_wire(configuration)?)
            }
        };
        found.push(Entry { term: Term(entry.term), index, payload });
    }
    Ok(found)
}

fn configuration_to_wire(configuration: &Configuration) -> proto::Configuration {
    let servers = configuration.servers().iter().map(|server| {
        let (intent, replaces) = match &server.intent {
            Intent::Voter => (proto::Intent::Voter, None),
            Intent::ReadReplica => (proto::Intent::ReadReplica, None),
            Intent::ReplacementFor(old) => (proto::Intent::ReplacementFor, Some(server_id_to_wire(old))),
        };
        let suffrage = match server.suffrage {
            Suffrage::Voter => proto::Suffrage::Voter,
            Suffrage::NonVoter => proto::Suffrage::NonVoter,
            Suffrage::Incoming => proto::Suffrage::Incoming,
            Suffrage::Outgoing => proto::Suffrage::Outgoing,
        };
        proto::Server {
            id: Some(server_id_to_wire(&server.id)),
            address: server.address.as_str().to_owned(),
            suffrage: suffrage.into(),
            intent: intent.into(),
            replaces,
        }
    });
    proto::Configuration {
        servers: servers.collect(),
        recovery_epoch: configuration.recovery_epoch().0,
        cluster_version: configuration.version().0,
        mode: match configuration.mode() {
            Mode::KeyValue => proto::Mode::KeyValue,
            Mode::Log => proto::Mode::Log,
        }
        .into(),
    }
}

fn configuration_from_wire(configuration: proto::Configuration) -> Result<Configuration, WireError> {
    let recovery_epoch = RecoveryEpoch(configuration.recovery_epoch);
    let cluster_version = Version(configuration.cluster_version);
    let mode = match configuration.mode() {
        proto::Mode::KeyValue => Mode::KeyValue,
        proto::Mode::Log => Mode::Log,
        proto::Mode::Unspecified => return Err(WireError::missing("configuration.mode")),
    };
    let servers = configuration.servers.into_iter().map(server_from_wire).collect::<Result<_, _>>()?;
    let configuration =
        Configuration::new(servers).map_err(|error| WireError::new("configuration", error.to_string()))?;
    Ok(configuration.in_epoch(recovery_epoch).at_version(cluster_version).for_mode(mode))
}

fn server_from_wire(server: proto::Server) -> Result<Server, WireError> {
    let suffrage = match server.suffrage() {
        proto::Suffrage::Voter => Suffrage::Voter,
        proto::Suffrage::NonVoter => Suffrage::NonVoter,
        proto::Suffrage::Incoming => Suffrage::Incoming,
        proto::Suffrage::Outgoing => Suffrage::Outgoing,
        proto::Suffrage::Unspecified => return Err(WireError::missing("server.suffrage")),
    };
    let intent = match server.intent() {
        proto::Intent::Voter => Intent::Voter,
        proto::Intent::ReadReplica => Intent::ReadReplica,
        proto::Intent::ReplacementFor => {
            Intent::ReplacementFor(server_id("server.replaces", server.replaces.clone())?)
        }
        proto::Intent::Unspecified => return Err(WireError::missing("server.intent")),
    };
    let address =
        Address::new(&server.address).map_err(|error| WireError::new("server.address", error.to_string()))?;
    Ok(Server { id: server_id("server.id", server.id)?, address, suffrage, intent })
}

/// A server's identity for the wire.
pub(super) fn server_id_to_wire(id: &ServerId) -> proto::ServerId {
    proto::ServerId {
        raft_id: id.raft_id.as_str().to_owned(),
        incarnation: Bytes::copy_from_slice(&id.incarnation.0.to_be_bytes()),
    }
}

fn server_id(field: &'static str, id: Option<proto::ServerId>) -> Result<ServerId, WireError> {
    let id = id.ok_or_else(|| WireError::missing(field))?;
    let raft_id = RaftId::new(&id.raft_id).map_err(|error| WireError::new(field, error.to_string()))?;
    Ok(ServerId::new(raft_id, Incarnation(number128(field, &id.incarnation)?)))
}

/// A log position for the wire.
pub(super) fn log_id_to_wire(id: LogId) -> proto::LogId {
    proto::LogId { term: id.term.0, index: id.index.0 }
}

/// A log position from the wire.
pub(super) fn log_id(field: &'static str, id: Option<proto::LogId>) -> Result<LogId, WireError> {
    let id = id.ok_or_else(|| WireError::missing(field))?;
    Ok(LogId::new(Term(id.term), Index(id.index)))
}

fn number128(field: &'static str, bytes: &[u8]) -> Result<u128, WireError> {
    let bytes: [u8; 16] =
        bytes.try_into().map_err(|_| WireError::new(field, format!("{} bytes, not 16", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use prost::Message as _;

    use super::*;

    pub(in crate::link) fn id(name: &str) -> ServerId {
        ServerId::new(RaftId::new(name).unwrap(), Incarnation((0xfeed << 100) | 7))
    }

    pub(in crate::link) fn bodies() -> Vec<Body> {
        let at = |term, index| LogId::new(Term(term), Index(index));
        let server = |name: &str, suffrage, intent| Server {
            id: id(name),
            address: Address::new("db-0.svc.:7400").unwrap(),
            suffrage,
            intent,
        };
        let configuration = Configuration::new(vec![
            server("a", Suffrage::Voter, Intent::Voter),
            server("b", Suffrage::NonVoter, Intent::ReplacementFor(id("a"))),
            server("c", Suffrage::NonVoter, Intent::ReadReplica),
            server("d", Suffrage::Outgoing, Intent::Voter),
            server("e", Suffrage::Incoming, Intent::ReplacementFor(id("d"))),
        ])
        .unwrap()
        .in_epoch(RecoveryEpoch(2))
        .at_version(Version(3))
        .for_mode(Mode::Log);
        let entry = |index, payload| Entry { term: Term(3), index: Index(index), payload };
        vec![
            Body::PreVoteRequest { proposed: Term(4), last: at(3, 9) },
            Body::PreVoteResponse { proposed: Term(4), granted: true },
            Body::VoteRequest { last: at(3, 9), is_transfer: true },
            Body::VoteResponse { granted: false },
            Body::AppendRequest {
                epoch: Epoch(5),
                previous: at(2, 8),
                entries: vec![
                    entry(9, Payload::Noop),
                    entry(10, Payload::Command(Bytes::from_static(b"x"))),
                    entry(11, Payload::Configuration(configuration)),
                    entry(12, Payload::Barrier),
                ],
                commit: Index(8),
            },
            Body::AppendResponse { epoch: Epoch(5), outcome: AppendOutcome::Accepted { matched: Index(12) } },
            Body::AppendResponse {
                epoch: Epoch(5),
                outcome: AppendOutcome::Rejected { previous: Index(8), hint: at(1, 4) },
            },
            Body::HeartbeatRequest { epoch: Epoch(5), round: Round(77) },
            Body::HeartbeatResponse {
                epoch: Epoch(5),
                round: Round(77),
                commit: Index(6),
                applied: Index(4),
                lacks: Index(5),
            },
            Body::TimeoutNow,
            Body::VolumeLost { recorded: id("b") },
        ]
    }

    /// Each kind of message survives the wire unchanged; a field forgotten in one direction shows here.
    #[test]
    fn every_message_is_read_back_as_it_was_sent() {
        for body in bodies() {
            let message = Message { from: id("a"), to: id("b"), term: Term(3), body };
            let bytes = message_to_wire(message.clone()).encode_to_vec();
            let read = message_from_wire(proto::Message::decode(&*bytes).unwrap()).unwrap();
            assert_eq!(read, message);
        }
    }

    /// B6: bytes of a peer are refused, never a panic: every prefix and every flipped bit of every message.
    #[test]
    fn damaged_messages_are_refused_without_a_panic() {
        for body in bodies() {
            let message = Message { from: id("a"), to: id("b"), term: Term(3), body };
            let bytes = message_to_wire(message).encode_to_vec();
            for end in 0..bytes.len() {
                let _ = proto::Message::decode(&bytes[..end]).map(message_from_wire);
            }
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let _ = proto::Message::decode(&*bytes).map(message_from_wire);
            }
        }
    }

    /// B6: what is missing is named, so that the log line of a refused connection helps.
    #[test]
    fn a_message_without_a_sender_is_refused_by_the_field_s_name() {
        let message = proto::Message {
            from: None,
            to: Some(server_id_to_wire(&id("b"))),
            term: 1,
            body: Some(proto::message::Body::TimeoutNow(proto::TimeoutNow {})),
        };
        let error = message_from_wire(message).unwrap_err();
        assert_eq!(error.to_string(), "unreadable message from a peer: from: missing");
    }
}
