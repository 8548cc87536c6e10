//! `Kv.Write`: many writes on one stream, each answered by its number.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::numbered_result::Result as Answer;
use quorate_api::v1::numbered_write::Write;
use quorate_api::v1::{self, ErrorCode, NumberedWrite, WriteOutcome, txn_op::Op};
use tonic::transport::Channel;

use crate::cluster;
use quorate_sidecar::dev::Cluster;

async fn connect(cluster: &Cluster, member: usize) -> KvClient<Channel> {
    KvClient::connect(format!("http://127.0.0.1:{}", cluster.ports(member).grpc)).await.unwrap()
}

fn put(key: String, value: impl Into<Bytes>) -> Write {
    Write::Put(v1::PutRequest { key: key.into(), value: value.into(), ..Default::default() })
}

/// Sends these in messages of so many, ends its side, and collects everything; numbers count from 0. Also says in how many
/// messages the results came.
async fn pipelined(
    kv: &mut KvClient<Channel>,
    writes: Vec<Write>,
    together: usize,
) -> (BTreeMap<u64, Answer>, usize) {
    let numbered: Vec<_> =
        (0..).zip(writes).map(|(number, write)| NumberedWrite { number, write: Some(write) }).collect();
    let requests: Vec<_> =
        numbered.chunks(together).map(|writes| v1::WriteRequest { writes: writes.to_vec() }).collect();
    let mut responses = kv.write(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let (mut answers, mut messages) = (BTreeMap::new(), 0);
    while let Some(response) = responses.message().await.unwrap() {
        messages += 1;
        for result in response.results {
            let earlier =
                answers.insert(result.number, result.result.expect("every result says what it came to"));
            assert!(earlier.is_none(), "{} was answered twice", result.number);
        }
    }
    (answers, messages)
}

/// Every write is answered once, far more than may be under way at once, in single messages and in large ones, through
/// the leader and through others.
#[tokio::test]
async fn every_write_of_a_stream_is_answered_once() {
    let (mut cluster, _directory) = cluster(3).await;
    for (member, together) in [(0, 1), (1, 64), (2, 5_000), (0, 3_000)] {
        let mut kv = connect(&cluster, member).await;
        let writes =
            (0..5_000).map(|number| put(format!("m{member}/{number}"), number.to_string())).collect();
        let (answers, messages) = pipelined(&mut kv, writes, together).await;
        assert_eq!(answers.len(), 5_000);
        assert!(messages < 5_000, "results share messages");
        for (number, answer) in answers {
            assert!(matches!(answer, Answer::Put(put) if put.modify_index > 0), "{number}: {answer:?}");
        }
        let read = v1::GetRequest { key: format!("m{member}/4321").into(), ..Default::default() };
        assert_eq!(kv.get(read).await.unwrap().into_inner().entry.unwrap().value, "4321");
    }
    cluster.stop().await;
}

/// Each kind of write is answered in its own words, and one that is refused stops none of the others.
#[tokio::test]
async fn each_kind_of_write_has_its_own_answer_and_a_refusal_ends_nothing() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let (answers, _) = pipelined(&mut kv, vec![put("a".into(), "1"), put("b".into(), "2")], 2).await;
    let Answer::Put(a) = answers[&0] else { panic!("{answers:?}") };
    let key = |name: &'static str| Bytes::from_static(name.as_bytes());
    let get = Op::Get(v1::TxnKey { key: key("b") });
    let set = Op::Set(v1::TxnSet { key: key("c"), value: key("3"), flags: 0 });
    let txn = |ops: Vec<Op>| {
        let ops = ops.into_iter().map(|op| v1::TxnOp { op: Some(op) }).collect();
        Write::Txn(v1::TxnRequest { ops, ..Default::default() })
    };
    let writes = vec![
        Write::CompareAndSet(v1::CompareAndSetRequest {
            key: key("a"),
            value: key("2"),
            expected_modify_index: a.modify_index,
            ..Default::default()
        }),
        put(String::new(), "a key is missing"),
        txn(vec![get.clone(), set]),
        txn(vec![get]),
        Write::Delete(v1::DeleteRequest { key: key("none"), ..Default::default() }),
        Write::DeletePrefix(v1::DeletePrefixRequest { prefix: key("none"), tag: None }),
        Write::Acquire(v1::AcquireRequest {
            key: key("a"),
            session: "no session".into(),
            ..Default::default()
        }),
        Write::Release(v1::ReleaseRequest {
            key: key("a"),
            session: "no session".into(),
            ..Default::default()
        }),
    ];
    let (answers, _) = pipelined(&mut kv, writes, 3).await;
    assert!(matches!(&answers[&0], Answer::CompareAndSet(set) if set.succeeded), "{answers:?}");
    assert!(matches!(&answers[&2], Answer::Txn(txn) if txn.succeeded && txn.results[0].value == "2"));
    assert!(matches!(&answers[&4], Answer::Delete(delete) if delete.succeeded && !delete.existed));
    assert!(matches!(&answers[&5], Answer::DeletePrefix(delete) if !delete.existed));
    for (number, field) in [(1, "key"), (3, "ops"), (6, "session"), (7, "session")] {
        let Answer::Refused(refused) = &answers[&number] else { panic!("{number}: {answers:?}") };
        let detail = refused.detail.as_ref().unwrap();
        assert_eq!(detail.code(), ErrorCode::InvalidArgument, "{refused:?}");
        assert_eq!(detail.write_outcome(), WriteOutcome::NotApplied);
        assert_eq!(detail.field, field, "{}", refused.message);
    }
    cluster.stop().await;
}

