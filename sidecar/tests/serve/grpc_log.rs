//! `Log`: applications that are their own state machines, at real members over real gRPC (K22).

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use quorate_api::v1::log_client::LogClient;
use quorate_api::v1::proposal_result::Result as Answer;
use quorate_api::v1::subscribe_response::Event;
use quorate_api::v1::{self, ErrorCode, ErrorDetail};
use quorate_client::{Client, Error, Log, LogEvent, LogEvents};
use quorate_machine::limits::{APPLICATION_ENTRY_BYTES_MAX, APPLICATION_LOG_BYTES_PATIENT};
use quorate_machine::{ApiIndex, EntriesAfter, PageLimit};
use quorate_raft::{Mode, Settings};
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::http_client;
use crate::{PATIENCE, cluster, follower};

pub(crate) async fn log_cluster(count: usize) -> (Cluster, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = ClusterOptions { mode: Some(Mode::Log), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(count, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    (cluster, directory)
}

fn log(cluster: &Cluster, member: usize) -> Log {
    let address = format!("127.0.0.1:{}", cluster.ports(member).grpc);
    Client::new(&address).unwrap().with_timeout(PATIENCE).log()
}

/// What an application applied: index and text of each entry.
type Applied = Vec<(u64, String)>;

/// The first `count` entries after an index.
async fn entries(log: &Log, after: u64, count: usize) -> Applied {
    follow(log, after, count).await.0
}

/// The same, with the connection they came over, which has acknowledged them.
async fn follow(log: &Log, after: u64, count: usize) -> (Applied, LogEvents) {
    let collect = async {
        let mut found = Applied::new();
        let mut after = after;
        loop {
            // A member that is stopped, or has fallen out, is asked again.
            let Ok(mut events) = log.subscribe(after).await else { continue };
            while let Ok(event) = events.next().await {
                let LogEvent::Entries(entries) = event else { panic!("{event:?}") };
                for entry in entries {
                    assert!(entry.index > after, "in order, each once");
                    after = entry.index;
                    found.push((entry.index, String::from_utf8(entry.data.to_vec()).unwrap()));
                }
                events.applied(after);
                if found.len() >= count {
                    return (found, events);
                }
            }
        }
    };
    timeout(PATIENCE, collect).await.expect("the entries come")
}

/// K22, P1: proposed through any member, each entry comes to all applications in one order, also over the end of a leader;
/// and an application that asks from the middle gets the rest.
#[tokio::test]
async fn every_application_gets_the_same_entries_in_the_same_order() {
    let (mut cluster, _directory) = log_cluster(3).await;
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let mut proposed = Vec::new();
    for number in 0..30 {
        let index = log(&cluster, number % 3).propose(format!("e{number}")).await.unwrap();
        proposed.push((index, format!("e{number}")));
    }
    let rest: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    let early = tokio::spawn({
        let log = log(&cluster, rest[0]);
        async move { entries(&log, 0, 50).await }
    });
    cluster.abort_member(leader).await;
    for number in 30..50 {
        let index = log(&cluster, rest[number % 2]).propose(format!("e{number}")).await.unwrap();
        proposed.push((index, format!("e{number}")));
    }
    assert_eq!(early.await.unwrap(), proposed, "one connection, over a change of leadership");
    assert_eq!(entries(&log(&cluster, rest[1]), 0, 50).await, proposed);
    cluster.start_again(leader).await.unwrap();
    assert_eq!(entries(&log(&cluster, leader), 0, 50).await, proposed);
    let middle = proposed[20].0;
    assert_eq!(entries(&log(&cluster, leader), middle, 29).await, proposed[21..]);
    cluster.stop().await;
}

/// K20, K22: proposals of many that go on while leaders are killed: none that was acknowledged is missing, none is in
/// twice.
#[tokio::test]
async fn acknowledged_entries_survive_failovers_and_are_there_once() {
    const EACH: usize = 60;
    let (mut cluster, _directory) = log_cluster(3).await;
    let acknowledged = Arc::new(Mutex::new(Applied::new()));
    let proposers: Vec<_> = (0..3)
        .map(|member| {
            let (log, acknowledged) = (log(&cluster, member), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let text = format!("m{member}/{done}");
                    // Who is told nothing may not send it again under another tag: it goes on with the next one.
                    if let Ok(index) = log.propose(text.clone()).await {
                        acknowledged.lock().unwrap().push((index, text));
                        done += 1;
                    }
                }
            })
        })
        .collect();
    for _ in 0..2 {
        let leader = cluster.leader(PATIENCE).await.unwrap();
        cluster.abort_member(leader).await;
        cluster.start_again(leader).await.unwrap();
    }
    for proposer in proposers {
        timeout(PATIENCE, proposer).await.unwrap().unwrap();
    }
    let mut expected = acknowledged.lock().unwrap().clone();
    expected.sort();
    for member in 0..3 {
        let found = entries(&log(&cluster, member), 0, expected.len()).await;
        for entry in &expected {
            assert_eq!(found.iter().filter(|it| it.1 == entry.1).count(), 1, "{entry:?} at member {member}");
        }
    }
    cluster.stop().await;
}

