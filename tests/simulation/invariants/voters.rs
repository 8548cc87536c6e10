//! Voters count, and nobody else (N1). Said here once more from the servers themselves: the other invariants ask the
//! core who counts, and would believe it.

use quorate_raft::{Configuration, Server, Suffrage};

use super::Verdict;

/// The rule for a configuration.
pub struct Voters;

impl Voters {
    /// The majority of a configuration that is not joint is one of its voters.
    pub fn count(configuration: &Configuration) -> Verdict {
        let has_vote = |server: &&Server| server.suffrage == Suffrage::Voter;
        let voters = configuration.servers().iter().filter(has_vote).map(|server| &server.id);
        match configuration.majorities().as_slice() {
            [only] if !only.iter().copied().eq(voters) => {
                Err(format!("voters count: {only:?} are counted in {configuration:?}"))
            }
            _ => Ok(()),
        }
    }
}
