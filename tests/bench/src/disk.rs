//! What the disk does by itself: the anchor under both systems.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::histogram::{Latencies, Quantiles};

/// Written and synced at a time.
const BLOCK_BYTES: usize = 4 * 1024;
/// Blocks of the file, all written before the first is measured: an append pays for the file system's journal too.
const BLOCKS: usize = 4 * 1024;

/// Writes a block and calls fdatasync, one after the other for so long, in a file that nobody sees.
pub(crate) fn syncs(directory: &Path, lasts: Duration) -> Result<Quantiles> {
    measure(directory, lasts).with_context(|| format!("measuring the disk of {}", directory.display()))
}

fn measure(directory: &Path, lasts: Duration) -> Result<Quantiles> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let block = [0x51; BLOCK_BYTES];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let (began, mut latencies) = (Instant::now(), Latencies::new());
    for at in (0..BLOCKS).cycle() {
        let now = Instant::now();
        file.write_all_at(&block, u64::try_from(at * BLOCK_BYTES)?)?;
        file.sync_data()?;
        latencies.record(now.elapsed());
        if began.elapsed() >= lasts {
            break;
        }
    }
    Ok(latencies.quantiles())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_takes_some_time() {
        let directory = tempfile::tempdir().unwrap();
        let told = syncs(directory.path(), Duration::from_millis(10)).unwrap();
        assert!(told.p50 > 0.0);
    }
}
