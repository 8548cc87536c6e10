//! The acceptance vectors of consul-http.md §9 about transactions (60-75), against a real cluster.

use serde_json::{Value, json};

use crate::http_client::{Answer, delete, get, put, send};
use crate::{cluster, follower};

async fn txn(port: u16, ops: &Value) -> Answer {
    put(port, "/v1/txn", ops.to_string().as_bytes()).await
}

fn op(verb: &str, key: &str) -> Value {
    json!({"KV": {"Verb": verb, "Key": key}})
}

fn with(verb: &str, key: &str, field: &str, value: impl Into<Value>) -> Value {
    let mut op = op(verb, key);
    op["KV"][field] = value.into();
    op
}

/// The texts of the errors, each with its operation.
fn errors(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, 409, "{}", answer.text());
    let body = answer.json();
    assert!(body["Results"].is_null());
    let error =
        |error: &Value| (error["OpIndex"].as_u64().unwrap(), error["What"].as_str().unwrap().to_owned());
    body["Errors"].as_array().unwrap().iter().map(error).collect()
}

/// Vectors 60, 63 to 66, 68 and 70.
#[tokio::test]
async fn transactions_are_answered_in_consuls_form() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let written = txn(port, &json!([with("set", "a", "Value", "MQ=="), op("get", "a")])).await;
    let index = get(port, "/v1/kv/a").await.modify_index();
    let entry = |value: &str| {
        format!(
            r#"{{"KV":{{"LockIndex":0,"Key":"a","Flags":0,"Value":{value},"CreateIndex":{index},"ModifyIndex":{index}}}}}"#
        )
    };
    let expected = format!(r#"{{"Results":[{},{}],"Errors":null}}"#, entry("null"), entry("\"MQ==\""));
    assert_eq!((written.status, written.text()), (200, expected.as_str()));
    assert_eq!(written.header("x-consul-index"), None);

    let before = get(port, "/v1/kv/a").await;
    let stale = txn(port, &json!([with("set", "a", "Value", "Mg=="), with("cas", "b", "Index", 999)])).await;
    assert_eq!(errors(&stale), [(1, "failed to set key \"b\", index is stale".to_owned())]);
    let after = get(port, "/v1/kv/a").await;
    assert_eq!((after.text(), after.index()), (before.text(), before.index()));

    let results = async |ops: Value| {
        let answer = txn(port, &ops).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["Results"].as_array().unwrap().len()
    };
    assert_eq!(results(json!([op("set", "k2"), op("delete", "k1")])).await, 1);
    assert_eq!(results(json!([op("delete", "k2")])).await, 0);
    assert_eq!(results(json!([op("get-tree", "none/")])).await, 0);
    assert_eq!(results(json!([op("set", "p/1"), op("set", "p/2"), op("get-tree", "p/")])).await, 4);
    assert_eq!(results(json!([op("check-not-exists", "none")])).await, 0);
    assert_eq!(results(json!([with("delete-cas", "none", "Index", 7)])).await, 0);
    assert_eq!(results(json!([with("check-index", "a", "Index", index)])).await, 1);
    assert_eq!(results(json!([])).await, 0);
    assert_eq!(results(Value::from(vec![op("get-or-empty", "none"); 128])).await, 128);
    let many = txn(port, &Value::from(vec![op("get-or-empty", "none"); 129])).await;
    assert_eq!(many.status, 413);
    assert_eq!(many.text(), "Transaction contains too many operations (129 > 128)");
    let empty = txn(port, &json!([op("get-or-empty", "none")])).await;
    let kv = &empty.json()["Results"][0]["KV"];
    assert_eq!((&kv["Key"], &kv["Value"], &kv["ModifyIndex"]), (&json!("none"), &Value::Null, &json!(0)));

    let other = index + 1;
    let ops = json!([with("check-index", "a", "Index", other), op("check-not-exists", "a")]);
    let wrong = txn(port, &ops).await;
    let texts = [
        (0, format!("failed index check for key \"a\", current modify index {index} != {other}")),
        (1, "key \"a\" exists".to_owned()),
    ];
    assert_eq!(errors(&wrong), texts);
    let stale = txn(port, &json!([with("delete-cas", "a", "Index", other)])).await;
    assert_eq!(errors(&stale), [(0, "failed to delete key \"a\", index is stale".to_owned())]);
    cluster.stop().await;
}

