//! A data directory of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;

use crate::disk::{DirectoryLock, Disk, DiskFile, Space};

/// Name of the file whose lock holds the directory; it is never written.
const LOCK_NAME: &str = "lock";

/// A directory of the operating system as a [`Disk`].
#[derive(Debug, Clone)]
pub struct OsDisk {
    path: PathBuf,
}

impl OsDisk {
    /// The directory at `path`, created with its parents if it is missing.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        fs::create_dir_all(&path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // The directory's own name must survive a power loss as well.
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options
    }
}

fn file(file: File) -> io::Result<DiskFile> {
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

impl Disk for OsDisk {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        let lock = Self::options().create(true).truncate(false).open(self.path.join(LOCK_NAME))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(DirectoryLock::new(lock))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Ours are all plain UTF-8; anything else in here is not ours to judge.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string())
                && name != LOCK_NAME
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<DiskFile> {
        file(Self::options().open(self.path.join(name))?)
    }

    fn create(&self, name: &str) -> io::Result<DiskFile> {
        file(Self::options().create(true).truncate(true).open(self.path.join(name))?)
    }

    fn reserve(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = Self::options().create(true).truncate(true).open(self.path.join(name))?;
        // `set_len` would leave a hole, which takes nothing.
        Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn settle(&self) -> io::Result<()> {
        for name in self.names()? {
            // To read only: a file that somebody else left here need not be ours to write.
            let file = File::open(self.path.join(name))?;
            file.sync_data()?;
            // A sync that failed in an earlier process left its pages in memory, marked as clean: readable, and on no
            // disk. The one above does not write them; this asks the kernel to drop them.
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        self.sync_names()
    }

    fn space(&self) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(&self.path)?;
        Ok(Space {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            // `bavail`, not `bfree`: what is reserved for root is not ours.
            free_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory is locked against a second process (flock is per open file, so a second handle
    /// in this process stands for it) and free again once the first is gone.
    #[test]
    fn a_directory_is_locked_against_a_second_user() {
        let directory = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(directory.path().join("a/member")).unwrap();
        let held = disk.lock().unwrap();
        assert!(held.is_some());
        assert!(disk.lock().unwrap().is_none());
        drop(held);
        assert!(disk.lock().unwrap().is_some());
    }

    /// P1: what was written is there after it, whether or not anyone synced it.
    #[test]
    fn settling_keeps_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(directory.path()).unwrap();
        let file = disk.create("f").unwrap();
        file.set_len(8).unwrap();
        file.write(0, b"unsynced").unwrap();
        drop(file);
        disk.settle().unwrap();
        let mut out = [0; 8];
        disk.open("f").unwrap().read(0, &mut out).unwrap();
        assert_eq!(&out, b"unsynced");
    }

    /// K8: a file that was reserved takes its bytes; `set_len` alone would leave a hole. (Not every file system can.)
    #[test]
    fn a_reserved_file_takes_its_bytes() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(directory.path()).unwrap();
        if disk.reserve("ballast", 1 << 20).is_ok() {
            let taken = fs::metadata(directory.path().join("ballast")).unwrap().blocks() * 512;
            assert!(taken >= 1 << 20, "{taken} bytes");
        }
    }

    /// K8: free space comes from the volume the directory is on.
    #[test]
    fn free_space_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let space = OsDisk::new(directory.path()).unwrap().space().unwrap();
        assert!(space.total_bytes > 0);
        assert!(space.free_bytes <= space.total_bytes);
    }
}
