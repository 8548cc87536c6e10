//! gRPC as applications use it, through the Rust client: every call, through every member.

use prost::Message;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_api::v1::kv_client::KvClient;
use quorate_api::v1::session_client::SessionClient;
use quorate_api::v1::{self, ErrorCode, ErrorDetail};
use quorate_client::{
    AcquireOutcome, CasOutcome, Client, Consistency, DeleteOutcome, Role, SessionBehavior, SessionOptions,
    Txn, TxnOutcome,
};

use crate::{PATIENCE, cluster};
use quorate_sidecar::dev::Cluster;

fn client(cluster: &Cluster, member: usize) -> Client {
    Client::new(&format!("127.0.0.1:{}", cluster.ports(member).grpc)).unwrap().with_timeout(PATIENCE)
}

/// P2, K11, K20: whichever member is asked.
#[tokio::test]
async fn every_call_works_through_every_member() {
    let (mut cluster, _directory) = cluster(3).await;
    for member in 0..3 {
        let (here, there) = (client(&cluster, member), client(&cluster, (member + 1) % 3));
        let key = |name: &str| format!("m{member}/{name}");
        let index = here.put(key("a"), "1").await.unwrap();
        let entry = there.get(key("a")).await.unwrap().unwrap();
        assert_eq!((entry.value.as_ref(), entry.modify_index), (&b"1"[..], index));

        let written = here.compare_and_set(key("a"), Some(index), "2").await.unwrap();
        let CasOutcome::Written(newer) = written else { panic!("{written:?}") };
        assert_eq!(
            there.compare_and_set(key("a"), Some(index), "3").await.unwrap(),
            CasOutcome::Mismatch(Some(newer))
        );
        assert_eq!(
            there.compare_and_set(key("none"), Some(index), "3").await.unwrap(),
            CasOutcome::Mismatch(None)
        );

        let txn = Txn::new().check_index(key("a"), newer).set(key("b"), "4").get(key("a"));
        let TxnOutcome::Applied(results) = here.txn(txn).await.unwrap() else { panic!("not applied") };
        assert_eq!(results.last().unwrap().value, "2");
        let txn = Txn::new().set(key("c"), "5").check_not_exists(key("a"));
        let TxnOutcome::Failed(failures) = here.txn(txn).await.unwrap() else { panic!("applied") };
        assert_eq!(failures, [(1, format!("key \"{}\" exists", key("a")))]);
        assert_eq!(there.get(key("c")).await.unwrap(), None, "all or nothing");

        let page = there.list(key(""), None, 1).await.unwrap().value;
        assert!(page.has_more);
        let rest = there.list(key(""), Some(page.entries[0].key.clone()), 10).await.unwrap().value;
        assert!(!rest.has_more);
        assert_eq!(rest.entries[0].key, key("b"));

        assert_eq!(here.compare_and_delete(key("a"), index).await.unwrap(), DeleteOutcome::Mismatch(newer));
        assert!(here.delete(key("a")).await.unwrap());
        assert!(!here.delete(key("a")).await.unwrap());
        assert!(here.delete_prefix(key("")).await.unwrap());
        assert_eq!(there.get(key("b")).await.unwrap(), None);

        let stale = here.get_with(key("b"), Consistency::Stale).await.unwrap();
        assert!(stale.is_stale && stale.leader_known);
        let who = here.member().await.unwrap();
        assert_eq!(who.raft_id, format!("dev-{member}"));
        assert_eq!(who.role == Role::Leader, who.leader == Some(who.raft_id));
    }
    cluster.stop().await;
}

/// K20: the same tagged write twice is one write, through whichever member it is repeated.
#[tokio::test]
async fn a_write_repeated_under_its_tag_is_applied_once() {
    let (mut cluster, _directory) = cluster(3).await;
    let connect = async |member: usize| {
        KvClient::connect(format!("http://127.0.0.1:{}", cluster.ports(member).grpc)).await.unwrap()
    };
    let (mut first, mut second) = (connect(0).await, connect(1).await);
    let client_id = first.register_client(v1::RegisterClientRequest {}).await.unwrap().into_inner().client_id;
    let tag = Some(v1::Tag { client_id, sequence: 1, acked_below: 1 });
    let set = v1::CompareAndSetRequest { key: "once".into(), value: "x".into(), tag, ..Default::default() };
    let answer = first.compare_and_set(set.clone()).await.unwrap().into_inner();
    assert!(answer.succeeded);
    // Not applied again: a second try of "only if missing" would fail.
    assert_eq!(second.compare_and_set(set).await.unwrap().into_inner(), answer);

    let unknown = Some(v1::Tag { client_id: client_id + 1_000_000, sequence: 1, acked_below: 1 });
    let put = v1::PutRequest { key: "k".into(), tag: unknown, ..Default::default() };
    let status = second.put(put).await.unwrap_err();
    let detail = ErrorDetail::decode(status.details()).unwrap();
    assert_eq!(detail.code(), ErrorCode::ClientExpired, "{}", status.message());
    cluster.stop().await;
}

