//! `/v1/snapshot`: the state saved as an archive and restored from it, over HTTP.

use quorate_store::ArchiveReader;

use crate::http_client::{Answer, get, put, send};
use crate::{PATIENCE, cluster, follower};

/// What the archive says of itself, after every byte of it was checked.
fn checked(answer: &Answer) -> quorate_store::ArchiveMeta {
    let mut reader = ArchiveReader::open(answer.body.as_slice()).unwrap();
    let mut buffer = [0; 4_096];
    while reader.read(&mut buffer).unwrap() > 0 {}
    let meta = reader.meta().clone();
    reader.finish().unwrap();
    meta
}

/// K17: through any member the archive holds every write acknowledged before; Consul's headers are there.
#[tokio::test]
async fn a_saved_archive_holds_what_was_acknowledged_before() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    put(cluster.ports(leader).http, "/v1/kv/a", b"1").await;
    let written = get(cluster.ports(leader).http, "/v1/kv/a").await.modify_index();
    let follower = follower(&cluster).await;
    for target in ["/v1/snapshot", "/v1/snapshot?stale", "/v1/snapshot?dc=dc1"] {
        let answer = get(cluster.ports(follower).http, target).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-gzip")));
        let meta = checked(&answer);
        assert_eq!(meta.cluster_id, cluster.cluster_id());
        assert!(meta.api_index() >= written, "{target}");
        assert_eq!(answer.index(), meta.api_index());
        assert_eq!(answer.header("x-consul-knownleader"), Some("true"));
    }
    cluster.stop().await;
}

/// K17, K23, vector "Snapshot": with the token an archive of ours is restored; whatever else comes changes nothing. Who
/// waits for a key sees its index move forward, never back.
#[tokio::test]
async fn an_archive_is_restored_with_the_token_and_watchers_see_indexes_grow() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"kept").await;
    put(port, "/v1/kv/dir/x", b"kept").await;
    let archive = get(port, "/v1/snapshot").await.body;
    put(port, "/v1/kv/a", b"changed").await;
    put(port, "/v1/kv/dir/y", b"new").await;
    let (key, tree, all) = (
        get(port, "/v1/kv/a").await.index(),
        get(port, "/v1/kv/dir/?recurse").await.index(),
        get(port, "/v1/kv/missing").await.index(),
    );
    let token = cluster.admin_token().to_owned();
    for (headers, body, status, text) in [
        (vec![], archive.as_slice(), 403, "Permission denied"),
        (vec![("X-Consul-Token", "guess")], &archive, 403, "nothing was changed"),
        (vec![("X-Consul-Token", &*token)], b"hello, I am no archive", 400, "this is no archive of quorate"),
        (vec![("X-Consul-Token", &*token)], &archive[..archive.len() - 9], 400, "ends too early"),
    ] {
        let answer = send(port, "PUT", "/v1/snapshot", &headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
        assert_eq!(get(port, "/v1/kv/a?raw").await.text(), "changed");
    }
    let waiting = [
        format!("/v1/kv/a?index={key}&wait=60s"),
        format!("/v1/kv/dir/?recurse&index={tree}&wait=60s"),
        format!("/v1/kv/dir/y?index={tree}&wait=60s"),
    ]
    .map(|target| tokio::spawn(async move { get(port, &target).await }));
    let authorization = format!("Bearer {token}");
    let answer = send(port, "PUT", "/v1/snapshot", &[("Authorization", &authorization)], &archive).await;
    assert_eq!((answer.status, answer.text()), (200, ""), "{}", answer.text());
    let restored = answer.index();
    assert!(restored > all.max(tree).max(key));
    for waiter in waiting {
        let answer = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
        assert_eq!(answer.index(), restored, "{}", answer.text());
    }
    assert_eq!(get(port, "/v1/kv/a?raw").await.text(), "kept");
    assert_eq!(get(port, "/v1/kv/dir/y").await.status, 404);
    assert_eq!(get(port, "/v1/kv/missing").await.index(), restored);
    // A compare-and-set that was read before hits nothing.
    assert_eq!(put(port, &format!("/v1/kv/a?cas={key}"), b"late").await.text(), "false");
    put(port, "/v1/kv/b", b"after").await;
    assert!(get(port, "/v1/kv/b").await.modify_index() > restored);
    cluster.stop().await;
}
