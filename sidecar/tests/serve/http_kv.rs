//! The acceptance vectors of consul-http.md §9 that apply to keys (1-27), against a real cluster.

use crate::http_client::{chunked, delete, get, put, send};
use crate::{cluster, follower};

/// Vectors 1 to 4: the answers Consul's clients parse, byte for byte.
#[tokio::test]
async fn a_key_is_written_and_read_in_consuls_form() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let written = put(port, "/v1/kv/a", b"x").await;
    assert_eq!((written.status, written.text()), (200, "true"));
    assert_eq!(written.header("content-type"), Some("application/json"));
    assert_eq!(written.header("x-consul-index"), None);

    let read = get(port, "/v1/kv/a").await;
    let index = read.index();
    assert!(index >= 2, "index 1 means empty; this is {index}");
    let entry = format!(
        r#"[{{"LockIndex":0,"Key":"a","Flags":0,"Value":"eA==","CreateIndex":{index},"ModifyIndex":{index}}}]"#
    );
    assert_eq!((read.status, read.text()), (200, entry.as_str()));
    assert_eq!(read.header("x-consul-knownleader"), Some("true"));
    assert_eq!(read.header("x-consul-lastcontact"), Some("0"));
    assert_eq!(read.header("x-consul-default-acl-policy"), Some("allow"));

    let missing = get(port, "/v1/kv/none").await;
    assert_eq!((missing.status, missing.text()), (404, ""));
    assert!(missing.index() >= 1);
    assert_eq!(missing.header("x-consul-knownleader"), Some("true"));

    let raw = get(port, "/v1/kv/a?raw").await;
    assert_eq!((raw.status, raw.text()), (200, "x"));
    assert_eq!(raw.header("content-type"), Some("text/plain"));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(raw.header("content-security-policy"), Some("sandbox"));
    assert_eq!(get(port, "/v1/kv/none?raw").await.status, 404);

    let pretty = get(port, "/v1/kv/a?pretty").await;
    assert!(pretty.text().starts_with("[\n    {\n        \"LockIndex\": 0,"), "{}", pretty.text());
    assert!(pretty.text().ends_with("]\n"));
    cluster.stop().await;
}

/// Vectors 5 to 8: what a repeated write changes, empty values, and flags up to the last bit.
#[tokio::test]
async fn values_flags_and_indexes_change_as_in_consul() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"x").await;
    let first = get(port, "/v1/kv/a").await;
    put(port, "/v1/kv/a", b"x").await;
    assert_eq!(get(port, "/v1/kv/a").await.text(), first.text());
    put(port, "/v1/kv/a", b"y").await;
    let second = get(port, "/v1/kv/a").await;
    assert_eq!(second.json()[0]["CreateIndex"], first.json()[0]["CreateIndex"]);
    assert!(second.modify_index() > first.modify_index());

    assert_eq!(put(port, "/v1/kv/e", b"").await.text(), "true");
    assert!(get(port, "/v1/kv/e").await.json()[0]["Value"].is_null());

    put(port, "/v1/kv/f?flags=42", b"x").await;
    assert_eq!(get(port, "/v1/kv/f").await.json()[0]["Flags"], 42);
    put(port, "/v1/kv/f", b"z").await;
    assert_eq!(get(port, "/v1/kv/f").await.json()[0]["Flags"], 0);
    put(port, "/v1/kv/f?flags=18446744073709551615", b"x").await;
    assert!(get(port, "/v1/kv/f").await.text().contains("\"Flags\":18446744073709551615"));
    cluster.stop().await;
}

/// Vectors 9 to 11.
#[tokio::test]
async fn compare_and_set_and_deletes_hold_to_the_index() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let set = async |query: &str| {
        put(port, &format!("/v1/kv/c?cas={query}"), query.as_bytes()).await.text().to_owned()
    };
    assert_eq!(set("0").await, "true");
    assert_eq!(set("0").await, "false");
    assert_eq!(set("1").await, "false");
    let index = get(port, "/v1/kv/c").await.modify_index();
    assert_eq!(set(&index.to_string()).await, "true");
    assert_eq!(put(port, "/v1/kv/zz?cas=9", b"x").await.text(), "false");

    let index = get(port, "/v1/kv/c").await.modify_index();
    let remove = async |cas: u64| delete(port, &format!("/v1/kv/c?cas={cas}")).await.text().to_owned();
    assert_eq!(remove(index - 1).await, "false");
    assert_eq!(remove(0).await, "false");
    assert_eq!(get(port, "/v1/kv/c").await.status, 200);
    assert_eq!(remove(index).await, "true");
    assert_eq!(remove(7).await, "true", "a missing key is deleted already");
    let missing = delete(port, "/v1/kv/none").await;
    assert_eq!((missing.status, missing.text()), (200, "true"));
    cluster.stop().await;
}

