//! Invalid HTTP input (P10): each answer names what is wrong, and nothing is changed.

use crate::cluster;
use crate::http_client::{Answer, chunked, get, put, send};

/// Vectors 8, 9, 12, 13, 21-27: method, target, status, and what the body must contain.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("PUT", "/v1/kv/", 400, "Missing key name"),
    ("GET", "/v1/kv/", 400, "Missing key name"),
    ("DELETE", "/v1/kv/", 400, "Missing key name"),
    ("PUT", "/v1/kv/%2Fa", 400, "begins with \"/\""),
    ("PUT", "/v1/kv/a/../b", 400, "\"..\" part"),
    ("PUT", "/v1/kv/%FF", 400, "not UTF-8"),
    ("PUT", "/v1/kv/a%00", 400, ""),
    ("PUT", "/v1/kv/a%C2%A0", 400, ""),
    (
        "PUT",
        "/v1/kv/a?flags=18446744073709551616",
        500,
        "strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
    ),
    ("PUT", "/v1/kv/a?flags=abc", 500, "strconv.ParseUint: parsing \"abc\": invalid syntax"),
    ("PUT", "/v1/kv/a?cas=-1", 500, "strconv.ParseUint: parsing \"-1\": invalid syntax"),
    ("DELETE", "/v1/kv/a?cas=x", 500, "strconv.ParseUint"),
    ("PUT", "/v1/kv/a?cas=0&acquire=x", 400, "Conflicting flags: acquire=x&cas=0"),
    ("PUT", "/v1/kv/a?acquire=x&release=x", 400, "Conflicting"),
    ("DELETE", "/v1/kv/a?recurse&cas=0", 400, "Conflicting"),
    ("PUT", "/v1/kv/a?acquire=x", 500, "invalid session \"x\""),
    ("PUT", "/v1/kv/a?release=", 500, "missing session"),
    (
        "GET",
        "/v1/kv/a?stale&consistent",
        400,
        "Cannot specify ?stale with ?consistent, conflicting semantics.",
    ),
    (
        "GET",
        "/v1/kv/a?cached&consistent",
        400,
        "Cannot specify ?cached with ?consistent, conflicting semantics.",
    ),
    ("GET", "/v1/kv/a?index=abc", 400, "Invalid index"),
    ("GET", "/v1/kv/a?wait=10", 400, "Invalid wait time"),
    ("PUT", "/v1/kv/a?wait=zz", 400, "Invalid wait time"),
    ("GET", "/v1/kv/a?max_stale=x", 400, "Invalid max_stale value \"x\""),
    ("PUT", "/v1/kv/a?dc=nope", 500, "No path to datacenter"),
    ("PUT", "/v1/kv/a?ns=foo", 400, "Enterprise feature"),
    ("PUT", "/v1/kv/a?partition=foo", 400, "Enterprise feature"),
    ("PUT", "/v1/kv/a?flags=%zz", 500, ""),
    ("POST", "/v1/kv/a", 405, "method POST not allowed"),
    ("PATCH", "/v1/kv/a", 405, "method PATCH not allowed"),
    ("PUT", "/v1/status/leader", 405, "method PUT not allowed"),
    ("PUT", "/v1/session/create", 400, "Request decode failed"),
    ("POST", "/v1/session/create", 405, "method POST not allowed"),
    ("PUT", "/v1/session/nope", 404, "Invalid URL path"),
    ("PUT", "/v1/txn", 400, "Failed to parse body"),
    ("GET", "/v1/catalog/services", 501, "service catalog not supported"),
    ("PUT", "/v1/operator/autopilot/configuration", 403, "spec.autopilot"),
    ("GET", "/v1/operator/autopilot/nope", 404, "Invalid URL path"),
    ("PUT", "/v1/operator/autopilot/health", 405, "method PUT not allowed"),
    ("DELETE", "/v1/operator/raft/peer?id=dev-0", 403, "send the admin token; nothing was changed"),
    ("GET", "/v1/operator/raft/peer", 405, "method GET not allowed"),
    ("POST", "/v1/operator/raft/transfer-leader", 403, "send the admin token"),
    ("GET", "/v1/sys/storage/raft/remove-peer", 405, "method GET not allowed"),
    ("PUT", "/v1/sys/storage/raft/remove-peer", 403, "send the admin token; nothing was changed"),
    ("POST", "/v1/sys/storage/raft/snapshot", 403, "permission denied"),
    ("POST", "/v1/sys/storage/raft/join", 501, "use gRPC"),
    ("GET", "/v1/acl/tokens", 401, "ACL support disabled"),
    ("GET", "/v1/nope", 404, "Invalid URL path: not a recognized HTTP API endpoint\n"),
];

/// P10: the status, words a person can act on, and an unchanged store.
#[tokio::test]
async fn invalid_requests_are_refused_in_words_and_change_nothing() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"kept").await;
    let before = get(port, "/v1/kv/?recurse").await;
    for (method, target, status, text) in REFUSED {
        let answer = send(port, method, target, &[], b"changed").await;
        assert_eq!(answer.status, *status, "{method} {target}: {}", answer.text());
        assert!(answer.text().contains(text), "{method} {target}: {}", answer.text());
        assert_eq!(answer.text().is_empty(), text.is_empty(), "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("x-consul-default-acl-policy"), Some("allow"), "{method} {target}");
    }
    let after = get(port, "/v1/kv/?recurse").await;
    assert_eq!((after.text(), after.index()), (before.text(), before.index()));
    cluster.stop().await;
}

/// Vector 22, and P10 for keys: over the limit by one byte, with and without a known length.
#[tokio::test]
async fn sizes_over_the_limit_name_it_and_change_nothing() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let body = vec![7; 524_289];
    let known = put(port, "/v1/kv/big", &body).await;
    assert_eq!(known.status, 413);
    assert!(known.text().starts_with("Request body(524289 bytes) too large, max size: 524288 bytes."));
    let unknown = send(port, "PUT", "/v1/kv/big", &[("Transfer-Encoding", "chunked")], &chunked(&body)).await;
    assert_eq!(unknown.status, 413);
    assert!(unknown.text().contains("too large, max size: 524288 bytes."), "{}", unknown.text());
    assert_eq!(get(port, "/v1/kv/big").await.status, 404);

    let longest = "k".repeat(4_096);
    assert_eq!(put(port, &format!("/v1/kv/{longest}"), b"v").await.status, 200);
    let too_long = put(port, &format!("/v1/kv/{longest}k"), b"v").await;
    assert_eq!(too_long.status, 400);
    assert!(too_long.text().contains("the limit is 4096 (KEY_BYTES_MAX)"), "{}", too_long.text());
    cluster.stop().await;
}

/// Vector 23: `Allow` in Consul's order, and no body on OPTIONS.
#[tokio::test]
async fn methods_that_are_not_taken_are_answered_with_those_that_are() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let allowed = |answer: &Answer| answer.header("allow").map(str::to_owned);
    let methods = Some("OPTIONS,GET,PUT,DELETE".to_owned());
    let post = send(port, "POST", "/v1/kv/a", &[], b"").await;
    assert_eq!((post.status, allowed(&post)), (405, methods.clone()));
    let head = send(port, "HEAD", "/v1/kv/a", &[], b"").await;
    assert_eq!((head.status, allowed(&head)), (405, methods.clone()));
    let options = send(port, "OPTIONS", "/v1/kv/a", &[], b"").await;
    assert_eq!((options.status, allowed(&options), options.text()), (200, methods, ""));
    cluster.stop().await;
}
