//! An open file of a [`super::CrashDisk`].

use std::io;

use redb::StorageBackend;

use super::{Call, CrashDisk, Image, Inner};

#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) disk: CrashDisk,
    pub(super) id: u64,
    pub(super) generation: u64,
}

impl MemoryFile {
    fn image<T>(
        &self,
        call: Option<Call>,
        work: impl FnOnce(&mut Inner, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if inner.generation != self.generation {
            return Err(io::Error::other("this handle is from before a crash"));
        }
        if let Some(call) = call
            && let Err(error) = inner.call(call)
        {
            // With the power cut nothing was decided yet: `crash` tosses the coins.
            if call == Call::Sync && !inner.is_dead() {
                image(&mut inner, self.id)?.fail_sync();
            }
            return Err(error);
        }
        work(&mut inner, self.id)
    }
}

fn image(inner: &mut Inner, id: u64) -> io::Result<&mut Image> {
    inner.files.get_mut(&id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.image(None, |inner, id| Ok(image(inner, id)?.live.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = position(offset)?;
        self.image(None, |inner, id| {
            let live = &image(inner, id)?.live;
            let bytes = live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = position(len)?;
        self.image(Some(Call::SetLen), |inner, id| {
            inner.fits(id, len)?;
            image(inner, id)?.set_len(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.image(Some(Call::Sync), |inner, id| {
            image(inner, id)?.sync();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = position(offset)?;
        self.image(Some(Call::Write), |inner, id| {
            inner.fits(id, start + data.len())?;
            image(inner, id)?.write(start, data);
            Ok(())
        })
    }
}
