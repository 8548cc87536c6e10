//! One call, and who makes it.

use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::seq::index;
use rand::{Rng, RngCore, SeedableRng};

use crate::shape::{Operation, READS_OF_TEN, Shape, WRITES_TOGETHER};

/// A call, as both systems understand it.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Writes a key.
    Write(Bytes, Bytes),
    /// Writes several keys, no two alike, which etcd would refuse; whether together or each for itself is the system's.
    WriteTogether(Vec<(Bytes, Bytes)>),
    /// Reads a key, linearizably.
    Read(Bytes),
    /// Reads a key from what this member has.
    StaleRead(Bytes),
}

/// A client of one member, with one call under way at a time.
pub(crate) trait Caller: Send + 'static {
    /// Makes a call. A read that finds nothing has failed: every key was written before.
    fn call(&mut self, call: Call) -> impl Future<Output = Result<(), String>> + Send;
}

/// Draws a caller's calls.
pub(crate) struct Draws {
    operation: Operation,
    keys: u32,
    random: SmallRng,
    /// What every value begins as.
    filling: Vec<u8>,
}

impl Draws {
    /// Of one shape. The same seed draws the same.
    pub(crate) fn of(shape: &Shape, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut filling = vec![0; shape.value_bytes];
        random.fill_bytes(&mut filling);
        Self { operation: shape.operation, keys: shape.keys, random, filling }
    }

    /// The next call, on any key.
    pub(crate) fn next(&mut self) -> Call {
        let number = self.random.random_range(0..self.keys);
        match self.operation {
            Operation::Write | Operation::Lose(_) => self.write(number),
            Operation::Mix if self.random.random_range(0..10) >= READS_OF_TEN => self.write(number),
            Operation::WriteTogether => {
                let numbers = index::sample(&mut self.random, self.keys as usize, WRITES_TOGETHER);
                Call::WriteTogether(numbers.into_iter().map(|number| self.pair(number)).collect())
            }
            Operation::Read | Operation::Mix => Call::Read(key(number)),
            // Nobody calls while nothing is asked, or while a member starts.
            Operation::StaleRead | Operation::Idle | Operation::Restart => Call::StaleRead(key(number)),
        }
    }

    /// A write of this key. No two write the same: a value that changes nothing could be cheaper.
    pub(crate) fn write(&mut self, number: u32) -> Call {
        Call::Write(key(number), self.value())
    }

    fn pair(&mut self, number: usize) -> (Bytes, Bytes) {
        (key(u32::try_from(number).unwrap_or(u32::MAX)), self.value())
    }

    fn value(&mut self) -> Bytes {
        let mut value = BytesMut::from(self.filling.as_slice());
        value[..8].copy_from_slice(&self.random.next_u64().to_be_bytes());
        value.freeze()
    }
}

fn key(number: u32) -> Bytes {
    Bytes::from(format!("bench/{number:08}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::closed;

    #[test]
    fn writes_are_of_the_size_that_is_told_and_no_two_are_alike() {
        let mut draws = Draws::of(&closed("test", Operation::Write, 1), 7);
        let (Call::Write(key, one), Call::Write(again, other)) = (draws.write(3), draws.write(3)) else {
            panic!("no writes");
        };
        assert_eq!((key.as_ref(), again.as_ref()), (&b"bench/00000003"[..], &b"bench/00000003"[..]));
        assert_eq!((one.len(), other.len()), (256, 256));
        assert_ne!(one, other);
    }
}
