//! From a staged state to the state file of one entry (K5 with the archive as source).

use quorate_machine::{ApiIndex, Here, Position};
use quorate_raft::LogId;

use super::held::StagedFile;
use crate::directory::Directory;
use crate::error::StoreError;
use crate::names::restored_name;
use crate::snapshot::build_restored;

impl StagedFile {
    /// Builds the state file of the restore that is the entry `at`, the next one after `here`; both file and name are
    /// synced when this returns, and it does the same again after a crash. Nothing refers to it until the log names it.
    ///
    /// The restore's own API index. Reads and writes the whole state, so it is called off the driver's thread.
    pub fn build(&self, directory: &Directory, at: LogId, here: &Here) -> Result<ApiIndex, StoreError> {
        let disk = directory.disk();
        let name = restored_name(at);
        let position = Position { index: at.index.0, term: at.term.0 };
        let built = build_restored(self.site(), &**self.file(), self.order().bytes, here, position, &name);
        if built.is_err() {
            // Best effort: the error that counts is the first one, and the next start removes the file too.
            drop(disk.remove(&name));
        }
        let index = built?;
        // K5: the name must be durable before the log can refer to it.
        disk.sync_names().map_err(|error| self.site().io("restoring an archive", error))?;
        Ok(index)
    }
}