/// Vectors 61, 62, 67 and 69, through a member that does not lead.
#[tokio::test]
async fn transactions_lock_and_check_who_holds_a_key() {
    let (mut cluster, _directory) = cluster(3).await;
    let port = cluster.ports(follower(&cluster).await).http;
    let create = async |body: &str| {
        let created = put(port, "/v1/session/create", body.as_bytes()).await.json();
        created["ID"].as_str().unwrap().to_owned()
    };
    let (s, t) = (create(r#"{"LockDelay":"60s"}"#).await, create("").await);
    let mut lock = with("lock", "k", "Session", s.clone());
    lock["KV"]["Flags"] = json!(23);
    let locked = txn(port, &json!([lock, op("get", "k")])).await.json();
    for result in locked["Results"].as_array().unwrap() {
        let kv = &result["KV"];
        assert_eq!((&kv["LockIndex"], &kv["Session"], &kv["Flags"]), (&json!(1), &json!(s), &json!(23)));
    }
    let failures = errors(
        &txn(
            port,
            &json!([
                with("lock", "k", "Session", ""),
                op("get", "missing"),
                with("lock", "k", "Session", "nope"),
                with("lock", "k", "Session", t.clone()),
                with("unlock", "k", "Session", t.clone()),
            ]),
        )
        .await,
    );
    let texts: Vec<&str> = failures.iter().map(|(_, what)| what.as_str()).collect();
    assert_eq!(
        texts,
        [
            "missing session",
            "key \"missing\" doesn't exist",
            "invalid session \"nope\"",
            "failed to lock key \"k\", lock is already held",
            "failed to unlock key \"k\", lock isn't held, or is held by another session",
        ]
    );
    let guarded = json!([with("check-session", "k", "Session", s.clone()), op("set", "d")]);
    let done = txn(port, &guarded).await;
    assert_eq!((done.status, done.json()["Results"].as_array().unwrap().len()), (200, 2));
    assert!(done.json()["Results"][0]["KV"]["Value"].is_null());
    delete(port, "/v1/kv/d").await;
    put(port, &format!("/v1/session/destroy/{s}"), b"").await;
    let lost = errors(&txn(port, &guarded).await);
    assert_eq!(lost[0], (0, format!("failed session check for key \"k\", current session \"\" != \"{s}\"")));
    let delayed = txn(port, &json!([with("lock", "k", "Session", t)])).await;
    assert_eq!(errors(&delayed), [(0, "failed to lock key \"k\" due to lock delay".to_owned())]);
    delete(port, "/v1/kv/k").await;
    let missing = errors(&txn(port, &guarded).await);
    assert_eq!(missing[0], (0, "failed to check session, key \"k\" doesn't exist".to_owned()));
    assert_eq!(get(port, "/v1/kv/d").await.status, 404, "nothing was written without the lock");
    cluster.stop().await;
}

/// Vectors 71, 72, 74 and 75.
#[tokio::test]
async fn transactions_that_cannot_be_run_are_refused() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let wrong = txn(port, &json!([op("boo", "a"), op("set", "")])).await;
    let texts = [(0, "unknown KV operation: boo".to_owned()), (1, "Must provide key".to_owned())];
    assert_eq!(errors(&wrong), texts);
    for body in ["", "{", "{}"] {
        let refused = put(port, "/v1/txn", body.as_bytes()).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().starts_with("Failed to parse body"), "{}", refused.text());
    }
    let large = put(port, "/v1/txn", &vec![b' '; 524_289]).await;
    assert_eq!(large.status, 413);
    assert!(large.text().contains("too large"), "{}", large.text());
    assert_eq!(send(port, "POST", "/v1/txn", &[], b"").await.status, 405);
    let read = txn(port, &json!([op("get-or-empty", "a")])).await;
    assert_eq!(read.header("x-consul-knownleader"), Some("true"));
    assert_eq!(read.header("x-consul-lastcontact"), Some("0"));
    assert_eq!(read.header("x-consul-index"), None);
    let stale = put(port, "/v1/txn?stale", json!([op("get-or-empty", "a")]).to_string().as_bytes()).await;
    assert_eq!(stale.status, 200);
    cluster.stop().await;
}
