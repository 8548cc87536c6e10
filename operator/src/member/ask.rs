//! This round's answers: each member's own, and the leader's view (K32).
//!
//! All members are asked side by side under one deadline, so a dead one costs two seconds once and never hides the
//! others. The view comes from whoever gives one: only a leader does, and only after a majority confirmed it in a
//! round begun on this request. Of several, the greatest (recovery epoch, term) is right.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use quorate_api::v1;
use quorate_api::v1::autopilot_client::AutopilotClient;
use quorate_api::v1::cluster_client::ClusterClient;
use quorate_plan::raft_view::{MemberAnswer, RaftView};
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tracing::debug;

use super::convert;
use super::dial::{Dialer, MemberAddress};
use crate::limits::ASK_TIMEOUT;

/// Autopilot's first round under a new leader is awaited in steps of this length.
const AUTOPILOT_POLL: Duration = Duration::from_millis(100);

/// What was heard this round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// By Pod; a member that did not answer is absent.
    pub(crate) members: BTreeMap<String, MemberAnswer>,
    /// The leader's.
    pub(crate) view: Option<RaftView>,
}

/// Asks every member.
pub(crate) async fn ask_all(dialer: &Dialer, members: &[MemberAddress]) -> Answers {
    let deadline = Instant::now() + ASK_TIMEOUT;
    let asked = members.iter().map(|member| async move {
        let answer = ask(dialer, member, deadline).await;
        (member.pod.clone(), answer)
    });
    merge(join_all(asked).await)
}

/// One member's part.
#[derive(Clone, Debug, Default)]
struct Heard {
    answer: Option<MemberAnswer>,
    view: Option<RaftView>,
}

async fn ask(dialer: &Dialer, member: &MemberAddress, deadline: Instant) -> Heard {
    let channel = match timeout_at(deadline, dialer.dial(member)).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(status)) => {
            debug!(raft_id = %member.raft_id, error = status.message(), "member did not answer");
            return Heard::default();
        }
        Err(_) => {
            debug!(raft_id = %member.raft_id, "member did not answer in time");
            return Heard::default();
        }
    };
    let (answer, view) = tokio::join!(
        timeout_at(deadline, status(channel.clone())),
        timeout_at(deadline, view(channel, &member.raft_id)),
    );
    Heard { answer: answer.ok().flatten(), view: view.ok().flatten() }
}

async fn status(channel: Channel) -> Option<MemberAnswer> {
    match ClusterClient::new(channel).status(v1::StatusRequest {}).await {
        Ok(response) => Some(convert::answer(response.into_inner())),
        Err(error) => {
            debug!(error = error.message(), "Status was refused");
            None
        }
    }
}

async fn view(channel: Channel, raft_id: &str) -> Option<RaftView> {
    let view = loop {
        match ClusterClient::new(channel.clone()).view(v1::ViewRequest {}).await {
            // Before autopilot's first round under this leader nobody's health is known: waiting a moment is
            // better than a round that calls everybody unhealthy.
            Ok(response) if response.get_ref().autopilot.is_none() => {
                tokio::time::sleep(AUTOPILOT_POLL).await;
            }
            Ok(response) => break response.into_inner(),
            Err(error) => {
                debug!(%raft_id, error = error.message(), "no view from this member");
                return None;
            }
        }
    };
    let settings =
        AutopilotClient::new(channel).get_configuration(v1::GetAutopilotConfigurationRequest {}).await;
    match settings {
        Ok(settings) => convert::view(view, settings.get_ref()),
        Err(error) => {
            debug!(%raft_id, error = error.message(), "no autopilot settings from this member");
            None
        }
    }
}

/// Puts the answers together.
fn merge(heard: Vec<(String, Heard)>) -> Answers {
    let mut answers = Answers::default();
    for (pod, heard) in heard {
        if let Some(view) = heard.view {
            let rank = |view: &RaftView| (view.recovery_epoch, view.term);
            if answers.view.as_ref().is_none_or(|best| rank(best) < rank(&view)) {
                answers.view = Some(view);
            }
        }
        if let Some(answer) = heard.answer {
            answers.members.insert(pod, answer);
        }
    }
    note_lost_volumes(&mut answers);
    answers
}

/// A member that answers under another incarnation than the configuration has lost its volume (K1): the called
/// itself says so, which is proof.
fn note_lost_volumes(answers: &mut Answers) {
    let Some(view) = &mut answers.view else { return };
    for server in &mut view.servers {
        server.is_volume_lost = answers
            .members
            .values()
            .any(|answer| answer.raft_id == server.raft_id && answer.incarnation != server.incarnation);
    }
}

#[cfg(test)]
mod tests {
    use quorate_plan::raft_view::ServerView;

    use super::*;

    fn heard(pod: &str, incarnation: &str, view: Option<RaftView>) -> (String, Heard) {
        let answer = MemberAnswer {
            raft_id: format!("{pod}-3f2a91c4"),
            incarnation: incarnation.to_owned(),
            ..MemberAnswer::default()
        };
        (pod.to_owned(), Heard { answer: Some(answer), view })
    }

    fn view(recovery_epoch: u64, term: u64) -> RaftView {
        let server = |pod: &str| ServerView {
            raft_id: format!("{pod}-3f2a91c4"),
            incarnation: "aa".to_owned(),
            ..ServerView::default()
        };
        RaftView {
            recovery_epoch,
            term,
            servers: vec![server("db-0"), server("db-1")],
            ..RaftView::default()
        }
    }

    /// K32: of two that answer as leader, the later one is right, and a recovered cluster's beats any term.
    #[test]
    fn of_several_views_the_greatest_epoch_and_term_counts() {
        let terms = |views: [(u64, u64); 3]| {
            let heard_all = views.iter().enumerate();
            let answers =
                heard_all.map(|(n, &(epoch, term))| heard(&format!("db-{n}"), "aa", Some(view(epoch, term))));
            merge(answers.collect()).view.map(|view| (view.recovery_epoch, view.term))
        };
        assert_eq!(terms([(0, 7), (0, 9), (0, 8)]), Some((0, 9)));
        assert_eq!(terms([(0, 90), (1, 2), (0, 91)]), Some((1, 2)));
        assert_eq!(merge(vec![heard("db-0", "aa", None)]).view, None);
    }

    /// K1: an emptied directory under a running claim answers with another incarnation.
    #[test]
    fn a_member_under_another_incarnation_has_lost_its_volume() {
        let answers = merge(vec![heard("db-0", "aa", Some(view(0, 7))), heard("db-1", "bb", None)]);
        let lost: Vec<bool> =
            answers.view.unwrap().servers.iter().map(|server| server.is_volume_lost).collect();
        assert_eq!(lost, [false, true]);
    }

    /// K32: silence is not an answer; the others' answers stand.
    #[test]
    fn a_silent_member_is_absent_and_hides_nobody() {
        let answers = merge(vec![("db-0".to_owned(), Heard::default()), heard("db-1", "aa", None)]);
        assert_eq!(answers.members.keys().collect::<Vec<_>>(), ["db-1"]);
    }
}
