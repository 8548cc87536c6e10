//! Blocking queries: vectors 28-40 and 91. Each outcome is told apart from its neighbour by what is answered;
//! times are only bounded from below, where a wait is the subject.

use std::time::{Duration, Instant};

use crate::cluster;
use crate::http_client::{Answer, delete, get, put};

/// A blocking query under way.
fn blocked(port: u16, target: String) -> tokio::task::JoinHandle<Answer> {
    tokio::spawn(async move { get(port, &target).await })
}

/// Vectors 28, 30, 31, 39: nothing that concerns the key happened, so the deadline answers with the same index.
#[tokio::test]
async fn a_wait_that_nothing_ends_lasts_to_its_deadline() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"x").await;
    let index = get(port, "/v1/kv/a").await.index();
    for (wanted, what) in [(index, "the present index"), (index + 1_000, "an index of the future")] {
        let started = Instant::now();
        let waiting = blocked(port, format!("/v1/kv/a?index={wanted}&wait=1s"));
        put(port, "/v1/kv/other", what.as_bytes()).await;
        put(port, "/v1/kv/a", b"x").await;
        let answer = waiting.await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(1), "{what}: woken after {:?}", started.elapsed());
        assert_eq!((answer.status, answer.index()), (200, index), "{what}");
    }
    cluster.stop().await;
}

/// Vectors 29, 32, 33: a change, a delete, a creation wake; the wait is long enough that only they can.
#[tokio::test]
async fn a_change_of_the_key_ends_the_wait() {
    let (mut cluster, _directory) = cluster(3).await;
    let port = cluster.ports(crate::follower(&cluster).await).http;
    put(port, "/v1/kv/a", b"x").await;
    let index = get(port, "/v1/kv/a").await.index();
    let waiting = blocked(port, format!("/v1/kv/a?index={index}&wait=60s"));
    put(port, "/v1/kv/a", b"new").await;
    let changed = waiting.await.unwrap();
    assert_eq!(changed.status, 200);
    assert_eq!(changed.index(), changed.modify_index());
    assert!(changed.index() > index);

    let waiting = blocked(port, format!("/v1/kv/a?index={}&wait=60s", changed.index()));
    delete(port, "/v1/kv/a").await;
    let deleted = waiting.await.unwrap();
    assert_eq!(deleted.status, 404);
    assert!(deleted.index() > changed.index());

    let missing = get(port, "/v1/kv/m").await.index();
    let waiting = blocked(port, format!("/v1/kv/m?index={missing}&wait=60s"));
    put(port, "/v1/kv/m", b"made").await;
    let made = waiting.await.unwrap();
    assert_eq!(made.status, 200);
    assert!(made.index() > missing);
    cluster.stop().await;
}

/// Vector 34: a missing key stays missing through the writes of others; a new call with the old index returns.
#[tokio::test]
async fn writes_to_others_do_not_wake_who_waits_for_a_missing_key() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let index = get(port, "/v1/kv/m").await.index();
    let started = Instant::now();
    // The first look falls before the index is reached: twenty writes take longer than one connection.
    let waiting = blocked(port, format!("/v1/kv/m?index={}&wait=3s", index + 20));
    for number in 0..40_u8 {
        put(port, "/v1/kv/other", &[number]).await;
    }
    let answer = waiting.await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(3), "woken after {:?}", started.elapsed());
    assert_eq!(answer.status, 404);
    assert!(answer.index() > index + 20);
    let again = get(port, &format!("/v1/kv/m?index={index}&wait=60s")).await;
    assert_eq!(again.status, 404);
    assert!(again.index() > index);
    cluster.stop().await;
}

/// Vectors 35 to 38: a tree's index rises on deletes too, also of a shorter prefix and of its last key.
#[tokio::test]
async fn a_tree_wakes_on_writes_and_deletes_below_it() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    let mut index = get(port, "/v1/kv/p/?recurse").await.index();
    for (change, key, status) in
        [("put", "p/1", 200), ("put", "p/2", 200), ("delete", "p/1", 200), ("delete", "p?recurse", 404)]
    {
        for shape in ["recurse", "keys&separator=/"] {
            let still = get(port, &format!("/v1/kv/p/?{shape}")).await;
            assert_eq!(still.index(), index, "both forms have the same index");
        }
        let waiting = blocked(port, format!("/v1/kv/p/?recurse&index={index}&wait=60s"));
        match change {
            "put" => put(port, &format!("/v1/kv/{key}"), b"v").await,
            _ => delete(port, &format!("/v1/kv/{key}")).await,
        };
        let woken = waiting.await.unwrap();
        assert_eq!(woken.status, status, "{change} {key}");
        assert!(woken.index() > index, "{change} {key}");
        index = woken.index();
    }
    cluster.stop().await;
}

/// Vector 91: one write wakes everybody.
#[tokio::test]
async fn a_thousand_waiters_all_wake_on_one_write() {
    let (mut cluster, _directory) = cluster(1).await;
    let port = cluster.ports(0).http;
    put(port, "/v1/kv/a", b"x").await;
    let index = get(port, "/v1/kv/a").await.index();
    let mut waiting = Vec::new();
    for _ in 0..1_000 {
        waiting.push(blocked(port, format!("/v1/kv/a?index={index}&wait=300s")));
    }
    put(port, "/v1/kv/a", b"y").await;
    for waiter in waiting {
        let answer = waiter.await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.index() > index);
    }
    cluster.stop().await;
}
