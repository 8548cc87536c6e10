//! Bytes of peers: every frame and every call of the link is understood or refused, never a panic (B6; raft.md §7, 21).

use bytes::Bytes;
use prost::Message as _;
use quorate_api::peer::v1 as proto;
use quorate_api::san;
use quorate_fuzz::Samples;
use quorate_machine::{ApiIndex, ApplicationSnapshot, Outcome, RestoreOrder};
use quorate_raft::{ClusterId, Epoch, Identity, Index, LogId, Message, RecoveryEpoch, Term, Versions};

use super::WireError;
use super::fetch::Wanted;
use super::hello;
use super::leaders::{error_from_wire, propose_response, propose_result, read_index_response};
use super::receiving::Offer;
use super::wire::tests::{bodies, id};
use super::wire::{Hello, log_id_to_wire, message_from_wire, message_to_wire};
use crate::driver::{Applied, CallError, ErrorKind};

fn our_hello() -> Hello {
    let identity = Identity {
        cluster_id: ClusterId(7 << 100),
        recovery_epoch: RecoveryEpoch(1),
        server: id("a"),
        versions: Versions::OURS,
    };
    hello::ours(&identity, Some(id("b")))
}

/// A stream of messages: the first frame with its hello, the others with messages.
#[test]
fn frames_of_peers_never_panic() {
    let message = |body| message_to_wire(Message { from: id("a"), to: id("b"), term: Term(3), body });
    let messages: Vec<proto::Message> = bodies().into_iter().map(message).collect();
    let hello = Some(our_hello().to_wire());
    let (build, zone, upgrade_version) = ("1.2.3".to_owned(), "z1".to_owned(), "2".to_owned());
    let report = proto::Report {
        applied_index: 9,
        term: 3,
        build,
        zone,
        upgrade_version,
        application_applied: 8,
        application_snapshot: 7,
    };
    let mut frames = vec![
        proto::Frame { hello, ..proto::Frame::default() },
        proto::Frame { messages: messages.clone(), is_space_low: true, ..proto::Frame::default() },
        proto::Frame { report: Some(report), ..proto::Frame::default() },
    ];
    let alone = |message| proto::Frame { messages: vec![message], ..proto::Frame::default() };
    frames.extend(messages.into_iter().map(alone));
    let samples = Samples::new(frames.iter().map(proto::Frame::encode_to_vec));
    quorate_fuzz::bytes("frames_of_peers_never_panic", &samples, |bytes| {
        let Ok(frame) = proto::Frame::decode(bytes) else { return };
        if let Some(report) = frame.report {
            crate::autopilot::Reports::default().hear(&id("a"), report);
        }
        let read = Hello::from_wire(frame.hello);
        if let Ok(hello) = &read {
            let identity = Identity { server: id("b"), ..identity_of(hello) };
            let _ = hello::check_words(&identity, Some(quorate_raft::Version(1)), hello);
        }
        let _: Vec<Result<Message, WireError>> = frame.messages.into_iter().map(message_from_wire).collect();
    });
}

fn identity_of(hello: &Hello) -> Identity {
    Identity {
        cluster_id: hello.cluster_id,
        recovery_epoch: hello.recovery_epoch,
        server: hello.sender.clone(),
        versions: hello.versions,
    }
}

/// The other calls: forwarded writes and reads with their answers, snapshots, staged archives. Whatever the bytes are,
/// they are taken for each of them.
#[test]
fn calls_of_peers_never_panic() {
    let hello = Some(our_hello().to_wire());
    let order = RestoreOrder { sha256: [7; 32], bytes: 9_000 };
    let (state, data) = (Some(Wanted::Archive(order).to_wire()), Bytes::from_static(b"bytes of a state"));
    let snapshot = ApplicationSnapshot { index: ApiIndex(9), sha256: [7; 32], bytes: 9_000 };
    let outcome = Outcome::Written { modify_index: ApiIndex(9) };
    let last = Some(log_id_to_wire(LogId::new(Term(3), Index(9))));
    let offer = proto::SnapshotOffer { hello: hello.clone(), term: 3, epoch: Epoch(2).0, last, bytes: 100 };
    let frame = |frame| proto::SnapshotFrame { frame: Some(frame) }.encode_to_vec();
    let error = || CallError::unknown(ErrorKind::Stopping, "why");
    let samples = Samples::new([
        propose_response(Ok(Applied { index: Index(9), outcome })).encode_to_vec(),
        propose_response(Err(error())).encode_to_vec(),
        read_index_response(Ok(Index(9))).encode_to_vec(),
        read_index_response(Err(error())).encode_to_vec(),
        proto::StageRequest { hello: hello.clone(), state: state.clone(), term: 3 }.encode_to_vec(),
        proto::FetchRequest { hello: hello.clone(), state }.encode_to_vec(),
        proto::FetchRequest { hello, state: Some(Wanted::Application(snapshot).to_wire()) }.encode_to_vec(),
        frame(proto::snapshot_frame::Frame::Offer(offer)),
        frame(proto::snapshot_frame::Frame::Chunk(proto::SnapshotChunk { offset: 7, data })),
    ]);
    quorate_fuzz::bytes("calls_of_peers_never_panic", &samples, |bytes| {
        let _ = proto::ProposeResponse::decode(bytes).map(propose_result);
        if let Ok(proto::ReadIndexResponse {
            result: Some(proto::read_index_response::Result::Error(error)),
        }) = proto::ReadIndexResponse::decode(bytes)
        {
            let _ = error_from_wire(error);
        }
        let _ = proto::StageRequest::decode(bytes).map(|request| Wanted::from_wire(request.state));
        let _ = proto::FetchRequest::decode(bytes).map(|request| Hello::from_wire(request.hello));
        if let Ok(proto::SnapshotFrame { frame: Some(proto::snapshot_frame::Frame::Offer(offer)) }) =
            proto::SnapshotFrame::decode(bytes)
        {
            let _ = Offer::from_wire(id("a"), &offer);
        }
    });
}

/// K23: the name in a peer's certificate.
#[test]
fn names_in_certificates_never_panic() {
    let samples = Samples::new([
        "quorate://0123456789abcdef0123456789abcdef/db-1-3f2a91c4",
        "quorate://0123456789abcdef0123456789abcdef/operator",
    ]);
    quorate_fuzz::bytes("names_in_certificates_never_panic", &samples, |bytes| {
        let _ = san::parse(&String::from_utf8_lossy(bytes));
    });
}
