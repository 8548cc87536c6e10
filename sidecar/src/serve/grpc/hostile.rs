//! Requests of clients over gRPC: each is understood or refused in words, never a panic (B6, P10; raft.md §7, 21).

use bytes::Bytes;
use prost::Message;
use quorate_api::v1;
use quorate_fuzz::Samples;
use quorate_machine::Tagged;
use tonic::metadata::MetadataMap;

use super::write::Write;
use super::{autopilot, call, shape};

fn tag() -> v1::Tag {
    v1::Tag { client_id: 9, sequence: 7, acked_below: 5 }
}

fn operations() -> Vec<v1::TxnOp> {
    use v1::txn_op::Op;
    let key = || v1::TxnKey { key: Bytes::from_static(b"a/key") };
    let index = || v1::TxnIndex { key: Bytes::from_static(b"a/key"), expected_modify_index: 9 };
    let value = Bytes::from_static(b"a value");
    [
        Op::Set(v1::TxnSet { key: key().key, value: value.clone(), flags: 42 }),
        Op::Cas(v1::TxnCas { key: key().key, value, flags: 42, expected_modify_index: 9 }),
        Op::Get(key()),
        Op::GetOrEmpty(key()),
        Op::GetPrefix(key()),
        Op::Delete(key()),
        Op::DeletePrefix(key()),
        Op::DeleteCas(index()),
        Op::CheckIndex(index()),
        Op::CheckNotExists(key()),
    ]
    .map(|op| v1::TxnOp { op: Some(op) })
    .into()
}

/// Transactions have every operation there is; the other writes are a key, a value and a tag. What is understood is
/// written to the log and read back as it was meant.
#[test]
fn writes_of_clients_never_panic() {
    let (key, value) = (Bytes::from_static(b"a/key"), Bytes::from_static(b"a value"));
    let put = v1::PutRequest { key, value, flags: 42, tag: Some(tag()) };
    let txn = v1::TxnRequest { ops: operations(), tag: Some(tag()), ..v1::TxnRequest::default() };
    let alone =
        operations().into_iter().map(|op| v1::TxnRequest { ops: vec![op], ..v1::TxnRequest::default() });
    let encoded = alone.map(|txn| txn.encode_to_vec()).chain([put.encode_to_vec(), txn.encode_to_vec()]);
    quorate_fuzz::bytes("writes_of_clients_never_panic", &Samples::new(encoded), |bytes| {
        proposed::<v1::PutRequest>(bytes);
        proposed::<v1::DeleteRequest>(bytes);
        proposed::<v1::AcquireRequest>(bytes);
        if let Ok(txn) = v1::TxnRequest::decode(bytes) {
            let _ = shape::consistency(txn.consistency);
        }
        proposed::<v1::TxnRequest>(bytes);
        let _ = v1::WriteRequest::decode(bytes);
    });
}

fn proposed<W: Write + Message + Default>(bytes: &[u8]) {
    let Ok(write) = W::decode(bytes) else { return };
    if let Ok(tagged) = write.proposal()
        && tagged.command.validate().is_ok()
    {
        assert_eq!(Tagged::decode(&tagged.encode()), Ok(tagged));
    }
}

/// Changes of membership, settings and recoveries: names, addresses, intents, versions.
#[test]
fn requests_of_operators_never_panic() {
    let id = || Some(v1::ServerId { raft_id: "db-1-3f2a91c4".to_owned(), incarnation: "7".repeat(32) });
    let kind = v1::intent::Kind::Voter(v1::VoterIntent {});
    let add = v1::AddNonVoterRequest {
        id: id(),
        address: "db-1.members.ns.svc.:7400".to_owned(),
        intent: Some(v1::Intent { kind: Some(kind) }),
        expected_configuration_index: 9,
        version_min: 1,
        version_max: 1,
    };
    let bootstrap = v1::BootstrapRequest { cluster_id: "7".repeat(32), id: id(), mode: v1::Mode::Log.into() };
    let recover = v1::RecoverRequest { epoch: 1, lost_raft_ids: vec!["db-0".to_owned(), "db-2".to_owned()] };
    let settings = v1::SetAutopilotConfigurationRequest {
        last_contact_threshold_ms: Some(200),
        max_trailing_logs: Some(250),
        min_quorum: Some(3),
        ..v1::SetAutopilotConfigurationRequest::default()
    };
    let samples = Samples::new([
        add.encode_to_vec(),
        bootstrap.encode_to_vec(),
        recover.encode_to_vec(),
        settings.encode_to_vec(),
    ]);
    quorate_fuzz::bytes("requests_of_operators_never_panic", &samples, |bytes| {
        if let Ok(add) = v1::AddNonVoterRequest::decode(bytes) {
            let _ = (shape::server_id("id", add.id), shape::address(&add.address), shape::intent(add.intent));
            let _ = shape::versions(add.version_min, add.version_max);
        }
        let _ = v1::BootstrapRequest::decode(bytes).map(|request| shape::cluster_id(&request.cluster_id));
        let _ = v1::RecoverRequest::decode(bytes).map(|request| shape::recovery(&request));
        let _ = v1::SetAutopilotConfigurationRequest::decode(bytes).map(|set| {
            let defaults = quorate_autopilot::Defaults::hashicorp(3);
            quorate_autopilot::validate(&autopilot::change(&set), &defaults)
        });
    });
}

/// A caller's deadline as gRPC writes it.
#[test]
fn deadlines_of_callers_never_panic() {
    let samples = Samples::new(["1S", "500m", "99999999H", "2M", "7u", "8n"]);
    quorate_fuzz::bytes("deadlines_of_callers_never_panic", &samples, |bytes| {
        let mut metadata = MetadataMap::new();
        if let Ok(value) = String::from_utf8_lossy(bytes).parse() {
            metadata.insert("grpc-timeout", value);
        }
        let _ = call::timeout(&metadata);
    });
}
