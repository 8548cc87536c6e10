//! `Kv.Watch`: every change once, in order and without a gap, through any member and over changes of leader.

use bytes::Bytes;
use prost::Message;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::watch_request::What;
use quorate_api::v1::{self, ErrorCode, ErrorDetail, key_event};
use quorate_sidecar::dev::Cluster;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::{PATIENCE, cluster};

type Kv = KvClient<Channel>;

async fn connect(cluster: &Cluster, member: usize) -> Kv {
    KvClient::connect(format!("http://127.0.0.1:{}", cluster.ports(member).grpc)).await.unwrap()
}

/// A watch, and what it says first.
async fn watch(
    kv: &mut Kv,
    what: What,
    after_index: u64,
) -> Result<(Streaming<v1::WatchResponse>, u64), Status> {
    let request = v1::WatchRequest { what: Some(what), after_index };
    let mut stream = kv.watch(request).await?.into_inner();
    let first = next(&mut stream).await?;
    assert_eq!(first.events, [], "at once, and empty");
    Ok((stream, first.index))
}

async fn next(stream: &mut Streaming<v1::WatchResponse>) -> Result<v1::WatchResponse, Status> {
    timeout(PATIENCE, stream.message())
        .await
        .expect("a word every ten seconds")
        .map(|response| response.unwrap())
}

fn prefix(text: &'static str) -> What {
    What::Prefix(Bytes::from_static(text.as_bytes()))
}

async fn put(kv: &mut Kv, key: &str, value: &str) -> u64 {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    kv.put(v1::PutRequest { key, value, ..Default::default() }).await.unwrap().into_inner().modify_index
}

/// What is seen until a change of this key, that one included, as text; and the index to go on from.
async fn seen_until(stream: &mut Streaming<v1::WatchResponse>, last: &str) -> (Vec<String>, u64) {
    let (mut seen, mut before) = (Vec::new(), 0);
    loop {
        let response = next(stream).await.unwrap();
        for event in response.events {
            assert!(event.index >= before, "in order");
            before = event.index;
            seen.push(told(event));
        }
        if seen.last().is_some_and(|seen| seen.contains(last)) {
            assert_eq!(response.index, before);
            return (seen, response.index);
        }
    }
}

fn told(event: v1::KeyEvent) -> String {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    match event.what.unwrap() {
        key_event::What::Put(entry) => {
            assert_eq!(entry.modify_index, event.index);
            format!("{}={}", text(&entry.key), text(&entry.value))
        }
        key_event::What::Deleted(key) => format!("{} deleted", text(&key)),
        key_event::What::PrefixDeleted(prefix) => format!("{}* deleted", text(&prefix)),
    }
}

/// K25, api.md: whoever watches, through whatever member, sees the same changes in the same order, and nothing else: no other
/// keys, no write that changed nothing, no transaction that failed.
#[tokio::test]
async fn every_member_tells_the_same_changes_in_order() {
    let (mut cluster, _directory) = cluster(3).await;
    let mut streams = Vec::new();
    let mut writer = connect(&cluster, 0).await;
    let acknowledged = put(&mut writer, "a/before", "x").await;
    for member in 0..3 {
        let (stream, index) = watch(&mut connect(&cluster, member).await, prefix("a/"), 0).await.unwrap();
        assert!(index >= acknowledged, "K11: after what was acknowledged before");
        streams.push(stream);
    }
    let (mut one, _) = watch(&mut connect(&cluster, 1).await, What::Key("a/1".into()), 0).await.unwrap();
    put(&mut writer, "a/1", "first").await;
    put(&mut writer, "b/1", "elsewhere").await;
    put(&mut writer, "a/1", "first").await;
    let set = |key: &'static str, value: &'static str| v1::TxnOp {
        op: Some(v1::txn_op::Op::Set(v1::TxnSet { key: key.into(), value: value.into(), flags: 0 })),
    };
    let fails = v1::TxnOp { op: Some(v1::txn_op::Op::CheckNotExists(v1::TxnKey { key: "a/1".into() })) };
    for ops in [vec![set("a/2", "no"), fails], vec![set("a/3", "3"), set("b/3", "3"), set("a/2", "2")]] {
        writer.txn(v1::TxnRequest { ops, ..Default::default() }).await.unwrap();
    }
    writer.delete(v1::DeleteRequest { key: "a/2".into(), ..Default::default() }).await.unwrap();
    writer.delete(v1::DeleteRequest { key: "a/none".into(), ..Default::default() }).await.unwrap();
    writer
        .delete_prefix(v1::DeletePrefixRequest { prefix: "a/".into(), ..Default::default() })
        .await
        .unwrap();
    put(&mut writer, "a/end", "x").await;
    for stream in &mut streams {
        let (seen, _) = seen_until(stream, "a/end").await;
        assert_eq!(seen, ["a/1=first", "a/2=2", "a/3=3", "a/2 deleted", "a/* deleted", "a/end=x"]);
    }
    let (seen, _) = seen_until(&mut one, "a/*").await;
    assert_eq!(seen, ["a/1=first", "a/* deleted"]);
    cluster.stop().await;
}