/// Vectors 14 to 18.
#[tokio::test]
async fn trees_are_listed_and_deleted_by_bytes() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let everything = get(port, "/v1/kv/?keys").await;
    assert_eq!((everything.status, everything.text()), (200, "[]"));
    assert_eq!(get(port, "/v1/kv/?recurse").await.status, 404);
    assert_eq!(get(port, "/v1/kv/p?keys").await.status, 404);

    for key in ["zip", "foo/sub2", "bar", "foo/sub1", "baz", "a/1", "a/b/2", "a/b/3"] {
        assert_eq!(put(port, &format!("/v1/kv/{key}"), b"v").await.text(), "true");
    }
    let keys = async |target: &str| get(port, &format!("/v1/kv/{target}")).await.text().to_owned();
    assert_eq!(keys("?keys&seperator=/").await, r#"["a/","bar","baz","foo/","zip"]"#);
    assert_eq!(keys("foo/?keys&recurse").await, r#"["foo/sub1","foo/sub2"]"#);
    assert_eq!(keys("a/?keys&separator=/").await, r#"["a/1","a/b/"]"#);
    assert_eq!(keys("a?keys&separator=/").await, r#"["a/"]"#);
    assert_eq!(keys("a/?keys&separator=b/").await, r#"["a/1","a/b/"]"#);
    let tree = get(port, "/v1/kv/foo?recurse=false").await.json();
    let names: Vec<_> = tree.as_array().unwrap().iter().map(|entry| entry["Key"].as_str().unwrap()).collect();
    assert_eq!(names, ["foo/sub1", "foo/sub2"]);
    assert_eq!(get(port, "/v1/kv/?recurse").await.json().as_array().unwrap().len(), 8);

    for key in ["p", "pq", "p/r"] {
        put(port, &format!("/v1/kv/{key}"), b"v").await;
    }
    assert_eq!(delete(port, "/v1/kv/p?recurse").await.text(), "true");
    assert_eq!(get(port, "/v1/kv/p?keys").await.status, 404);
    cluster.stop().await;
}

/// Vectors 19, 20, 22 and 92: keys and bodies as clients send them.
#[tokio::test]
async fn keys_and_bodies_are_taken_as_sent() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/x%2Fy", b"1").await;
    assert_eq!(get(port, "/v1/kv/x/y?raw").await.text(), "1");
    put(port, "/v1/kv/50%25", b"2").await;
    put(port, "/v1/kv/a+b", b"3").await;
    put(port, "/v1/kv/a//b", b"4").await;
    let keys = get(port, "/v1/kv/?keys").await;
    assert_eq!(keys.text(), r#"["50%","a+b","a//b","x/y"]"#);

    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("X-Consul-Token", "any")];
    send(port, "PUT", "/v1/kv/k", &form, b"a=b").await;
    assert_eq!(get(port, "/v1/kv/k?raw&token=any").await.text(), "a=b");

    let transfer = [("Transfer-Encoding", "chunked")];
    let answer = send(port, "PUT", "/v1/kv/chunks", &transfer, &chunked(b"in pieces")).await;
    assert_eq!((answer.status, answer.text()), (200, "true"));
    assert_eq!(get(port, "/v1/kv/chunks?raw").await.text(), "in pieces");

    let limit = vec![7; 524_288];
    assert_eq!(put(port, "/v1/kv/big", &limit).await.text(), "true");
    assert_eq!(get(port, "/v1/kv/big?raw").await.body, limit);
    cluster.stop().await;
}

/// Vectors 76 and 77: any member answers alike; a stale answer says what it is.
#[tokio::test]
async fn a_follower_forwards_writes_and_reads_them_back() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.ports(cluster.leader(crate::PATIENCE).await.unwrap()).http;
    let follower = cluster.ports(follower(&cluster).await).http;
    for round in 0..10 {
        let value = format!("{round}");
        let written = put(follower, "/v1/kv/k", value.as_bytes()).await;
        assert_eq!((written.status, written.text()), (200, "true"));
        assert_eq!(get(leader, "/v1/kv/k?raw").await.text(), value);
        put(leader, "/v1/kv/l", value.as_bytes()).await;
        let read = get(follower, "/v1/kv/l?raw").await;
        assert_eq!(read.text(), value, "a default read through a follower sees what was acknowledged");
        assert_eq!(read.header("x-consul-knownleader"), Some("true"));
        assert_eq!(read.header("x-consul-lastcontact"), Some("0"), "the leader has just confirmed it");
    }
    let stale = get(follower, "/v1/kv/l?stale").await;
    assert_eq!(stale.status, 200);
    stale.header("x-consul-lastcontact").unwrap().parse::<u64>().unwrap();
    let consistent = get(follower, "/v1/kv/l?consistent&raw").await;
    assert_eq!(consistent.text(), "9");
    cluster.stop().await;
}
