//! Inputs from a hostile world: no bytes make a decoder panic, and no input the core (B6; raft.md §7, 21).
//!
//! ```text
//!   a seed ──▶ a valid encoding, damaged: flipped, cut, spliced, numbers at their edges ──▶ the decoder
//! ```
//! A target is a test of the crate whose code it is, named `…_never_panic`. In `make test` each runs for a moment, always
//! from seed 0, so that a change is judged by the same inputs as the one before; `make fuzz` gives each as long as it is
//! told, on seeds nobody saw before. An input is made from its seed alone: what fails says the seed, and how to see it again.
//!
//! Not here: coverage. Instrumented builds need a nightly compiler; instead inputs begin from real encodings of every kind,
//! and checksums are made right again, so that damage gets past them.

mod samples;

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use samples::Samples;

/// How long each target is tried, in seconds.
const SECONDS: &str = "FUZZ_SECONDS";
/// The one seed to be tried again.
const SEED: &str = "FUZZ_SEED";
/// How long each is tried in a plain run of the tests, in seconds.
const SECONDS_USUAL: u64 = 2;

/// Tries `decode` on damaged `samples`. `target` is the name of the test.
///
/// # Panics
/// If `decode` does; what is printed then repeats it.
pub fn bytes(target: &str, samples: &Samples, mut decode: impl FnMut(&[u8])) {
    let is_replay = given(SEED).is_some();
    seeds(target, |seed| {
        let input = samples.damaged(seed);
        if is_replay {
            println!("{}", hex(&input));
        }
        decode(&input);
    });
}

/// Calls `attempt` with one seed after another, from each of which it makes one input. `target` is the name of the test.
///
/// # Panics
/// If `attempt` does; what is printed then repeats it.
pub fn seeds(target: &str, mut attempt: impl FnMut(u64)) {
    if let Some(seed) = given(SEED) {
        attempt(seed);
        println!("fuzz {target}: no panic from seed {seed}");
        return;
    }
    let lasts = Duration::from_secs(given(SECONDS).unwrap_or(SECONDS_USUAL));
    let first = if given(SECONDS).is_some() { from_clock() } else { 0 };
    let mut trying = Trying { target, seed: first };
    let began = Instant::now();
    while began.elapsed() < lasts {
        attempt(trying.seed);
        trying.seed = trying.seed.wrapping_add(1);
    }
    let tried = trying.seed.wrapping_sub(first);
    println!("fuzz {target}: {tried} inputs in {} s, from seed {first}", lasts.as_secs());
    assert!(tried > 0, "nothing was tried");
}

/// What is being tried; says so when it panics.
struct Trying<'a> {
    target: &'a str,
    seed: u64,
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("fuzz {}: a panic from seed {}", self.target, self.seed);
            println!("replay: make fuzz TARGET={} SEED={}", self.target, self.seed);
        }
    }
}

/// A number from the environment.
///
/// # Panics
/// If it is there and no number: a run that did something else would prove nothing.
fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, no number")))
}

/// Where seeds begin that nobody tried: microseconds, so that two runs share none.
fn from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search that could not fail would show nothing: one byte in the wrong place is met in a moment.
    #[test]
    #[should_panic(expected = "the planted mistake")]
    fn a_decoder_that_can_be_made_to_panic_is() {
        let samples = Samples::new(["a valid one"]);
        bytes("a_decoder_that_can_be_made_to_panic_is", &samples, |input| {
            assert!(input.first() != Some(&0xff), "the planted mistake");
        });
    }
}