/// K20: what a stream that broke off left open is sent again on another under its tag, and applied once.
#[tokio::test]
async fn a_write_sent_again_on_another_stream_is_applied_once() {
    let (mut cluster, _directory) = cluster(3).await;
    let (mut first, mut second) = (connect(&cluster, 0).await, connect(&cluster, 1).await);
    let client_id = first.register_client(v1::RegisterClientRequest {}).await.unwrap().into_inner().client_id;
    let sets = || {
        (1..=100).map(|sequence| {
            // Only if missing: applied twice, it would be answered with a mismatch.
            let tag = Some(v1::Tag { client_id, sequence, acked_below: 1 });
            let key = format!("once/{sequence}").into();
            Write::CompareAndSet(v1::CompareAndSetRequest { key, tag, ..Default::default() })
        })
    };
    let (one, _) = pipelined(&mut first, sets().collect(), 10).await;
    let (other, _) = pipelined(&mut second, sets().collect(), 100).await;
    assert_eq!(one, other);
    assert!(one.values().all(|answer| matches!(answer, Answer::CompareAndSet(set) if set.succeeded)));
    cluster.stop().await;
}

/// Large results do not add up to a message that the client refuses.
#[tokio::test]
async fn large_results_come_in_messages_of_their_own() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let value = vec![b'x'; 400 * 1024];
    pipelined(&mut kv, vec![put("large".into(), value)], 1).await;
    let ops = [
        Op::Get(v1::TxnKey { key: "large".into() }),
        Op::Set(v1::TxnSet { key: "mark".into(), value: Bytes::new(), flags: 0 }),
    ];
    let txn =
        v1::TxnRequest { ops: ops.map(|op| v1::TxnOp { op: Some(op) }).into(), ..v1::TxnRequest::default() };
    let (answers, messages) = pipelined(&mut kv, vec![Write::Txn(txn); 30], 30).await;
    assert_eq!((answers.len(), messages), (30, 30));
    cluster.stop().await;
}

