//! Invalid gRPC input (P10): the code, the field, the limit and the way out; nothing is changed.

use prost::Message;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::{self, ErrorCode, ErrorDetail, WriteOutcome};
use tonic::{Code, Status};

use crate::cluster;

fn refused(status: &Status, field: &str, text: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
    assert!(status.message().contains(text), "{field}: {}", status.message());
    let detail = ErrorDetail::decode(status.details()).unwrap();
    assert_eq!((detail.code(), detail.field.as_str()), (ErrorCode::InvalidArgument, field));
    assert_eq!(detail.write_outcome(), WriteOutcome::NotApplied);
    assert_eq!(detail.retry_after_ms, 0, "a retry of the same call won't help");
}

fn put(key: usize, value: usize) -> v1::PutRequest {
    v1::PutRequest { key: vec![b'k'; key].into(), value: vec![0; value].into(), ..Default::default() }
}

fn txn(op: v1::txn_op::Op, count: usize) -> v1::TxnRequest {
    v1::TxnRequest { ops: vec![v1::TxnOp { op: Some(op) }; count], ..Default::default() }
}

/// P10, K25: limits of keys, values and transactions.
#[tokio::test]
async fn limits_of_writes_are_named_and_hold() {
    use v1::txn_op::Op;
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = KvClient::connect(format!("http://127.0.0.1:{}", cluster.ports(0).grpc)).await.unwrap();
    refused(&kv.put(put(0, 1)).await.unwrap_err(), "key", "the key is empty: name one");
    refused(&kv.put(put(4_097, 1)).await.unwrap_err(), "key", "the limit is 4096 (KEY_BYTES_MAX)");
    refused(&kv.put(put(1, 524_289)).await.unwrap_err(), "value", "the limit is 524288 (VALUE_BYTES_MAX)");
    kv.put(put(4_096, 524_288)).await.unwrap();

    let key = |key: &'static str| v1::TxnKey { key: key.into() };
    let set = |bytes| v1::TxnSet { key: "k".into(), value: vec![0; bytes].into(), flags: 0 };
    refused(&kv.txn(txn(Op::Get(key("k")), 129)).await.unwrap_err(), "ops", "the limit is 128 (TXN_OPS_MAX)");
    refused(&kv.txn(txn(Op::Get(key("k")), 0)).await.unwrap_err(), "ops", "no operations");
    refused(&kv.txn(txn(Op::Set(set(400_000)), 2)).await.unwrap_err(), "ops", "(TXN_BYTES_MAX)");
    refused(&kv.txn(txn(Op::Set(set(524_289)), 1)).await.unwrap_err(), "value", "(VALUE_BYTES_MAX)");
    refused(&kv.txn(txn(Op::GetPrefix(key("")), 1)).await.unwrap_err(), "key", "the key is empty");
    let empty = v1::TxnRequest { ops: vec![v1::TxnOp { op: None }], ..Default::default() };
    refused(&kv.txn(empty).await.unwrap_err(), "ops", "operation 0 is empty or newer");

    let delete = v1::DeletePrefixRequest { prefix: vec![b'k'; 4_097].into(), tag: None };
    refused(&kv.delete_prefix(delete).await.unwrap_err(), "key", "(KEY_BYTES_MAX)");
    let tagged = |client_id, sequence, acked_below| {
        let tag = Some(v1::Tag { client_id, sequence, acked_below });
        v1::PutRequest { tag, ..put(1, 1) }
    };
    refused(&kv.put(tagged(0, 1, 1)).await.unwrap_err(), "tag.client_id", "call RegisterClient first");
    refused(&kv.put(tagged(9, 1, 2)).await.unwrap_err(), "tag.acked_below", "above tag.sequence=1");
    cluster.stop().await;
}

/// P10: reads.
#[tokio::test]
async fn limits_of_reads_are_named_and_hold() {
    let (mut cluster, _directory) = cluster(1).await;
    let mut kv = KvClient::connect(format!("http://127.0.0.1:{}", cluster.ports(0).grpc)).await.unwrap();
    let list = v1::ListRequest::default();
    let over = v1::ListRequest { limit: 1_001, ..list.clone() };
    refused(&kv.list(over).await.unwrap_err(), "limit", "the most is 1000 (LIST_ROWS_MAX)");
    let cut = v1::ListRequest { separator: "/".into(), ..list.clone() };
    refused(&kv.list(cut).await.unwrap_err(), "separator", "needs keys_only=true");
    let long = v1::ListRequest { prefix: vec![b'k'; 4_097].into(), ..list.clone() };
    refused(&kv.list(long).await.unwrap_err(), "prefix", "(KEY_BYTES_MAX)");
    let after = v1::ListRequest { after: vec![b'k'; 4_097].into(), ..list.clone() };
    refused(&kv.list(after).await.unwrap_err(), "after", "(KEY_BYTES_MAX)");
    let fresh = v1::ListRequest { consistency: 7, ..list };
    refused(&kv.list(fresh).await.unwrap_err(), "consistency", "use LINEARIZABLE (0) or STALE (1)");
    let get = v1::GetRequest::default();
    refused(&kv.get(get).await.unwrap_err(), "key", "the key is empty");
    cluster.stop().await;
}
