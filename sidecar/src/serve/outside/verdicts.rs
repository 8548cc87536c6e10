//! What the API server said of tokens lately. Bounded; the tokens themselves are not kept, only their hashes.

use std::collections::HashMap;

use quorate_publish::Review;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::serve::limits::{REVIEW_GRACE, REVIEW_LIFE, REVIEW_REFUSED_LIFE, REVIEWS_CACHED_MAX};

/// A token's SHA-256.
pub(super) type TokenHash = [u8; 32];

pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

struct Verdict {
    review: Review,
    at: Instant,
}

/// By token.
#[derive(Default)]
pub(super) struct Verdicts {
    all: HashMap<TokenHash, Verdict>,
}

impl Verdicts {
    /// What was said, if it need not be asked again yet.
    pub(super) fn fresh(&self, token: &TokenHash, now: Instant) -> Option<Review> {
        let verdict = self.all.get(token)?;
        let life = match verdict.review {
            Review::Account(_) => REVIEW_LIFE,
            Review::Refused(_) => REVIEW_REFUSED_LIFE,
        };
        (now.saturating_duration_since(verdict.at) < life).then(|| verdict.review.clone())
    }

    /// What is believed while nobody can be asked: that a token was good, for a while.
    pub(super) fn last_good(&self, token: &TokenHash, now: Instant) -> Option<Review> {
        let verdict = self.all.get(token)?;
        let is_good = matches!(verdict.review, Review::Account(_))
            && now.saturating_duration_since(verdict.at) < REVIEW_GRACE;
        is_good.then(|| verdict.review.clone())
    }

    pub(super) fn put(&mut self, token: TokenHash, review: Review, now: Instant) {
        if self.all.len() >= REVIEWS_CACHED_MAX && !self.all.contains_key(&token) {
            self.make_room(now);
        }
        self.all.insert(token, Verdict { review, at: now });
    }

    /// Strangers who send one invented token after the other must not push out the good ones.
    fn make_room(&mut self, now: Instant) {
        self.all.retain(|_, verdict| now.saturating_duration_since(verdict.at) < REVIEW_GRACE);
        if self.all.len() < REVIEWS_CACHED_MAX {
            return;
        }
        let worth = |verdict: &Verdict| (matches!(verdict.review, Review::Account(_)), verdict.at);
        let least = self.all.iter().min_by_key(|(_, verdict)| worth(verdict)).map(|(token, _)| *token);
        if let Some(token) = least {
            self.all.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn good() -> Review {
        Review::Account("shop/web".parse().unwrap())
    }

    fn bad() -> Review {
        Review::Refused("it is not valid".to_owned())
    }

    /// K46: believed for a while; longer only if it was good and nobody can be asked.
    #[test]
    fn a_verdict_is_believed_for_a_while() {
        let (mut verdicts, start) = (Verdicts::default(), Instant::now());
        verdicts.put(hash("good"), good(), start);
        verdicts.put(hash("bad"), bad(), start);
        let moment = Duration::from_millis(1);
        assert_eq!(verdicts.fresh(&hash("good"), start + REVIEW_LIFE - moment), Some(good()));
        assert_eq!(verdicts.fresh(&hash("good"), start + REVIEW_LIFE), None);
        assert_eq!(verdicts.last_good(&hash("good"), start + REVIEW_GRACE - moment), Some(good()));
        assert_eq!(verdicts.last_good(&hash("good"), start + REVIEW_GRACE), None);
        assert_eq!(verdicts.fresh(&hash("bad"), start + REVIEW_REFUSED_LIFE - moment), Some(bad()));
        assert_eq!(verdicts.fresh(&hash("bad"), start + REVIEW_REFUSED_LIFE), None);
        assert_eq!(verdicts.last_good(&hash("bad"), start), None);
        assert_eq!(verdicts.fresh(&hash("unknown"), start), None);
    }

    /// Bounded, and a flood of invented tokens pushes out no good one.
    #[test]
    fn a_flood_of_invented_tokens_pushes_out_no_good_one() {
        let (mut verdicts, start) = (Verdicts::default(), Instant::now());
        verdicts.put(hash("good"), good(), start);
        for number in 0..REVIEWS_CACHED_MAX * 2 {
            verdicts.put(hash(&format!("invented {number}")), bad(), start + Duration::from_secs(1));
        }
        assert_eq!(verdicts.all.len(), REVIEWS_CACHED_MAX);
        assert_eq!(verdicts.fresh(&hash("good"), start), Some(good()));
    }
}
