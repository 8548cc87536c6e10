//! A command with a client's number takes effect at most once, however often it stands in the log (K20).

use std::collections::BTreeMap;

use quorate_machine::{ClientId, Outcome, Tagged};
use quorate_raft::{Entry, Index, Payload};

use crate::simulation::coverage::{Coverage, Happening};

/// Where each numbered command took effect first, and what it came to.
#[derive(Default)]
pub struct AtMostOnce {
    first: BTreeMap<(ClientId, u64), (Index, Outcome)>,
}

impl AtMostOnce {
    /// What was applied after the entry `upto` is lost; what that was.
    pub fn lose_after(&mut self, upto: Index) -> BTreeMap<(ClientId, u64), Outcome> {
        let lost = self.first.extract_if(.., |_, (at, _)| *at > upto);
        lost.map(|(command, (_, outcome))| (command, outcome)).collect()
    }

    /// A machine applied an entry. A repeat must be answered as the first was, or refused. Whether it is none.
    pub fn applied(
        &mut self,
        entry: &Entry,
        outcome: Option<&Outcome>,
        coverage: &mut Coverage,
    ) -> Result<bool, String> {
        let Payload::Command(command) = &entry.payload else { return Ok(true) };
        let Some(tag) = Tagged::decode(command).ok().and_then(|tagged| tagged.tag) else { return Ok(true) };
        let Some(outcome) = outcome.filter(|outcome| !matches!(outcome, Outcome::Refused(_))) else {
            return Ok(true);
        };
        let key = (tag.client, tag.sequence);
        let (at, first) = self.first.entry(key).or_insert_with(|| (entry.index, outcome.clone()));
        if *at != entry.index {
            coverage.hit(Happening::Recognised);
        }
        let is_first = *at == entry.index;
        if first != outcome {
            return Err(format!(
                "at most once: command {} of client {} came to {first:?} at {} and to {outcome:?} at {}",
                tag.sequence, tag.client, at.0, entry.index.0
            ));
        }
        Ok(is_first)
    }
}
