//! Files that come from elsewhere: whatever is in them, a snapshot and an archive are taken or refused, never a panic (B6;
//! raft.md §7, 21). The records of the log have theirs in `src/codec/fuzz.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::io::{Read, Write};

use fixture::{Member, append, commands, configuration_entry, frozen, log_id, machine_at, server, vote};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use quorate_fuzz::Samples;
use quorate_machine::Machine;
use quorate_raft::{ClusterId, Identity, Index, Now, Persist, Raft, RecoveryEpoch, Settings, Term, Versions};
use quorate_store::{
    ArchiveReader, CrashDisk, Directory, Disk, DiskFile, SnapshotReceiver, Snapshots, Stages, StoreError,
    write_archive,
};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use sha2::{Digest, Sha256};

const CLUSTER: ClusterId = ClusterId(77);
/// The last entry of every sample, which is what a receiver is told to expect.
const LAST: u64 = 40;
/// Before the header of a snapshot file: magic, version, the header's length.
const PREAMBLE_BYTES: usize = 16 + 4 + 4;
/// Before a chunk's data: its length and checksum.
const CHUNK_HEADER_BYTES: usize = 4 + 4;

/// A snapshot file of a state with keys, tombstones and clients; as an archive too.
fn samples() -> (Vec<u8>, Vec<u8>) {
    let sender = Member::new();
    let opened = sender.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(2, 1, LAST))]).unwrap();
    let mut machine = machine_at(&opened.state, 2, LAST);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let snapshots = Snapshots::new(&opened.directory);
    let file = snapshots.get(&opened.state, CLUSTER, log_id(2, LAST)).unwrap().unwrap();
    let mut archive = Vec::new();
    write_archive(&file, "0.1.0", &mut archive).unwrap();
    (file.read(0, usize::MAX).unwrap().to_vec(), archive)
}

