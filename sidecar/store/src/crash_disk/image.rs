//! One file of a [`super::CrashDisk`]: what a reader sees, and what a power loss would leave.

use rand::Rng;
use rand::rngs::SmallRng;

/// What a disk writes as a whole: a sector is old or new after a power loss, never a mix.
const SECTOR_BYTES: usize = 512;

/// What a power loss does to writes that were not synced. A coin for each sector alone would hardly
/// ever keep a whole commit, which is just what a disk often does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survival {
    Nothing,
    Everything,
    SomeSectors,
}

/// A file's two images.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    /// What reads see.
    pub(super) live: Vec<u8>,
    /// What was synced.
    durable: Vec<u8>,
    /// What happened since, in order.
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Image {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.live, offset, bytes);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.unsynced.push(Change::Length(len));
    }

    /// Everything written so far is durable.
    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Length(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// A sync failed. As on Linux, the pages count as clean now: a later sync that succeeds does not
    /// make them durable. This is why a failed sync is never retried.
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.clear();
    }

    /// What only memory holds is forgotten.
    pub(super) fn forget(&mut self) {
        self.live.clone_from(&self.durable);
    }

    /// Power is lost: what was not synced is lost, kept, or kept and lost sector by sector.
    ///
    /// Changes of length are kept up to a random point: file systems journal them in order.
    pub(super) fn crash(&mut self, survival: Survival, rng: &mut SmallRng) {
        let lengths_kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => self.unsynced.len(),
            Survival::SomeSectors => rng.random_range(0..=self.unsynced.len()),
        };
        for (position, change) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            match change {
                Change::Length(len) if position < lengths_kept => self.durable.resize(len, 0),
                Change::Length(_) => {}
                Change::Write { offset, bytes } => self.keep(offset, &bytes, survival, rng),
            }
        }
        self.live.clone_from(&self.durable);
    }

    fn keep(&mut self, offset: usize, bytes: &[u8], survival: Survival, rng: &mut SmallRng) {
        let mut at = 0;
        while at < bytes.len() {
            let to_boundary = SECTOR_BYTES - (offset + at) % SECTOR_BYTES;
            let end = bytes.len().min(at + to_boundary);
            let is_kept = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::SomeSectors => rng.random(),
            };
            // A sector beyond the end the file has kept belongs to no file.
            if is_kept && offset + end <= self.durable.len() {
                put(&mut self.durable, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }

    /// Turns over one bit of what is durable and seen, as a decaying disk does.
    pub(super) fn flip_bit(&mut self, offset: usize) {
        for image in [&mut self.live, &mut self.durable] {
            if let Some(byte) = image.get_mut(offset) {
                *byte ^= 1;
            }
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}