/// B1: leadership is told in numbered steps, the present state first.
#[tokio::test]
async fn changes_of_leadership_are_told_in_order() {
    let (mut cluster, _directory) = cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let grpc = cluster.ports((leader + 1) % 3).grpc;
    let mut watcher = ClusterClient::connect(format!("http://127.0.0.1:{grpc}")).await.unwrap();
    let mut changes = watcher.watch_leadership(v1::WatchLeadershipRequest {}).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!(first.leader_raft_id, format!("dev-{leader}"));
    cluster.stop_member(leader).await;
    let mut last = first;
    while last.leader_raft_id.is_empty() || last.leader_raft_id == format!("dev-{leader}") {
        let next = tokio::time::timeout(PATIENCE, changes.message()).await.unwrap().unwrap().unwrap();
        assert!(next.number > last.number && next.term >= last.term);
        last = next;
    }
    cluster.stop().await;
}

/// K21: a session of the Rust client is kept alive, its lock is seen everywhere, and an end tells whoever relied on it.
#[tokio::test]
async fn a_lock_is_held_under_a_session_that_is_kept_alive() {
    let (mut cluster, _directory) = cluster(3).await;
    let (here, there) = (client(&cluster, 0), client(&cluster, 1));
    let options = SessionOptions {
        lock_delay: Some(std::time::Duration::ZERO),
        behavior: SessionBehavior::Delete,
        ..SessionOptions::default()
    };
    let ttl = options.ttl;
    let first = here.create_session(options.clone()).await.unwrap();
    let second = there.create_session(options).await.unwrap();
    assert!(first.remaining() <= ttl);
    let acquired = here.acquire("lock", "1", &first).await.unwrap();
    let AcquireOutcome::Acquired { token } = acquired else { panic!("{acquired:?}") };
    let entry = there.get("lock").await.unwrap().unwrap();
    assert_eq!((entry.session.as_deref(), entry.modify_index), (Some(first.id()), token));
    let held = AcquireOutcome::Held { holder: first.id().to_owned() };
    assert_eq!(there.acquire("lock", "2", &second).await.unwrap(), held);
    assert!(!there.release("lock", "2", &second).await.unwrap());
    let guarded = |session| Txn::new().check_session("lock", session).set("guarded", "x");
    assert!(matches!(here.txn(guarded(&first)).await.unwrap(), TxnOutcome::Applied(_)));
    assert!(matches!(there.txn(guarded(&second)).await.unwrap(), TxnOutcome::Failed(_)));
    assert!(here.release("lock", "free", &first).await.unwrap());
    let acquired = there.acquire("lock", "2", &second).await.unwrap();
    assert!(matches!(acquired, AcquireOutcome::Acquired { token: newer } if newer > token), "{acquired:?}");

    // Somebody else ends it: the next renewal tells.
    let port = cluster.ports(2).grpc;
    let mut sessions = SessionClient::connect(format!("http://127.0.0.1:{port}")).await.unwrap();
    let destroy = v1::DestroySessionRequest { id: second.id().to_owned(), tag: None };
    assert!(sessions.destroy(destroy.clone()).await.unwrap().into_inner().existed);
    assert!(!sessions.destroy(destroy).await.unwrap().into_inner().existed);
    assert_eq!(here.get("lock").await.unwrap(), None, "deleted with its session");
    tokio::time::timeout(PATIENCE, second.expired()).await.unwrap();
    assert_eq!(second.remaining(), std::time::Duration::ZERO);
    let refused = there.acquire("lock", "2", &second).await.unwrap_err();
    assert!(refused.to_string().contains("invalid session"), "{refused}");

    let list = sessions.list(v1::ListSessionsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.sessions.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), [first.id()]);
    let id = first.id().to_owned();
    let renewed = sessions.renew(v1::RenewSessionRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(u128::from(renewed.valid_for_ms), ttl.as_millis());
    let messages =
        vec![v1::RenewSessionRequest { id: id.clone() }, v1::RenewSessionRequest { id: "none".to_owned() }];
    let mut answers = sessions.keep_alive(tokio_stream::iter(messages)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().session.unwrap().id, id);
    assert_eq!(answers.message().await.unwrap().unwrap().session, None);
    assert_eq!(answers.message().await.unwrap(), None, "one answer for each message");
    first.destroy().await.unwrap();
    let get = v1::GetSessionRequest { id: id.clone(), ..v1::GetSessionRequest::default() };
    assert_eq!(sessions.get(get).await.unwrap().into_inner().session, None);
    assert_eq!(sessions.renew(v1::RenewSessionRequest { id }).await.unwrap().into_inner().session, None);
    cluster.stop().await;
}
