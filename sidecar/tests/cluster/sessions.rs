//! Sessions and locks across members and leaders (K21, A35-A37). Lower bounds of time are exact, whatever the machine does:
//! a session that ends late breaks nothing here.

use std::time::Duration;

use quorate_machine::{
    Behavior, Command, Obstacle, Outcome, SessionChecks, SessionId, SessionSpec, Tagged, Ttl,
};
use quorate_raft::Settings;
use quorate_sidecar::dev::{Cluster, ClusterOptions};
use quorate_sidecar::driver::{CallError, Consistency, Effect, Handle};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::{PATIENCE, cluster, soon};

/// The shortest there is.
const TTL: Duration = Duration::from_secs(10);
/// How often what is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(200);

async fn propose(handle: &Handle, command: Command) -> Result<Outcome, CallError> {
    Ok(handle.propose(&Tagged { tag: None, command }, soon()).await?.outcome)
}

pub(crate) async fn begin(handle: &Handle, ttl: Duration, lock_delay: Duration) -> SessionId {
    let id = SessionId::from_random(rand::random());
    let spec = SessionSpec {
        id,
        name: String::new(),
        node: String::new(),
        behavior: Behavior::Release,
        ttl: Ttl { duration: ttl, text: String::new() },
        lock_delay,
        checks: SessionChecks::default(),
    };
    let created = propose(handle, Command::CreateSession(Box::new(spec))).await.unwrap();
    assert_eq!(created, Outcome::SessionCreated { session: id });
    id
}

pub(crate) async fn acquire(handle: &Handle, session: SessionId) -> Result<Outcome, CallError> {
    propose(handle, Command::Acquire { key: "lock".into(), value: "".into(), flags: 0, session }).await
}

async fn lives(handle: &Handle, id: SessionId) -> bool {
    let look = move |state: &quorate_sidecar::driver::State| state.session(id);
    handle.read(Consistency::Linearizable, soon(), look).await.unwrap().value.is_some()
}

/// Another member leads when it returns.
async fn hand_over(cluster: &Cluster) {
    let first = cluster.leader(PATIENCE).await.unwrap();
    let until = soon();
    while cluster.leader(PATIENCE).await.unwrap() == first {
        assert!(Instant::now() < until, "leadership does not move");
        let target = cluster.handle((first + 1) % 3).view().identity.server.raft_id.clone();
        // A transfer may lose the race against its deadline.
        let _ = cluster.handle(first).transfer_leadership(Some(target), soon()).await;
    }
}

/// K21, A36: what a leader acknowledges that is none any more, its successor does not know of.
#[tokio::test]
async fn a_leader_that_nobody_hears_acknowledges_no_renewal() {
    let directory = tempfile::tempdir().unwrap();
    // Long, so that it goes on believing that it leads.
    let raft = Settings { check_quorum: Duration::from_mins(10), ..Settings::default() };
    let options = ClusterOptions { raft, ..ClusterOptions::default() };
    let mut cluster = Cluster::start_with(3, directory.path(), options).await.unwrap();
    cluster.wait_until_all_vote(PATIENCE).await.unwrap();
    let leader = cluster.leader(PATIENCE).await.unwrap();
    let id = begin(cluster.handle(leader), Duration::from_mins(10), Duration::ZERO).await;
    for member in [(leader + 1) % 3, (leader + 2) % 3] {
        let renewed = cluster.handle(member).renew_session(id, soon()).await.unwrap();
        assert_eq!(renewed.unwrap().spec.id, id, "while all are there, it is renewed through every member");
    }
    for member in [(leader + 1) % 3, (leader + 2) % 3] {
        cluster.abort_member(member).await;
    }
    let handle = cluster.handle(leader);
    assert!(handle.view().is_leader(), "it has not noticed yet");
    let renewed = handle.renew_session(id, Instant::now() + Duration::from_secs(2)).await;
    assert!(renewed.is_err(), "acknowledged without a majority: {renewed:?}");
    cluster.stop().await;
}

