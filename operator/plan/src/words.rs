//! Numbers and ages in messages, coarse on purpose.
//!
//! A message is part of status, and a number that changes with every look would write status with every look (I7);
//! each such write would wake the next round. So ages and distances grow in steps a person still finds useful.

use std::time::Duration;

use crate::raft_view::{RaftView, ServerView};

/// The steps of an age.
const AGES_SECS: [u64; 11] = [10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400];

/// An age in words, never more than it is: "a few seconds", "over 30 s", "over 5 min", "over 6 h".
pub(crate) fn age(age: Duration) -> String {
    let step = AGES_SECS.iter().rev().find(|&&step| age.as_secs() >= step);
    match step {
        None => "a few seconds".to_owned(),
        Some(&secs) if secs < 60 => format!("over {secs} s"),
        Some(&secs) if secs < 3_600 => format!("over {} min", secs / 60),
        Some(&secs) => format!("over {} h", secs / 3_600),
    }
}

/// A count with one significant digit: 5,213 reads "about 5000".
pub(crate) fn about(count: u64) -> String {
    let digits = count.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.saturating_pow(digits);
    if count < 10 { count.to_string() } else { format!("about {}", count / unit * unit) }
}

/// A wait in whole steps of five seconds, rounded up.
pub(crate) fn wait_secs(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).div_ceil(5_000).max(1) * 5
}

/// Why a server is unhealthy, in words that stay the same while the reason does.
pub(crate) fn unhealthy(view: &RaftView, server: &ServerView) -> String {
    match server.last_contact {
        Some(silence) if silence > view.settings.last_contact_threshold => {
            format!("not heard for {}", age(silence))
        }
        Some(_) if server.trailing > view.settings.max_trailing_logs => {
            format!("its log trails by {} entries", about(server.trailing))
        }
        _ => server.unhealthy_because.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_grows_in_steps_and_is_never_overstated() {
        let words: Vec<_> =
            [3, 10, 19, 59, 60, 299, 3_700, 100_000].map(|secs| age(Duration::from_secs(secs))).into();
        let expected = [
            "a few seconds",
            "over 10 s",
            "over 10 s",
            "over 30 s",
            "over 1 min",
            "over 2 min",
            "over 1 h",
            "over 24 h",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_count_has_one_significant_digit() {
        assert_eq!([0, 7, 10, 5_213, 99_999].map(about), ["0", "7", "about 10", "about 5000", "about 90000"]);
    }

    #[test]
    fn a_wait_is_rounded_up_to_five_seconds() {
        assert_eq!([0, 1, 5_000, 5_001].map(|ms| wait_secs(Duration::from_millis(ms))), [5, 5, 5, 10]);
    }
}