/// Makes the checksums of header, chunks and whole right again, as far as lengths still lead there.
fn seal_snapshot(file: &mut Vec<u8>) {
    let number = |file: &[u8], at: usize| {
        file.get(at..at + 4)
            .map(|bytes| usize::try_from(u32::from_le_bytes(bytes.try_into().unwrap())).unwrap())
    };
    let Some(header) = number(file, PREAMBLE_BYTES - 4) else { return };
    let mut at = PREAMBLE_BYTES.saturating_add(header);
    if header >= 4 && at <= file.len() {
        let crc = crc32fast::hash(&file[PREAMBLE_BYTES..at - 4]);
        file[at - 4..at].copy_from_slice(&crc.to_le_bytes());
    }
    while let Some(len) = number(file, at).filter(|len| *len > 0) {
        let end = at.saturating_add(CHUNK_HEADER_BYTES).saturating_add(len);
        if end > file.len() {
            return;
        }
        let crc = crc32fast::hash(&file[at + CHUNK_HEADER_BYTES..end]);
        file[at + 4..at + CHUNK_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    if at <= file.len() {
        let hash = Sha256::digest(&file[..at]);
        file.truncate(at);
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&hash);
    }
}

/// Makes the sums of tar headers right again, wherever one may stand.
#[expect(clippy::ptr_arg, reason = "other seals change the length")]
fn seal_tar(tar: &mut Vec<u8>) {
    for block in tar.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// What is refused is fine; anything else was not the bytes' fault.
fn is_judged<T>(taken: &Result<T, StoreError>) {
    if let Err(error) = taken {
        assert!(error.is_refusal(), "{error}");
    }
}

#[test]
fn staged_states_never_panic() {
    let samples = Samples::new([samples().0]).sealed_by(seal_snapshot);
    let member = Member::new();
    let opened = member.open();
    quorate_fuzz::bytes("staged_states_never_panic", &samples, |bytes| {
        let stages = Stages::open(&opened.directory, Term(1)).unwrap();
        let mut incoming = stages.begin(bytes.len() as u64).unwrap();
        incoming.write(bytes).unwrap();
        let staged = incoming.finish(None, Term(1));
        is_judged(&staged);
        if let Ok(staged) = staged {
            // S25: what was staged can be restored, whatever it holds.
            let machine = machine_at(&opened.state, 1, 1);
            staged.build(&opened.directory, log_id(1, 2), &machine.here().unwrap()).unwrap();
            drop(staged);
            stages.sweep(log_id(2, LAST), log_id(2, LAST).index).unwrap();
        }
    });
}

#[test]
fn received_snapshots_never_panic() {
    let samples = Samples::new([samples().0]).sealed_by(seal_snapshot);
    quorate_fuzz::bytes("received_snapshots_never_panic", &samples, |bytes| {
        // A new one each time: what is taken once is not taken again.
        let member = Member::new();
        let directory: Directory = member.open().directory;
        let mut receiver = SnapshotReceiver::begin(&directory, log_id(2, LAST), bytes.len() as u64).unwrap();
        let (one, other) = bytes.split_at(bytes.len() / 2);
        receiver.write(0, one).unwrap();
        receiver.write(one.len() as u64, other).unwrap();
        is_judged(&receiver.finish(&directory));
    });
}

#[test]
fn archives_never_panic() {
    let archive = samples().1;
    let mut tar = Vec::new();
    GzDecoder::new(&archive[..]).read_to_end(&mut tar).unwrap();
    let samples = Samples::new([tar]).sealed_by(seal_tar);
    quorate_fuzz::bytes("archives_never_panic", &samples, |bytes| {
        read(bytes);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(bytes).unwrap();
        read(&encoder.finish().unwrap());
    });
}

/// Reads it as a restore does.
fn read(archive: &[u8]) {
    let Ok(mut reader) = ArchiveReader::open(archive) else { return };
    let mut buffer = [0; 4_096];
    while reader.read(&mut buffer).is_ok_and(|taken| taken > 0) {}
    let _ = reader.finish();
}

const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const CONFIGURATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("configurations");
const TERMS: TableDefinition<'_, u64, u64> = TableDefinition::new("terms");

/// A row of a member's files.
#[derive(Debug)]
enum Row {
    /// Of the log's or the state's file: a single record.
    Record(&'static str, String, Vec<u8>),
    Entries(u64, Vec<u8>),
    Configuration(u64, Vec<u8>),
    Term(u64),
}

/// A member in mid-life: entries of two terms, two configurations, a vote, a state that is behind the log.
fn in_use() -> Member {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    let mut entries = vec![configuration_entry(1, 1, &["a", "b", "c"])];
    entries.extend(commands(1, 2, 20));
    entries.push(configuration_entry(2, 21, &["a", "b"]));
    entries.extend(commands(2, 22, 60));
    let first = Persist { cluster_id: Some(CLUSTER), commit: Index(30), ..append(1, entries) };
    log.commit(&[first, vote(2, 3, "b")]).unwrap();
    let mut machine = machine_at(&opened.state, 1, 20);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    member
}

/// The same files on another disk.
fn copied(member: &Member) -> Member {
    let copy = Member { disk: CrashDisk::new() };
    for name in ["log.redb", "state.redb"] {
        let file = member.disk.open(name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        let target = copy.disk.create(name).unwrap();
        target.set_len(bytes.len() as u64).unwrap();
        target.write(0, &bytes).unwrap();
    }
    copy
}

/// A file as redb wants it.
#[derive(Debug)]
struct Plain(DiskFile);

impl StorageBackend for Plain {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

fn database(member: &Member, name: &str) -> Database {
    redb::Builder::new().create_with_backend(Plain(member.disk.open(name).unwrap())).unwrap()
}

fn rows(member: &Member) -> Vec<Row> {
    let mut rows = Vec::new();
    for file in ["log.redb", "state.redb"] {
        let read = database(member, file).begin_read().unwrap();
        for row in read.open_table(STORE).unwrap().iter().unwrap() {
            let (key, value) = row.unwrap();
            rows.push(Row::Record(file, key.value().to_owned(), value.value().to_vec()));
        }
    }
    let read = database(member, "log.redb").begin_read().unwrap();
    for row in read.open_table(ENTRIES).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        rows.push(Row::Entries(key.value(), value.value().to_vec()));
    }
    for row in read.open_table(CONFIGURATIONS).unwrap().iter().unwrap() {
        let (key, value) = row.unwrap();
        rows.push(Row::Configuration(key.value(), value.value().to_vec()));
    }
    for row in read.open_table(TERMS).unwrap().iter().unwrap() {
        rows.push(Row::Term(row.unwrap().0.value()));
    }
    rows
}

/// Makes a record's version and checksum right again.
fn seal_record(record: &mut Vec<u8>) {
    record.truncate(record.len().saturating_sub(4));
    let crc = crc32fast::hash(record);
    record.extend_from_slice(&crc.to_le_bytes());
}

fn damage(member: &Member, row: &Row, seed: u64) {
    let damaged = |bytes: &[u8]| Samples::new([bytes]).sealed_by(seal_record).damaged(seed);
    let file = if let Row::Record(file, ..) = row { file } else { "log.redb" };
    let database = database(member, file);
    let write = database.begin_write().unwrap();
    match row {
        Row::Record(_, key, value) => {
            write.open_table(STORE).unwrap().insert(key.as_str(), damaged(value).as_slice()).unwrap();
        }
        Row::Entries(first, value) => {
            write.open_table(ENTRIES).unwrap().insert(*first, damaged(value).as_slice()).unwrap();
        }
        Row::Configuration(index, value) => {
            write.open_table(CONFIGURATIONS).unwrap().insert(*index, damaged(value).as_slice()).unwrap();
        }
        Row::Term(first) => {
            write
                .open_table(TERMS)
                .unwrap()
                .insert(*first, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .unwrap();
        }
    }
    write.commit().unwrap();
}

/// One record of the files is not what was written, under a good checksum: opening, reading the log, starting the core and
/// the machine on it end in an error or not at all.
#[test]
fn directories_never_panic() {
    let sound = in_use();
    let rows = rows(&sound);
    quorate_fuzz::seeds("directories_never_panic", |seed| {
        let member = copied(&sound);
        let row = &rows[usize::try_from(seed % rows.len() as u64).unwrap()];
        damage(&member, row, seed);
        let Ok(opened) = member.try_open() else { return };
        let (first, last) = (opened.stored.previous.index.next(), opened.stored.last.index.next());
        let _ = opened.log.reader().read(first..last, u64::MAX);
        let _ = Machine::open(opened.state.clone());
        let identity = Identity {
            cluster_id: CLUSTER,
            recovery_epoch: RecoveryEpoch(0),
            server: server("a"),
            versions: Versions::OURS,
        };
        let _ = Raft::new(identity, Settings::default(), opened.stored, seed, Now::default());
    });
}
