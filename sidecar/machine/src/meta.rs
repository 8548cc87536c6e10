//! What the state knows beside its rows: where it stands in the log, and the numbers that belong to that place.
//!
//! It is one row of the same flush as everything else, so a state file is always whole at one index (K4).
//! The store reads it to learn `durable_applied` and the configuration.
//!
//! Row: `format u8 = 1`, then as in `codec` the numbers applied index, applied term, index base, keys' index, tombstones,
//! tombstone floor, sessions' index, places of sessions, cluster version, recovery epoch, restore epoch, mode; the
//! application's log (`application`); settings' create and modify index; the settings
//! (`settings_codec`); remembered servers (`servers`); 0, or 1 and the configuration's index, owners and bytes.

use bytes::Bytes;
use quorate_autopilot::SettingsChange;

use crate::application::{ApplicationMeta, Mode};
use crate::base::{Base, Table};
use crate::codec::{DecodeError, Reader, Writer};
use crate::command::{ApiIndex, Owner};
use crate::servers::RememberedServer;

/// A place in the log: the applied entry's index and term. The sidecar translates to and from Raft's own type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The log index; 0: nothing yet.
    pub index: u64,
    /// The term of the entry there.
    pub term: u64,
}

/// A configuration entry that was applied. What a server is, the machine does not know: the
/// bytes are the log's own encoding, kept for the start of the core (K4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedConfiguration {
    /// The log index of the entry.
    pub index: u64,
    /// Its servers (both halves if joint), as owners of clients (K20).
    pub owners: Vec<Owner>,
    /// The configuration as the log writes it.
    pub encoded: Bytes,
}

/// Autopilot's settings as stored: only what somebody set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutopilotRecord {
    /// The fields that were set.
    pub settings: SettingsChange,
    /// The index of the first change; 0: never changed.
    pub create_index: ApiIndex,
    /// The index of the last change; 0: never changed.
    pub modify_index: ApiIndex,
}

impl AutopilotRecord {
    /// Settings equal to the stored ones keep their index, as a key does.
    pub(crate) fn set(&mut self, index: ApiIndex, settings: SettingsChange) {
        if self.modify_index == ApiIndex::MISSING {
            self.create_index = index;
        } else if self.settings == settings {
            return;
        }
        self.settings = settings;
        self.modify_index = index;
    }
}

/// What a configuration entry says of the cluster beside its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The format version all members write (K24).
    pub cluster_version: u32,
    /// How often the cluster was recovered from a lost quorum (K18).
    pub recovery_epoch: u64,
    /// What the cluster was founded for (K22).
    pub mode: Mode,
}

impl Default for Era {
    /// That of the first release, in a cluster that was never recovered.
    fn default() -> Self {
        Self { cluster_version: 1, recovery_epoch: 0, mode: Mode::KeyValue }
    }
}

/// The keys as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysMeta {
    /// The index of the last change to any key, deletions included; 0: none yet.
    pub index: ApiIndex,
    /// Rows of [`Table::TombstoneOrder`].
    pub tombstones: u64,
    /// The highest index among the tombstones that were dropped: no prefix index is lower.
    pub tombstone_floor: ApiIndex,
}

/// The sessions as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionsMeta {
    /// The index of the last change to any session; 0: none yet.
    pub index: ApiIndex,
    /// Sessions, and lock delays that are not over.
    pub places: u64,
}

/// The state's own numbers at one place in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last applied entry.
    pub applied: Position,
    /// The last configuration entry at or below it, if there was one.
    pub configuration: Option<AppliedConfiguration>,
    /// API index = log index + this (K17). Raised by a restore, so that API indexes never fall, and by a recovery, so that
    /// none is given out twice (K18).
    pub index_base: u64,
    /// The numbers of the keys as a whole.
    pub keys: KeysMeta,
    /// The numbers of the sessions as a whole.
    pub sessions: SessionsMeta,
    /// Autopilot's settings.
    pub autopilot: AutopilotRecord,
    /// What servers last said of themselves, by owner.
    pub servers: Vec<RememberedServer>,
    /// As of the last configuration entry.
    pub era: Era,
    /// How often the state was restored from an archive (K17).
    pub restore_epoch: u64,
    /// The application's entries as a whole (K22).
    pub application: ApplicationMeta,
}

