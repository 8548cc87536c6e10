//! Valid encodings, and what happens to them.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Inputs are cut to this: no decoder here behaves otherwise beyond it.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Changes of one input at most.
const CHANGES_MAX: usize = 6;
/// Bytes of an input that has nothing to do with any sample, at most.
const NOISE_BYTES_MAX: usize = 200;
/// One input in so many is such noise.
const NOISE_ONE_IN: u32 = 16;
/// Numbers at which lengths, counts and indexes go wrong.
const EDGES: [u64; 10] = [
    0,
    1,
    127,
    128,
    u16::MAX as u64,
    i32::MAX as u64,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    u64::MAX,
];

/// Encoded values to begin from.
pub struct Samples {
    valid: Vec<Vec<u8>>,
    seal: Option<fn(&mut Vec<u8>)>,
}

impl Samples {
    /// These encodings, as they are written.
    pub fn new(valid: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let valid: Vec<Vec<u8>> = valid.into_iter().map(Into::into).collect();
        assert!(!valid.is_empty(), "there is nothing to damage");
        Self { valid, seal: None }
    }

    /// The same, whose checksums `seal` makes right again after most changes.
    #[must_use]
    pub fn sealed_by(self, seal: fn(&mut Vec<u8>)) -> Self {
        Self { seal: Some(seal), ..self }
    }

    /// The input of this seed, the same each time.
    pub fn damaged(&self, seed: u64) -> Vec<u8> {
        let mut draws = SmallRng::seed_from_u64(seed);
        let mut input = match self.valid.choose(&mut draws) {
            Some(sample) if !draws.random_ratio(1, NOISE_ONE_IN) => sample.clone(),
            _ => noise(&mut draws, NOISE_BYTES_MAX),
        };
        for _ in 0..draws.random_range(1..=CHANGES_MAX) {
            self.change(&mut input, &mut draws);
        }
        input.truncate(INPUT_BYTES_MAX);
        if let Some(seal) = self.seal.filter(|_| draws.random_ratio(3, 4)) {
            seal(&mut input);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, draws: &mut SmallRng) {
        if input.is_empty() {
            *input = noise(draws, NOISE_BYTES_MAX);
            return;
        }
        let at = draws.random_range(0..input.len());
        let end = draws.random_range(at..=input.len());
        match draws.random_range(0..9) {
            0 => input[at] ^= 1 << draws.random_range(0..8),
            1 => input[at] = draws.random(),
            2 | 3 => overwrite(&mut input[at..], draws),
            4 => input.truncate(at),
            5 => drop(input.drain(at..end)),
            6 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            7 => {
                // The beginning of one and the end of another, or of the same.
                let other = self.valid.choose(draws).map_or(&[][..], Vec::as_slice);
                let from = draws.random_range(0..=other.len());
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let noise = noise(draws, 8);
                input.splice(at..at, noise);
            }
        }
    }
}

/// Puts a number at or near an edge there, in one of the widths and orders that are in use.
fn overwrite(place: &mut [u8], draws: &mut SmallRng) {
    let edge = EDGES.choose(draws).copied().unwrap_or_default();
    let number = edge.wrapping_add(draws.random_range(0..3)).wrapping_sub(1);
    let width = [1, 2, 4, 8].choose(draws).copied().unwrap_or(8).min(place.len());
    let bytes = number.to_le_bytes();
    place[..width].copy_from_slice(&bytes[..width]);
    if draws.random() {
        place[..width].reverse();
    }
}

fn noise(draws: &mut SmallRng, bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; draws.random_range(0..=bytes_max)];
    draws.fill(bytes.as_mut_slice());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What fails must fail again by its seed; and a thousand seeds must not be a few inputs.
    #[test]
    fn a_seed_gives_the_same_input_and_others_give_others() {
        let samples = Samples::new(["a valid one", "another valid one"]);
        let inputs: BTreeSet<Vec<u8>> = (0..1_000).map(|seed| samples.damaged(seed)).collect();
        assert!(inputs.len() > 800, "only {} inputs", inputs.len());
        for seed in 0..100 {
            assert_eq!(samples.damaged(seed), samples.damaged(seed));
        }
    }

    /// Behind a checksum most inputs would be refused by it.
    #[test]
    fn most_inputs_are_sealed() {
        fn seal(input: &mut Vec<u8>) {
            input.push(0x5a);
        }
        let samples = Samples::new(["sample"]).sealed_by(seal);
        let sealed = (0..1_000).filter(|seed| samples.damaged(*seed).last() == Some(&0x5a)).count();
        assert!((700..900).contains(&sealed), "{sealed}");
    }
}
