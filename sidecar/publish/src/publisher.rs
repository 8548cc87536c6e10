//! The loop that turns views into writes while this member leads.
//!
//! ```text
//!   watch<Option<RaftView>> ──▶ None: not leader, no client, nothing is written
//!                               Some(view): pace ──▶ status · lease + slice ──▶ Publishing (last error)
//! ```
//! Invariant: nothing of the data path waits for this loop. It reads the newest view and skips those between; a
//! slow API server costs freshness of status and nothing else.
//! Not here: whether this member leads. The view says so, and the API server's fence and the slice's term settle
//! it between two that believe it.

use std::time::Instant;

use kube::Client;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::connect::Connection;
use crate::error::PublishError;
use crate::pace::{Due, Now, Pace};
use crate::slice::LeaderTerm;
use crate::status::Written;
use crate::target::Target;
use crate::view::RaftView;
use crate::{lease, slice, status};

/// How publishing goes, for `Cluster.Status` and `/status`: the operator quotes it as `PublishingBlocked` (K32).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publishing {
    /// Why the last write did not happen; `None` when it did, or when this member does not lead.
    pub last_error: Option<String>,
}

/// Publishes views until their sender is dropped.
///
/// `views` holds `None` while this member does not lead. `report` always holds how the last write went.
pub async fn publish(
    connection: Connection,
    target: Target,
    mut views: watch::Receiver<Option<RaftView>>,
    report: watch::Sender<Publishing>,
) {
    let started = Instant::now();
    let mut leadership: Option<Leadership> = None;
    loop {
        let view = views.borrow_and_update().clone();
        let until = if let Some(view) = view {
            let term = LeaderTerm::of(&view);
            let held = match leadership.take() {
                Some(held) if held.term == term => held,
                _ => {
                    debug!(view.term, "publishing as leader");
                    Leadership::new(term, started.elapsed())
                }
            };
            let held = leadership.insert(held);
            Some(held.turn(&connection, &target, &view, started, &report).await)
        } else {
            leadership = None;
            tell(&report, None);
            None
        };
        let wait = async {
            match until {
                Some(until) => tokio::time::sleep(until.saturating_sub(started.elapsed())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = wait => {}
        }
    }
}

/// One term's publishing. The client lives as long: a follower holds no connection and none of its memory.
struct Leadership {
    term: LeaderTerm,
    pace: Pace,
    client: Option<Client>,
    /// Why another writes `status.raft` now: nothing more is written to it in this term.
    superseded: Option<String>,
}

impl Leadership {
    fn new(term: LeaderTerm, now: Now) -> Self {
        Self { term, pace: Pace::new(now), client: None, superseded: None }
    }

    /// Does what is due and says when to come back, a new view apart.
    async fn turn(
        &mut self,
        connection: &Connection,
        target: &Target,
        view: &RaftView,
        started: Instant,
        report: &watch::Sender<Publishing>,
    ) -> Now {
        let wanted = view.to_status();
        loop {
            let now = started.elapsed();
            let due = match self.superseded {
                Some(_) => self.pace.renewal_due(now),
                None => self.pace.due(now, &wanted),
            };
            let outcome = match due {
                Due::Nothing { until } => return until,
                Due::Status => self.write_status(connection, target, &wanted, started).await,
                Due::Renewal => self.renew(connection, target, started).await,
            };
            match outcome {
                Ok(note) => tell(report, note),
                Err(error) => {
                    tell(report, Some(error.text()));
                    let (now, jitter) = (started.elapsed(), jitter(target));
                    match due {
                        Due::Renewal => self.pace.renewal_failed(now, jitter),
                        Due::Status | Due::Nothing { .. } => self.pace.status_failed(now, jitter),
                    }
                    // A new connection next time: this one may be the trouble (a rotated CA, a moved API server).
                    self.client = None;
                }
            }
        }
    }

    async fn write_status(
        &mut self,
        connection: &Connection,
        target: &Target,
        wanted: &quorate_crds::RaftStatus,
        started: Instant,
    ) -> Result<Option<String>, PublishError> {
        let client = self.client(connection, target)?;
        match status::apply(&client, target, wanted).await? {
            Written::Yes => {
                self.pace.status_written(started.elapsed(), wanted.clone());
                Ok(None)
            }
            Written::Superseded(why) => {
                self.superseded = Some(why.clone());
                Ok(Some(why))
            }
        }
    }

    async fn renew(
        &mut self,
        connection: &Connection,
        target: &Target,
        started: Instant,
    ) -> Result<Option<String>, PublishError> {
        let client = self.client(connection, target)?;
        lease::renew(&client, target).await?;
        let mut note = self.superseded.clone();
        if let Some(name) = &target.leader_slice {
            match slice::claim(&client, target, name, self.term).await? {
                Written::Yes => {}
                Written::Superseded(why) => note = Some(why),
            }
        }
        self.pace.renewed(started.elapsed());
        Ok(note)
    }

    fn client(&mut self, connection: &Connection, target: &Target) -> Result<Client, PublishError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = connection.client(&target.namespace)?;
        self.client = Some(client.clone());
        Ok(client)
    }
}

/// Records the outcome and logs only the change: repeated trouble is one line.
fn tell(report: &watch::Sender<Publishing>, last_error: Option<String>) {
    report.send_if_modified(|publishing| {
        if publishing.last_error == last_error {
            return false;
        }
        if let Some(error) = &last_error {
            warn!(%error, "publishing to kubernetes is blocked; data is not affected");
        } else {
            info!("publishing to kubernetes is not blocked any more");
        }
        publishing.last_error = last_error;
        true
    });
}

/// A number that differs between members, so that those which failed together do not try again together.
fn jitter(target: &Target) -> u8 {
    target.pod.bytes().chain(target.cluster_uid.bytes()).fold(0u8, |sum, byte| sum.wrapping_mul(31) ^ byte)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::testing::{FakeApi, target};
    use crate::view::tests::view;

    fn connection() -> Connection {
        Connection { host: "127.0.0.1".to_owned(), port: 1, credentials: PathBuf::from("/does-not-exist") }
    }

    fn leadership(api: &FakeApi, view: &RaftView) -> Leadership {
        let mut held = Leadership::new(LeaderTerm::of(view), Now::ZERO);
        held.client = Some(api.client());
        held
    }

    /// K31, K32, K40: a new leader writes its status, its sign of life and its endpoint, once each.
    #[tokio::test]
    async fn a_new_leader_writes_status_lease_and_endpoint_and_then_rests() {
        let api = FakeApi::default();
        api.answer(200, json!({ "metadata": { "name": "db" } }));
        api.answer(200, json!({ "metadata": { "name": "db-leader" } }));
        api.refuse(404, "");
        let (report, reported) = watch::channel(Publishing::default());
        let view = view(7);
        let mut held = leadership(&api, &view);
        let started = Instant::now();
        held.turn(&connection(), &target(), &view, started, &report).await;
        let until = held.turn(&connection(), &target(), &view, started, &report).await;
        let paths: Vec<String> = api.asked().into_iter().map(|asked| asked.path).collect();
        assert_eq!(paths.len(), 3, "{paths:?}");
        assert!(paths[0].ends_with("raftclusters/db/status"), "{paths:?}");
        assert!(paths[1].ends_with("leases/db-leader"), "{paths:?}");
        assert!(paths[2].ends_with("endpointslices/db-leader"), "{paths:?}");
        assert!(until > Now::from_secs(9), "{until:?}");
        assert_eq!(reported.borrow().last_error, None);
    }

    /// K32: the operator can quote why status is stale; and a status that is another's leaves the Lease going.
    #[tokio::test]
    async fn what_was_refused_is_reported_and_the_lease_is_renewed_all_the_same() {
        let api = FakeApi::default();
        api.refuse(422, "status.raft");
        api.answer(200, json!({ "metadata": { "name": "db-leader" } }));
        let (report, reported) = watch::channel(Publishing::default());
        let view = view(7);
        let mut held = leadership(&api, &view);
        let target = Target { leader_slice: None, ..target() };
        held.turn(&connection(), &target, &view, Instant::now(), &report).await;
        assert_eq!(api.asked().len(), 2);
        let error = reported.borrow().last_error.clone().unwrap();
        assert!(error.contains("later recovery epoch or term"), "{error}");
    }

    /// A missing token is told with what to check, and stops nothing.
    #[tokio::test]
    async fn a_connection_that_cannot_be_made_is_reported_and_tried_later() {
        let (report, reported) = watch::channel(Publishing::default());
        let view = view(7);
        let mut held = Leadership::new(LeaderTerm::of(&view), Now::ZERO);
        let until = held.turn(&connection(), &target(), &view, Instant::now(), &report).await;
        assert!(until >= Now::from_millis(500), "{until:?}");
        let error = reported.borrow().last_error.clone().unwrap();
        assert!(error.contains("quorate-token"), "{error}");
    }
}