impl Meta {
    /// The key of its row in [`Table::Meta`].
    pub const KEY: &[u8] = b"meta";

    const FORMAT: u8 = 1;

    /// What `base` holds; the default for one that was never flushed to.
    pub fn load<B: Base>(base: &B) -> Result<Self, StateError<B::Error>> {
        match base.get(Table::Meta, Self::KEY).map_err(StateError::Base)? {
            Some(row) => Ok(Self::decode(&row)?),
            None => Ok(Self::default()),
        }
    }

    /// The row's bytes.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer::default();
        to.byte(Self::FORMAT);
        for number in
            [self.applied.index, self.applied.term, self.index_base, self.keys.index.0, self.keys.tombstones]
        {
            to.number(number);
        }
        to.number(self.keys.tombstone_floor.0);
        to.number(self.sessions.index.0);
        to.number(self.sessions.places);
        to.number(u64::from(self.era.cluster_version));
        to.number(self.era.recovery_epoch);
        to.number(self.restore_epoch);
        to.number(self.era.mode.number());
        self.application.encode(&mut to);
        to.number(self.autopilot.create_index.0);
        to.number(self.autopilot.modify_index.0);
        crate::settings_codec::encode(&mut to, &self.autopilot.settings);
        crate::servers::encode(&mut to, &self.servers);
        match &self.configuration {
            None => to.byte(0),
            Some(configuration) => {
                to.byte(1);
                to.number(configuration.index);
                to.count(configuration.owners.len());
                for owner in &configuration.owners {
                    to.bytes(owner.0.as_bytes());
                }
                to.bytes(&configuration.encoded);
            }
        }
        to.finish()
    }

    /// Read a row's bytes.
    pub fn decode(row: &Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(row);
        from.version("state meta row", Self::FORMAT)?;
        let applied = Position { index: from.number("applied index")?, term: from.number("applied term")? };
        let index_base = from.number("index base")?;
        let keys = KeysMeta {
            index: ApiIndex(from.number("keys index")?),
            tombstones: from.number("tombstones")?,
            tombstone_floor: ApiIndex(from.number("tombstone floor")?),
        };
        let sessions = SessionsMeta {
            index: ApiIndex(from.number("sessions index")?),
            places: from.number("places of sessions")?,
        };
        let cluster_version = from.number_u32("cluster version")?;
        let recovery_epoch = from.number("recovery epoch")?;
        let restore_epoch = from.number("restore epoch")?;
        let mode = Mode::from_number(from.number("mode")?)?;
        let era = Era { cluster_version, recovery_epoch, mode };
        let application = ApplicationMeta::decode(&mut from)?;
        let create_index = ApiIndex(from.number("settings create index")?);
        let modify_index = ApiIndex(from.number("settings modify index")?);
        let settings = crate::settings_codec::decode(&mut from)?;
        let servers = crate::servers::decode(&mut from)?;
        let configuration = if from.flag("configuration")? {
            let index = from.number("configuration index")?;
            let owners = from.list("configuration owner", |from| from.text("owner").map(Owner))?;
            Some(AppliedConfiguration { index, owners, encoded: from.bytes("configuration")? })
        } else {
            None
        };
        from.end()?;
        Ok(Self {
            applied,
            configuration,
            index_base,
            keys,
            sessions,
            autopilot: AutopilotRecord { settings, create_index, modify_index },
            servers,
            era,
            restore_epoch,
            application,
        })
    }

    /// The members of the applied configuration.
    pub(crate) fn owners(&self) -> &[Owner] {
        self.configuration.as_ref().map_or(&[], |configuration| &configuration.owners)
    }

    /// The API index of the entry at `index`.
    pub fn api_index(&self, index: u64) -> ApiIndex {
        ApiIndex(index + self.index_base)
    }
}

/// Why the state could not be read or changed. Both end the process; what was flushed stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError<E: std::error::Error> {
    /// The state file failed.
    #[error("the state cannot be read: {0}")]
    Base(#[source] E),
    /// The state file, or an entry of the log, is newer than this binary, or corrupt.
    #[error(transparent)]
    Format(#[from] DecodeError),
}