/// api.md: a watch that ended goes on from its index through another member, over a change of leader, and misses nothing.
#[tokio::test]
async fn a_watch_goes_on_from_its_index_through_another_member() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut writer = connect(&cluster, third).await;
    let (mut lasting, _) = watch(&mut connect(&cluster, third).await, prefix(""), 0).await.unwrap();
    let (mut ending, _) = watch(&mut connect(&cluster, leader).await, prefix(""), 0).await.unwrap();
    put(&mut writer, "k1", "1").await;
    put(&mut writer, "k2", "2").await;
    let (seen, index) = seen_until(&mut ending, "k2").await;
    assert_eq!(seen, ["k1=1", "k2=2"]);
    drop(ending);
    put(&mut writer, "k3", "3").await;
    cluster.handle(leader).transfer_leadership(None, Instant::now() + PATIENCE).await.unwrap();
    put(&mut writer, "k4", "4").await;
    cluster.abort_member(leader).await;
    put(&mut writer, "k5", "5").await;
    let (mut again, from) = watch(&mut connect(&cluster, other).await, prefix(""), index).await.unwrap();
    assert!(from >= index);
    assert_eq!(seen_until(&mut again, "k5").await.0, ["k3=3", "k4=4", "k5=5"]);
    assert_eq!(seen_until(&mut lasting, "k5").await.0, ["k1=1", "k2=2", "k3=3", "k4=4", "k5=5"]);
    cluster.stop().await;
}

fn code(status: &Status) -> ErrorCode {
    ErrorDetail::decode(status.details()).unwrap().code()
}

/// K25, K17, P10: what is not kept is no gap but an error that says what to do; so is what makes no sense.
#[tokio::test]
async fn what_is_not_kept_any_more_is_said() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let index = put(&mut kv, "a", "1").await;
    let archive = crate::http_client::get(cluster.ports(0).http, "/v1/snapshot").await.body;
    let (mut stream, _) = watch(&mut kv, prefix(""), index).await.unwrap();
    let token = [("X-Consul-Token", cluster.admin_token())];
    let restored =
        crate::http_client::send(cluster.ports(0).http, "PUT", "/v1/snapshot", &token, &archive).await;
    assert_eq!(restored.status, 200, "{}", restored.text());
    let status = loop {
        match next(&mut stream).await {
            Ok(response) => assert_eq!(response.events, []),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), code(&status)), (Code::OutOfRange, ErrorCode::Compacted), "{status}");
    assert!(status.message().contains("read the keys anew"), "{status}");
    let status = watch(&mut kv, prefix(""), index).await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::Compacted, "{status}");
    let read = kv.get(v1::GetRequest { key: "a".into(), ..Default::default() }).await.unwrap().into_inner();
    let (mut stream, _) = watch(&mut kv, prefix(""), read.mark.unwrap().index).await.unwrap();
    put(&mut kv, "a", "2").await;
    assert_eq!(seen_until(&mut stream, "a").await.0, ["a=2"]);

    for (what, field) in [(None, "what"), (Some(What::Key(Bytes::new())), "key")] {
        let status = kv.watch(v1::WatchRequest { what, after_index: 0 }).await.unwrap_err();
        assert_eq!(ErrorDetail::decode(status.details()).unwrap().field, field, "{status}");
    }
    let long = Some(What::Prefix(vec![b'k'; 4_097].into()));
    let status = kv.watch(v1::WatchRequest { what: long, after_index: 0 }).await.unwrap_err();
    assert_eq!(ErrorDetail::decode(status.details()).unwrap().field, "prefix", "{status}");
    cluster.stop().await;
}

/// K25: a thousand watchers of one prefix see the same, each once, and some who never read hold nobody up.
#[tokio::test]
async fn a_thousand_watchers_hold_nobody_up() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = connect(&cluster, 0).await;
    let (mut readers, mut idle) = (JoinSet::new(), Vec::new());
    for _ in 0..2 {
        // A connection takes 1,024 streams.
        let mut watcher = connect(&cluster, 0).await;
        for number in 0..500 {
            let (mut stream, _) = watch(&mut watcher, prefix("k"), 0).await.unwrap();
            if number < 5 {
                idle.push(stream);
            } else {
                readers.spawn(async move { seen_until(&mut stream, "k49").await.0 });
            }
        }
    }
    for number in 0..50 {
        put(&mut kv, &format!("k{number:02}"), "x").await;
    }
    let wanted: Vec<String> = (0..50).map(|number| format!("k{number:02}=x")).collect();
    while let Some(seen) = readers.join_next().await {
        assert_eq!(seen.unwrap(), wanted);
    }
    cluster.stop().await;
}