/// K22: a snapshot of one application lets entries go once all have applied them; a member that joins later begins from it,
/// and ends with the same.
#[tokio::test]
async fn an_application_that_joins_later_begins_from_a_snapshot() {
    let (mut cluster, _directory) = log_cluster(3).await;
    let mut last = 0;
    for number in 0..20 {
        last = log(&cluster, 0).propose(format!("e{number}")).await.unwrap();
    }
    let offering = log(&cluster, follower(&cluster).await);
    let state = "the state after e19".repeat(20_000);
    let part = v1::SnapshotOfferRequest { index: last, data: "a part".into(), is_last: false };
    let status = raw(&cluster, 0).await.snapshot_offer(tokio_stream::once(part)).await.unwrap_err();
    assert_eq!(detail(&status).field, "data", "what broke off is not taken");
    let offered = offering.offer_snapshot(last, Cursor::new(state.clone())).await.unwrap();
    assert_eq!((offered.index, offered.bytes), (last, state.len() as u64));
    let again = offering.offer_snapshot(last, Cursor::new("another")).await.unwrap_err();
    assert!(
        matches!(&again, Error::Refused { message } if message.contains("offer one of a later index")),
        "{again}"
    );
    // Kept while an application has yet to say that it applied them.
    assert_eq!(entries(&log(&cluster, 0), 0, 20).await.len(), 20);
    let mut following = Vec::new();
    for member in 0..3 {
        following.push(follow(&log(&cluster, member), 0, 20).await);
    }
    wait_until_trimmed(&cluster, last).await;
    let metrics = http_client::get(cluster.ports(1).ops, "/metrics").await;
    for (name, value) in [
        ("entries", 0),
        ("log_size_bytes", 0),
        ("last_index", last),
        ("trimmed_index", last),
        ("snapshot_index", last),
        ("durable_index", last),
        ("subscriptions", 1),
    ] {
        let line = format!("\nquorate_application_{name} {value}\n");
        assert!(metrics.text().contains(&line), "{line}: {}", metrics.text());
    }
    drop(following);
    let after = log(&cluster, 1).propose("e20").await.unwrap();

    let joiner = cluster.start_member().await.unwrap();
    cluster.add_non_voter(joiner, Instant::now() + PATIENCE).await.unwrap();
    let joined = log(&cluster, joiner);
    let required = async {
        loop {
            let Ok(mut events) = joined.subscribe(0).await else { continue };
            if let Ok(LogEvent::SnapshotRequired(snapshot)) = events.next().await {
                break snapshot;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, required).await.unwrap(), offered);
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(joined.restore_snapshot(file.reopen().unwrap()).await.unwrap(), offered);
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), state);
    assert_eq!(entries(&joined, offered.index, 1).await, [(after, "e20".to_owned())]);
    cluster.stop().await;
}