/// A member that stops answers what it has begun, and ends the stream.
#[tokio::test]
async fn a_member_that_stops_answers_what_is_open() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let writes = vec![NumberedWrite { number: 7, write: Some(put("k".into(), "v")) }];
    sender.send(v1::WriteRequest { writes }).await.unwrap();
    let mut responses = kv.write(requests).await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().results[0].number, 7);
    // The client has not ended its side.
    let ended =
        tokio::time::timeout(crate::PATIENCE, async { tokio::join!(cluster.stop(), responses.message()).1 });
    assert_eq!(ended.await.unwrap().unwrap(), None);
    drop(sender);
}

/// P10: a request that is too large ends the stream with a reason, after what came before it is answered.
#[tokio::test]
async fn a_request_that_cannot_be_read_is_told_after_what_is_open_is_answered() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let request = |number, value: Vec<u8>| {
        let writes = vec![NumberedWrite { number, write: Some(put(format!("k{number}"), value)) }];
        v1::WriteRequest { writes }
    };
    let requests = [request(1, vec![b'x'; 10]), request(2, vec![b'x'; 5 * 1024 * 1024])];
    let mut responses = kv.write(tokio_stream::iter(requests)).await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().results[0].number, 1);
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    cluster.stop().await;
}

/// Writes that a leader does not take any more go to the next one; what it took and cannot tell of is unknown, and nothing
/// is left unanswered.
#[tokio::test]
async fn a_stream_goes_on_when_its_member_hands_leadership_over() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(crate::PATIENCE).await.unwrap();
    let mut kv = connect(&cluster, leader).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let send = async |numbers: std::ops::Range<u64>| {
        let write = |number: u64| Some(put(format!("handed/{number}"), "v"));
        let writes = numbers.map(|number| NumberedWrite { number, write: write(number) }).collect();
        sender.send(v1::WriteRequest { writes }).await.unwrap();
    };
    let mut responses = kv.write(requests).await.unwrap().into_inner();
    let answers = tokio::spawn(async move {
        let mut answers = BTreeMap::new();
        while let Some(response) = responses.message().await.unwrap() {
            for result in response.results {
                assert!(answers.insert(result.number, result.result.unwrap()).is_none(), "answered twice");
            }
        }
        answers
    });
    for first in (0..1_000).step_by(10) {
        if first == 500 {
            let deadline = tokio::time::Instant::now() + crate::PATIENCE;
            cluster.handle(leader).transfer_leadership(None, deadline).await.unwrap();
        }
        send(first..first + 10).await;
    }
    drop(sender);
    let answers = tokio::time::timeout(crate::PATIENCE, answers).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1_000);
    for (number, answer) in answers {
        match answer {
            Answer::Put(_) => {}
            Answer::Refused(why) if number < 500 => {
                assert_eq!(why.detail.unwrap().write_outcome(), WriteOutcome::Unknown, "{}", why.message);
            }
            answer => panic!("{number}: {answer:?}"),
        }
    }
    cluster.stop().await;
}

/// A write that is not applied in time is told to be of unknown outcome, and the stream goes on.
#[tokio::test]
async fn a_write_that_is_overdue_is_told_and_the_stream_goes_on() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let (go_on, still) = std::sync::mpsc::channel::<()>();
    let handle = cluster.handle(0).clone();
    let stands = tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + crate::PATIENCE;
        let stand = move |_: &quorate_sidecar::driver::State| {
            // Ends when the other end is dropped.
            let _ = still.recv();
            Ok(())
        };
        handle.read(quorate_sidecar::driver::Consistency::Stale, deadline, stand).await
    });
    let (answers, _) = pipelined(&mut kv, vec![put("late".into(), "v")], 1).await;
    let Answer::Refused(refused) = &answers[&0] else { panic!("{answers:?}") };
    assert_eq!(refused.detail.as_ref().unwrap().write_outcome(), WriteOutcome::Unknown, "{refused:?}");
    drop(go_on);
    stands.await.unwrap().unwrap();
    let (answers, _) = pipelined(&mut kv, vec![put("soon".into(), "v")], 1).await;
    assert!(matches!(answers[&0], Answer::Put(_)), "{answers:?}");
    cluster.stop().await;
}