/// Vector 51, K21, A35, A36: a new leader counts in full; the renewed session stays, the other one ends and frees its key,
/// which nobody gets before the lock delay is over.
#[tokio::test]
async fn a_renewed_session_outlives_leaders_and_an_unrenewed_one_ends() {
    let (mut cluster, _directory) = cluster(3).await;
    let delay = Duration::from_secs(2);
    let renewed = begin(cluster.handle(0), TTL, delay).await;
    let unrenewed = begin(cluster.handle(1), TTL, delay).await;
    assert!(matches!(acquire(cluster.handle(2), unrenewed).await, Ok(Outcome::Acquired { .. })));
    let started = Instant::now();
    while started.elapsed() < TTL {
        assert!(cluster.handle(2).renew_session(renewed, soon()).await.unwrap().is_some());
        sleep(GLANCE).await;
    }
    assert!(lives(cluster.handle(0), unrenewed).await, "twice the TTL is not over");
    let handed_over = Instant::now();
    hand_over(&cluster).await;
    while lives(cluster.handle(0), unrenewed).await {
        assert!(cluster.handle(1).renew_session(renewed, soon()).await.unwrap().is_some());
        assert!(handed_over.elapsed() < 2 * TTL + PATIENCE, "it never ends");
        let held = acquire(cluster.handle(2), renewed).await.unwrap();
        if held != Outcome::NotAcquired(Obstacle::Held { holder: unrenewed }) {
            break;
        }
        sleep(GLANCE).await;
    }
    assert!(
        handed_over.elapsed() >= 2 * TTL,
        "the new leader did not count in full: {:?}",
        handed_over.elapsed()
    );
    assert!(cluster.handle(2).renew_session(unrenewed, soon()).await.unwrap().is_none(), "it is gone");
    loop {
        match acquire(cluster.handle(0), renewed).await.unwrap() {
            Outcome::Acquired { .. } => break,
            outcome => assert_eq!(outcome, Outcome::NotAcquired(Obstacle::LockDelay)),
        }
        assert!(cluster.handle(1).renew_session(renewed, soon()).await.unwrap().is_some());
        sleep(GLANCE).await;
    }
    assert!(handed_over.elapsed() >= 2 * TTL + delay, "the lock delay was cut short");
    cluster.stop().await;
}

/// K21, A37: the lock delay begins anew in full under a new leader, and ends.
#[tokio::test]
async fn a_lock_delay_outlives_its_leader() {
    let (mut cluster, _directory) = cluster(3).await;
    let delay = Duration::from_secs(3);
    let first = begin(cluster.handle(0), Duration::ZERO, delay).await;
    let second = begin(cluster.handle(0), Duration::ZERO, delay).await;
    assert!(matches!(acquire(cluster.handle(0), first).await, Ok(Outcome::Acquired { .. })));
    let destroy = Command::DestroySession { session: first };
    assert_eq!(propose(cluster.handle(1), destroy).await, Ok(Outcome::Deleted { existed: true }));
    sleep(Duration::from_secs(1)).await;
    let handed_over = Instant::now();
    hand_over(&cluster).await;
    while acquire(cluster.handle(2), second).await.unwrap() == Outcome::NotAcquired(Obstacle::LockDelay) {
        assert!(handed_over.elapsed() < delay + PATIENCE, "it never ends");
        sleep(GLANCE).await;
    }
    assert!(handed_over.elapsed() >= delay, "the new leader did not count in full");
    cluster.stop().await;
}

/// One contender's locks, from acquire to release, by their places in the log.
async fn contend(handle: Handle, stopped: watch::Receiver<bool>) -> Vec<(u64, u64)> {
    let session = begin(&handle, Duration::ZERO, Duration::ZERO).await;
    let mut held = Vec::new();
    while !*stopped.borrow() {
        let from = match acquire(&handle, session).await {
            Ok(Outcome::Acquired { modify_index, .. }) => modify_index.0,
            Ok(outcome) => {
                assert!(matches!(outcome, Outcome::NotAcquired(Obstacle::Held { .. })), "{outcome:?}");
                continue;
            }
            Err(error) => {
                assert_eq!(error.effect, Effect::Unknown, "{error}");
                continue;
            }
        };
        let release = Command::Release { key: "lock".into(), value: "".into(), flags: 0, session };
        loop {
            match propose(&handle, release.clone()).await {
                Ok(Outcome::Written { modify_index }) => held.push((from, modify_index.0)),
                // An earlier attempt was applied, we do not know where: it was held at `from` at least.
                Ok(Outcome::NotHeld) => held.push((from, from)),
                Ok(outcome) => panic!("{outcome:?}"),
                Err(_) => continue,
            }
            break;
        }
    }
    held
}

/// K21, vector 54: contenders on every member, while leadership moves: no two hold the key at any place in the log, and
/// each holder's fencing token is higher than that of the one before.
#[tokio::test]
async fn a_lock_is_never_held_by_two() {
    let (mut cluster, _directory) = cluster(3).await;
    let (stop, stopped) = watch::channel(false);
    let contenders: Vec<_> =
        (0..3).map(|member| tokio::spawn(contend(cluster.handle(member).clone(), stopped.clone()))).collect();
    for _ in 0..4 {
        sleep(Duration::from_millis(500)).await;
        let leader = cluster.leader(PATIENCE).await.unwrap();
        let target = cluster.handle((leader + 1) % 3).view().identity.server.raft_id.clone();
        // A transfer may lose the race against its deadline; the locks are what counts here.
        let _ = cluster.handle(leader).transfer_leadership(Some(target), soon()).await;
    }
    stop.send_replace(true);
    let mut held = Vec::new();
    for contender in contenders {
        held.extend(contender.await.unwrap());
    }
    assert!(held.len() > 10, "only {} locks", held.len());
    held.sort_unstable();
    for pair in held.windows(2) {
        assert!(pair[0].1 < pair[1].0, "held from {:?} and from {:?}", pair[0], pair[1]);
    }
    cluster.stop().await;
}