async fn wait_until_trimmed(cluster: &Cluster, upto: u64) {
    let limit = PageLimit { rows_max: 1, bytes_max: 1 };
    let gone = async {
        loop {
            let mut trimmed = 0;
            for member in 0..cluster.len() {
                let query =
                    move |state: &quorate_sidecar::driver::State| state.entries_after(ApiIndex(0), limit);
                let consistency = quorate_sidecar::driver::Consistency::Stale;
                let read =
                    cluster.handle(member).read(consistency, Instant::now() + PATIENCE, query).await.unwrap();
                let is_gone = matches!(&read.value, EntriesAfter::SnapshotRequired(Some(found)) if found.index.0 >= upto);
                trimmed += usize::from(is_gone);
            }
            if trimmed == cluster.len() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the log is trimmed at every member");
}

/// K22: an application that applies nothing keeps entries only up to the watermark; beyond it, it gets `SnapshotRequired`
/// and none of the entries it misses is delivered out of order.
#[tokio::test]
async fn a_slow_application_is_sent_to_the_snapshot_when_much_is_kept() {
    let (mut cluster, _directory) = log_cluster(1).await;
    let bank = log(&cluster, 0);
    // It took nothing and says nothing.
    let slow = bank.subscribe(0).await.unwrap();
    let entry = vec![b'x'; APPLICATION_ENTRY_BYTES_MAX];
    let mut last = 0;
    for _ in 0..=APPLICATION_LOG_BYTES_PATIENT / APPLICATION_ENTRY_BYTES_MAX as u64 {
        last = bank.propose(entry.clone()).await.unwrap();
    }
    bank.offer_snapshot(last, Cursor::new("everything")).await.unwrap();
    wait_until_trimmed(&cluster, last).await;
    let mut slow = slow;
    let mut before = 0;
    let required = loop {
        match timeout(PATIENCE, slow.next()).await.unwrap().unwrap() {
            // What was on its way already.
            LogEvent::Entries(entries) => {
                for entry in entries {
                    assert!(entry.index > before);
                    before = entry.index;
                }
            }
            LogEvent::SnapshotRequired(snapshot) => break snapshot,
        }
    };
    assert_eq!(required.index, last);
    assert!(before < last, "some were gone");
    let next = bank.propose("after").await.unwrap();
    assert_eq!(entries(&bank, required.index, 1).await, [(next, "after".to_owned())]);
    cluster.stop().await;
}

async fn raw(cluster: &Cluster, member: usize) -> LogClient<tonic::transport::Channel> {
    LogClient::connect(format!("http://127.0.0.1:{}", cluster.ports(member).grpc)).await.unwrap()
}

fn detail(status: &tonic::Status) -> ErrorDetail {
    prost::Message::decode(status.details()).unwrap()
}

/// Many proposals on one stream, each answered once by its number; a refused one ends nothing (P10).
#[tokio::test]
async fn proposals_share_a_stream_and_a_refused_one_ends_nothing() {
    let (mut cluster, _directory) = log_cluster(1).await;
    let mut log = raw(&cluster, 0).await;
    let proposal = |number, bytes| v1::NumberedProposal { number, data: vec![b'x'; bytes].into(), tag: None };
    let proposals = (0..2_000)
        .map(|number| proposal(number, 10))
        .chain([proposal(2_000, APPLICATION_ENTRY_BYTES_MAX + 1)]);
    let proposals: Vec<_> = proposals.collect();
    let requests: Vec<_> =
        proposals.chunks(100).map(|proposals| v1::ProposeRequest { proposals: proposals.to_vec() }).collect();
    let mut responses = log.propose(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut answers = std::collections::BTreeMap::new();
    while let Some(response) = responses.message().await.unwrap() {
        for result in response.results {
            assert!(answers.insert(result.number, result.result.unwrap()).is_none(), "answered twice");
        }
    }
    assert_eq!(answers.len(), 2_001);
    let Some(Answer::Refused(refused)) = answers.remove(&2_000) else { panic!("it is too large") };
    let detail = refused.detail.unwrap();
    assert_eq!((detail.code(), detail.field.as_str()), (ErrorCode::InvalidArgument, "data"));
    assert!(answers.values().all(|answer| matches!(answer, Answer::Index(index) if *index > 0)));
    cluster.stop().await;
}

/// P10, K22: what a subscription cannot mean is refused in words: no first message, an index that never was, an
/// acknowledgement of what was never sent.
#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_refused() {
    let (mut cluster, _directory) = log_cluster(1).await;
    let first = log(&cluster, 0).propose("a").await.unwrap();
    // The cluster's own entries lie in between.
    let mut second = first;
    while second <= first + 1 {
        cluster.handle(0).barrier(Instant::now() + PATIENCE).await.unwrap();
        second = log(&cluster, 0).propose("b").await.unwrap();
    }
    let mut log = raw(&cluster, 0).await;
    let status = log.subscribe(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(detail(&status).field, "applied_index");

    let hole = v1::SubscribeRequest { applied_index: first + 1 };
    let mut events = log.subscribe(tokio_stream::once(hole)).await.unwrap().into_inner();
    let status = events.message().await.unwrap_err();
    assert_eq!(detail(&status).code(), ErrorCode::FailedPrecondition);
    assert!(status.message().contains("has no entry"), "{status}");

    let beyond = v1::SubscribeRequest { applied_index: second + 1_000 };
    let mut events = log.subscribe(tokio_stream::once(beyond)).await.unwrap().into_inner();
    let status = timeout(PATIENCE, events.message()).await.unwrap().unwrap_err();
    assert_eq!(detail(&status).code(), ErrorCode::FailedPrecondition, "nobody ever had that entry");

    let acks = [0, second + 9].map(|applied_index| v1::SubscribeRequest { applied_index });
    let mut events = log.subscribe(tokio_stream::iter(acks)).await.unwrap().into_inner();
    let status = loop {
        match timeout(PATIENCE, events.message()).await.unwrap() {
            Ok(Some(v1::SubscribeResponse { event: Some(Event::Entries(_)) })) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(detail(&status).field, "applied_index");
    cluster.stop().await;
}

/// K22: each mode refuses what the other has, over gRPC and HTTP, and says which it is and the way out.
#[tokio::test]
async fn each_mode_refuses_the_calls_of_the_other() {
    let (mut of_log, _directory) = log_cluster(1).await;
    let (mut of_keys, _other) = cluster(1).await;
    let address = format!("127.0.0.1:{}", of_log.ports(0).grpc);
    let error = Client::new(&address).unwrap().put("k", "v").await.unwrap_err();
    let Error::Refused { message } = error else { panic!("{error}") };
    assert!(message.contains("founded in mode Log") && message.contains("mode KeyValue"), "{message}");
    let error = log(&of_keys, 0).propose("a").await.unwrap_err();
    let Error::Refused { message } = error else { panic!("{error}") };
    assert!(message.contains("founded in mode KeyValue") && message.contains("mode Log"), "{message}");
    let port = of_log.ports(0).http;
    for (method, path) in
        [("GET", "/v1/kv/k"), ("PUT", "/v1/session/create"), ("GET", "/v1/snapshot"), ("PUT", "/v1/txn")]
    {
        let answer = http_client::send(port, method, path, &[], b"").await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains("founded in mode Log"), "{path}: {}", answer.text());
    }
    assert_eq!(http_client::get(port, "/v1/status/leader").await.status, 200, "what is of no mode goes on");
    of_log.stop().await;
    of_keys.stop().await;
}

/// K22: what a cluster is for outlasts its processes, and a directory of it is not taken for another.
#[tokio::test]
async fn a_cluster_that_is_continued_keeps_its_mode() {
    let (mut cluster, directory) = log_cluster(1).await;
    let index = log(&cluster, 0).propose("kept").await.unwrap();
    cluster.stop().await;
    let other = ClusterOptions { mode: Some(Mode::KeyValue), ..ClusterOptions::default() };
    let refused = Cluster::start_with(1, directory.path(), other).await.err().expect("it is of mode Log");
    assert!(refused.to_string().contains("founded in mode Log"), "{refused}");
    let options = ClusterOptions { raft: Settings::default(), ..ClusterOptions::default() };
    let mut again = Cluster::start_with(1, directory.path(), options).await.unwrap();
    assert_eq!(entries(&log(&again, 0), 0, 1).await, [(index, "kept".to_owned())]);
    again.stop().await;
}
