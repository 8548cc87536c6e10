//! The acceptance vectors of consul-http.md §9 about sessions and locks (42-59), against a real cluster.

use std::time::Duration;

use serde_json::json;

use crate::http_client::{Answer, delete, get, put};
use crate::{PATIENCE, cluster, follower};

/// A session made from this body; its ID.
async fn create(port: u16, body: &str) -> String {
    let created = put(port, "/v1/session/create", body.as_bytes()).await;
    assert_eq!(created.status, 200, "{body}: {}", created.text());
    assert_eq!(created.header("x-consul-index"), None);
    let id = created.json()["ID"].as_str().unwrap().to_owned();
    assert_eq!(created.text(), format!("{{\"ID\":\"{id}\"}}"));
    id
}

async fn info(port: u16, id: &str) -> serde_json::Value {
    get(port, &format!("/v1/session/info/{id}")).await.json()[0].clone()
}

async fn text(answer: impl Future<Output = Answer>) -> (u16, String) {
    let answer = answer.await;
    (answer.status, answer.text().to_owned())
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

/// Vectors 42 to 44 and 46: what a session is, with defaults and as Patroni asks for it.
#[tokio::test]
async fn a_session_is_created_and_shown_in_consuls_form() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let empty = get(port, "/v1/session/list").await;
    assert_eq!((empty.status, empty.text()), (200, "[]"));
    assert!(empty.index() >= 1);

    let id = create(port, "").await;
    let read = get(port, &format!("/v1/session/info/{id}")).await;
    let index = read.index();
    let shown = format!(
        r#"[{{"ID":"{id}","Name":"","Node":"dev-0","LockDelay":15000000000,"Behavior":"release","TTL":"","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":{index},"ModifyIndex":{index}}}]"#
    );
    assert_eq!((read.status, read.text()), (200, shown.as_str()));
    assert_eq!(read.header("x-consul-knownleader"), Some("true"));

    let patroni = r#"{"name":"n","checks":[],"lockdelay":"0.001s","behavior":"delete","ttl":"15.0s"}"#;
    let id = create(port, patroni).await;
    let session = info(port, &id).await;
    assert_eq!(session["LockDelay"], 1_000_000);
    assert_eq!((&session["TTL"], &session["NodeChecks"]), (&json!("15.0s"), &json!([])));
    assert_eq!((&session["Name"], &session["Behavior"]), (&json!("n"), &json!("delete")));
    for (body, delay) in [
        (r#"{"LockDelay":15}"#, 15_000_000_000_u64),
        (r#"{"LockDelay":"20s"}"#, 20_000_000_000),
        (r#"{"LockDelay":"0s"}"#, 0),
    ] {
        let id = create(port, body).await;
        assert_eq!(info(port, &id).await["LockDelay"], delay, "{body}");
    }
    cluster.stop().await;
}

/// Vectors 45, 47, 48 and 76: the same words from every member.
#[tokio::test]
async fn what_is_wrong_with_a_session_is_told_in_consuls_words_by_every_member() {
    let (mut cluster, _directory) = cluster(3).await;
    for member in 0..3 {
        let port = cluster.ports(member).http;
        let refused = async |body: &str| text(put(port, "/v1/session/create", body.as_bytes())).await;
        for (body, what) in [
            (r#"{"TTL":"5s"}"#, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
            (r#"{"TTL":"25h"}"#, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]"),
            (r#"{"Behavior":"boo"}"#, "Invalid Behavior setting 'boo'"),
        ] {
            assert_eq!(refused(body).await, (500, what.to_owned()), "{body}");
        }
        for (body, status, what) in [
            (r#"{"TTL":"x"}"#, 500, "Session TTL 'x' invalid"),
            (r#"{"NodeChecks":["dne"]}"#, 500, "Missing check 'dne' registration"),
            (r#"{"LockDelay":"5"}"#, 400, "Request decode failed"),
            ("{", 400, "Request decode failed"),
            (r#"{"TTL":15}"#, 400, "Request decode failed"),
        ] {
            let (found, text) = refused(body).await;
            assert_eq!(found, status, "{body}: {text}");
            assert!(text.starts_with(what), "{body}: {text}");
        }
        for body in [r#"{"TTL":"0s"}"#, r#"{"TTL":"24h"}"#, r#"{"TTL":"10s"}"#, r#"{"Foo":1}"#] {
            create(port, body).await;
        }
    }
    cluster.stop().await;
}

/// Vectors 49, 50 and 52.
#[tokio::test]
async fn sessions_are_renewed_listed_and_destroyed_through_every_member() {
    let (mut cluster, _directory) = cluster(3).await;
    let (here, there) = (cluster.ports(0).http, cluster.ports(follower(&cluster).await).http);
    let id = create(there, r#"{"TTL":"600s"}"#).await;
    for member in 0..3 {
        let port = cluster.ports(member).http;
        let renewed = put(port, &format!("/v1/session/renew/{id}"), b"").await;
        assert_eq!((renewed.status, renewed.header("x-consul-index")), (200, None));
        let session = &renewed.json()[0];
        assert_eq!((&session["ID"], &session["TTL"]), (&json!(id), &json!("600s")));
    }
    let node = info(here, &id).await["Node"].as_str().unwrap().to_owned();
    let on_node = get(here, &format!("/v1/session/node/{node}")).await;
    assert_eq!(on_node.json()[0]["ID"], json!(id));
    assert_eq!(text(get(here, "/v1/session/node/zzz")).await, ok("[]"));
    let list = get(here, "/v1/session/list").await;

    let waiting = tokio::spawn({
        let target = format!("/v1/session/list?index={}&wait=60s", list.index());
        async move { get(there, &target).await }
    });
    let second = create(here, "").await;
    let woken = waiting.await.unwrap();
    assert!(woken.index() > list.index());
    assert_eq!(woken.json().as_array().unwrap().len(), 2);
    let waiting = tokio::spawn({
        let target = format!("/v1/session/info/{second}?index={}&wait=60s", woken.index());
        async move { get(there, &target).await }
    });
    assert_eq!(text(put(here, &format!("/v1/session/destroy/{second}"), b"")).await, ok("true"));
    let gone = waiting.await.unwrap();
    assert_eq!(gone.text(), "[]");
    assert!(gone.index() > woken.index());

    let unknown = "01234567-89ab-4def-8123-456789abcdef";
    for none in [unknown, "nope", second.as_str()] {
        assert_eq!(text(put(there, &format!("/v1/session/destroy/{none}"), b"")).await, ok("true"));
        let renewed = text(put(there, &format!("/v1/session/renew/{none}"), b"")).await;
        assert_eq!(renewed, (404, format!("Session id '{none}' not found")));
        let info = get(there, &format!("/v1/session/info/{none}")).await;
        assert_eq!((info.status, info.text()), (200, "[]"));
        assert!(info.index() >= 1);
    }
    for call in ["renew", "destroy"] {
        let missing = text(put(here, &format!("/v1/session/{call}/"), b"")).await;
        assert_eq!(missing, (400, "Missing session".to_owned()));
    }
    assert_eq!(text(get(here, "/v1/session/node/")).await, (400, "Missing node name".to_owned()));
    cluster.stop().await;
}

/// Vectors 53 to 55: acquire and release, through every member.
#[tokio::test]
async fn a_key_is_acquired_and_released() {
    let (mut cluster, _directory) = cluster(3).await;
    let (port, there) = (cluster.ports(0).http, cluster.ports(follower(&cluster).await).http);
    let (s, t) = (create(port, "").await, create(there, "").await);
    let acquire = async |port: u16, session: &str, value: &str| {
        text(put(port, &format!("/v1/kv/l?acquire={session}"), value.as_bytes())).await
    };
    let release = async |session: &str, value: &str| {
        text(put(port, &format!("/v1/kv/l?release={session}"), value.as_bytes())).await
    };
    assert_eq!(release(&s, "x").await, ok("false"), "a missing key");
    assert_eq!(acquire(port, &s, "v").await, ok("true"));
    let held = get(there, "/v1/kv/l").await;
    assert_eq!(held.json()[0]["LockIndex"], 1);
    assert_eq!(held.json()[0]["Session"], json!(s));
    assert_eq!(acquire(there, &s, "v").await, ok("true"));
    assert_eq!(get(port, "/v1/kv/l").await.modify_index(), held.modify_index());
    assert_eq!(acquire(port, &s, "w").await, ok("true"));
    let again = get(port, "/v1/kv/l").await;
    assert_eq!(again.json()[0]["LockIndex"], 1);
    assert!(again.modify_index() > held.modify_index());

    assert_eq!(acquire(there, &t, "t").await, ok("false"));
    assert_eq!(get(port, "/v1/kv/l").await.text(), again.text());
    for unknown in ["01234567-89ab-4def-8123-456789abcdef", "x"] {
        for member in [port, there] {
            let invalid = (500, format!("invalid session \"{unknown}\""));
            assert_eq!(acquire(member, unknown, "u").await, invalid);
        }
        assert_eq!(release(unknown, "u").await, ok("false"));
    }
    assert_eq!(acquire(port, "", "u").await, (500, "missing session".to_owned()));
    assert_eq!(release("", "u").await, (500, "missing session".to_owned()));

    assert_eq!(release(&t, "no").await, ok("false"));
    assert_eq!(release(&s, "fin").await, ok("true"));
    let free = get(port, "/v1/kv/l").await.json()[0].clone();
    assert_eq!(free.get("Session"), None);
    assert_eq!((&free["LockIndex"], &free["Value"]), (&json!(1), &json!("Zmlu")));
    assert_eq!(release(&s, "fin").await, ok("false"));
    assert_eq!(acquire(port, &s, "v").await, ok("true"));
    assert_eq!(get(port, "/v1/kv/l").await.json()[0]["LockIndex"], 2);
    assert_eq!(text(put(port, "/v1/kv/l", b"o")).await, ok("true"));
    let plain = get(port, "/v1/kv/l").await.json()[0].clone();
    assert_eq!((&plain["Session"], &plain["LockIndex"]), (&json!(s), &json!(0)));
    assert_eq!(text(delete(port, "/v1/kv/l")).await, ok("true"));
    assert_eq!(acquire(there, &t, "t").await, ok("true"), "no delay after a delete");
    cluster.stop().await;
}

/// Vectors 57 and 58: the end of a session frees or deletes its keys, wakes who waits for them, and holds others off.
#[tokio::test]
async fn the_end_of_a_session_frees_or_deletes_its_keys() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let t = create(port, "").await;
    for (behavior, key) in [("release", "r"), ("delete", "d")] {
        let s = create(port, &format!(r#"{{"LockDelay":"100ms","Behavior":"{behavior}"}}"#)).await;
        let lock =
            async |session: &str| text(put(port, &format!("/v1/kv/{key}?acquire={session}"), b"v")).await.1;
        assert_eq!(lock(&s).await, "true");
        let held = get(port, &format!("/v1/kv/{key}")).await;
        let waiting: Vec<_> = ["", "&recurse"]
            .into_iter()
            .map(|query| format!("/v1/kv/{key}?index={}&wait=60s{query}", held.index()))
            .map(|target| tokio::spawn(async move { get(port, &target).await }))
            .collect();
        put(port, &format!("/v1/session/destroy/{s}"), b"").await;
        for woken in waiting {
            let woken = woken.await.unwrap();
            assert!(woken.index() > held.index());
            assert_eq!(woken.status, if behavior == "delete" { 404 } else { 200 });
            if behavior == "release" {
                let entry = &woken.json()[0];
                assert_eq!((entry.get("Session"), &entry["LockIndex"]), (None, &json!(1)));
            }
        }
        // The delay is the leader's to end: after it the lock can be had.
        let acquired = async {
            while lock(&t).await != "true" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, acquired).await.expect("the lock delay never ends");
    }
    cluster.stop().await;
}

/// Vector 93: a restart of every server loses neither sessions nor locks, and no index falls.
#[tokio::test]
async fn sessions_and_locks_outlive_a_restart_of_every_server() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let id = create(port, r#"{"TTL":"600s","LockDelay":"1s"}"#).await;
    let acquired = put(port, &format!("/v1/kv/l?acquire={id}&flags=7"), b"v").await;
    assert_eq!(acquired.text(), "true");
    let ended = create(port, r#"{"LockDelay":"60s"}"#).await;
    put(port, &format!("/v1/kv/delayed?acquire={ended}"), b"v").await;
    put(port, &format!("/v1/session/destroy/{ended}"), b"").await;
    let (session, key) = (get(port, "/v1/session/list").await, get(port, "/v1/kv/l").await);
    cluster.stop_member(0).await;
    cluster.start_again(0).await.unwrap();
    cluster.leader(PATIENCE).await.unwrap();
    let (session_after, key_after) = (get(port, "/v1/session/list").await, get(port, "/v1/kv/l").await);
    assert_eq!((session_after.text(), session_after.index()), (session.text(), session.index()));
    assert_eq!((key_after.text(), key_after.index()), (key.text(), key.index()));
    assert_eq!(put(port, &format!("/v1/session/renew/{id}"), b"").await.status, 200);
    let delayed = put(port, &format!("/v1/kv/delayed?acquire={id}"), b"w").await;
    assert_eq!(delayed.text(), "false", "the lock delay goes on");
    cluster.stop().await;
}
