//! Opens a redb file of ours: over the coalescing backend, and only in a format we read (K24).

use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use crate::coalesce::Coalescing;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::limits::{FORMAT_VERSION, FORMAT_VERSION_OLDEST};
use crate::site::Site;

/// The store's own single records, in both kinds of file.
pub(crate) const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");

/// Key of the format record: the kind of file as text, then the version (u32, little-endian).
const FORMAT: &str = "format";

/// What a file of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    State,
}

impl Kind {
    fn mark(self) -> &'static [u8] {
        match self {
            Self::Log => b"quorate log ",
            Self::State => b"quorate state ",
        }
    }
}

/// Creates an empty file, replacing one of that name. The caller writes the first transaction
/// with [`write_format`] in it, and syncs the names.
pub(crate) fn create(
    disk: &Arc<dyn Disk>,
    name: &str,
    cache_bytes: usize,
) -> Result<(Site, Database), StoreError> {
    let site = Site::new(disk, name);
    let file = disk.create(name).map_err(|error| site.io("creating", error))?;
    let database = redb::Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(Coalescing::new(file))
        .map_err(|error| site.redb("creating", error))?;
    Ok((site, database))
}

/// Opens an existing file and checks its format.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    name: &str,
    kind: Kind,
    cache_bytes: usize,
) -> Result<(Site, Database), StoreError> {
    let site = Site::new(disk, name);
    let file = disk.open(name).map_err(|error| site.io("opening", error))?;
    // redb would make an empty file into an empty database: a lost log must not look like a new one.
    if file.len().map_err(|error| site.io("opening", error))? == 0 {
        return Err(site.corrupt("the file is empty"));
    }
    let database = redb::Builder::new()
        .set_cache_size(cache_bytes)
        .create_with_backend(Coalescing::new(file))
        .map_err(|error| site.redb("opening", error))?;
    check_format(&site, &database, kind)?;
    Ok((site, database))
}

/// Writes the format record into a new file's first transaction.
pub(crate) fn write_format(
    site: &Site,
    transaction: &WriteTransaction,
    kind: Kind,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(STORE).map_err(|error| site.redb("creating", error))?;
    let record = [kind.mark(), &FORMAT_VERSION.to_le_bytes()].concat();
    table.insert(FORMAT, record.as_slice()).map_err(|error| site.redb("creating", error))?;
    Ok(())
}

/// A single record of [`STORE`].
pub(crate) fn record(site: &Site, database: &Database, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let reading = |error: redb::Error| site.redb("reading", error);
    let transaction = database.begin_read().map_err(|error| reading(error.into()))?;
    let table = match transaction.open_table(STORE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(reading(error.into())),
    };
    let value = table.get(key).map_err(|error| reading(error.into()))?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn check_format(site: &Site, database: &Database, kind: Kind) -> Result<(), StoreError> {
    let record = record(site, database, FORMAT)?
        .ok_or_else(|| site.corrupt("it is no file of quorate (no format record)"))?;
    let version = record
        .strip_prefix(kind.mark())
        .and_then(|version| version.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| site.corrupt("its format record is of another kind of file"))?;
    if (FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&version) {
        Ok(())
    } else {
        Err(site.version(version))
    }
}
