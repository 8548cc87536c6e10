//! Up to where the application's log may be trimmed (K22): pure, decided by who leads from what all members say.
//!
//! ```text
//!     trimmed ──────── slowest ──────── snapshot ──────── last
//!             may go   │       stays, below the watermark │  stays, always
//!                      └ goes too, above it: that one begins from the snapshot
//! ```

use std::collections::{BTreeMap, BTreeSet};

use quorate_machine::limits::APPLICATION_LOG_BYTES_PATIENT;
use quorate_machine::{ApiIndex, ApplicationMeta};
use quorate_raft::{Configuration, ServerId};

use super::ApplicationWord;
use crate::driver::spread::is_quorum;

/// The last entry that may go; none if nothing may. A server that said nothing has applied nothing.
pub(super) fn upto(
    meta: &ApplicationMeta,
    configuration: &Configuration,
    words: &BTreeMap<ServerId, ApplicationWord>,
) -> Option<ApiIndex> {
    let snapshot = meta.snapshot?.index;
    let has_it = |id: &ServerId| words.get(id).is_some_and(|word| word.snapshot == snapshot);
    let ids = || configuration.servers().iter().map(|server| &server.id);
    let holders: BTreeSet<ServerId> = ids().filter(|id| has_it(id)).cloned().collect();
    if !is_quorum(configuration, &holders) {
        return None;
    }
    let slowest = ids().map(|id| words.get(id).map_or(ApiIndex(0), |word| word.applied)).min()?;
    let upto = if meta.bytes > APPLICATION_LOG_BYTES_PATIENT { snapshot } else { slowest.min(snapshot) };
    (upto > meta.trimmed).then_some(upto)
}

#[cfg(test)]
mod tests {
    use quorate_machine::ApplicationSnapshot;
    use quorate_raft::{Address, Incarnation, Intent, RaftId, Server, Suffrage};

    use super::*;

    fn id(name: &str) -> ServerId {
        ServerId::new(RaftId::new(name).unwrap(), Incarnation(1))
    }

    fn configuration() -> Configuration {
        let server = |name, suffrage| Server {
            id: id(name),
            address: Address::new("host:1").unwrap(),
            suffrage,
            intent: Intent::Voter,
        };
        let voters = ["a", "b", "c"].map(|name| server(name, Suffrage::Voter));
        let joining = server("d", Suffrage::NonVoter);
        Configuration::new(voters.into_iter().chain([joining]).collect()).unwrap()
    }

    fn meta(bytes: u64) -> ApplicationMeta {
        let snapshot = ApplicationSnapshot { index: ApiIndex(50), sha256: [0; 32], bytes: 9 };
        ApplicationMeta {
            trimmed: ApiIndex(10),
            last: ApiIndex(90),
            entries: 80,
            bytes,
            snapshot: Some(snapshot),
        }
    }

    /// Each member: how far its application is, and which snapshot it holds.
    fn words(said: [(u64, u64); 4]) -> BTreeMap<ServerId, ApplicationWord> {
        let word = |(applied, snapshot)| ApplicationWord {
            applied: ApiIndex(applied),
            snapshot: ApiIndex(snapshot),
        };
        ["a", "b", "c", "d"].map(id).into_iter().zip(said.map(word)).collect()
    }

    /// K22: below the watermark an entry waits for the slowest application, of a member without a vote too.
    #[test]
    fn entries_wait_for_the_slowest_application() {
        let upto = |said| upto(&meta(100), &configuration(), &words(said));
        assert_eq!(upto([(90, 50), (80, 50), (70, 50), (30, 0)]), Some(ApiIndex(30)));
        assert_eq!(
            upto([(90, 50), (80, 50), (70, 50), (60, 0)]),
            Some(ApiIndex(50)),
            "not beyond the snapshot"
        );
        assert_eq!(upto([(90, 50), (80, 50), (70, 50), (0, 0)]), None, "it said nothing yet");
        assert_eq!(upto([(90, 50), (80, 50), (70, 50), (10, 0)]), None, "that is gone already");
    }

    /// K22: above the watermark the snapshot is enough, and without one nothing goes.
    #[test]
    fn above_the_watermark_a_slow_application_is_not_waited_for() {
        let full = meta(APPLICATION_LOG_BYTES_PATIENT + 1);
        let said = [(90, 50), (80, 50), (0, 0), (0, 0)];
        assert_eq!(upto(&full, &configuration(), &words(said)), Some(ApiIndex(50)));
        let bare = ApplicationMeta { snapshot: None, ..full };
        assert_eq!(upto(&bare, &configuration(), &words(said)), None);
    }

    /// K22, P1: a snapshot that only a minority has on disk could be lost with it.
    #[test]
    fn nothing_goes_while_no_quorum_has_the_snapshot() {
        let full = meta(APPLICATION_LOG_BYTES_PATIENT + 1);
        assert_eq!(upto(&full, &configuration(), &words([(90, 50), (90, 40), (90, 0), (90, 50)])), None);
        assert_eq!(
            upto(&full, &configuration(), &words([(90, 50), (90, 50), (90, 0), (90, 0)])),
            Some(ApiIndex(50))
        );
    }
}
