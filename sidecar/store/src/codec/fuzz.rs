//! Decoders meet arbitrary bytes: they answer with an error, never with a panic.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use quorate_fuzz::Samples;
use quorate_raft::{
    Address, ClusterId, Configuration, Entry, HardState, Incarnation, Index, IndexedConfiguration, Intent,
    LogId, Mode, Payload, RaftId, RecoveryEpoch, Server, ServerId, Suffrage, Term, Version,
};

use super::meta::{DirectoryIdentity, Head, decode_state_name, encode_state_name};
use super::{configuration, record, row};
use crate::snapshot::SnapshotHeader;

fn a_server_id() -> impl Strategy<Value = ServerId> {
    ("[a-z][a-z0-9.-]{0,20}", any::<u128>())
        .prop_map(|(name, incarnation)| ServerId::new(RaftId::new(&name).unwrap(), Incarnation(incarnation)))
}

fn a_server() -> impl Strategy<Value = Server> {
    let intent = prop_oneof![
        Just(Intent::Voter),
        Just(Intent::ReadReplica),
        a_server_id().prop_map(Intent::ReplacementFor)
    ];
    let suffrage = prop_oneof![
        Just(Suffrage::Voter),
        Just(Suffrage::NonVoter),
        Just(Suffrage::Incoming),
        Just(Suffrage::Outgoing)
    ];
    (a_server_id(), 1..u16::MAX, suffrage, intent).prop_map(|(id, port, suffrage, intent)| {
        let address = Address::new(&format!("host.example.:{port}")).unwrap();
        Server { id, address, suffrage, intent }
    })
}

fn a_payload() -> impl Strategy<Value = Payload> {
    let configuration = (prop::collection::vec(a_server(), 1..8), any::<u64>(), any::<u32>(), any::<bool>())
        .prop_filter_map("valid", |(servers, epoch, version, is_log)| {
            let mode = if is_log { Mode::Log } else { Mode::KeyValue };
            Some(
                Configuration::new(servers)
                    .ok()?
                    .in_epoch(RecoveryEpoch(epoch))
                    .at_version(Version(version))
                    .for_mode(mode),
            )
        })
        .prop_map(Payload::Configuration);
    let command =
        prop::collection::vec(any::<u8>(), 0..5_000).prop_map(|bytes| Payload::Command(bytes.into()));
    prop_oneof![4 => command, 1 => configuration, 1 => Just(Payload::Noop), 1 => Just(Payload::Barrier)]
}

/// Makes a record's version and checksum right again, so that damage gets past them.
fn seal(record: &mut Vec<u8>) {
    if let Some(version) = record.first_mut() {
        *version = 1;
    }
    record.truncate(record.len().saturating_sub(record::CRC_BYTES));
    let crc = crc32fast::hash(record);
    record.extend_from_slice(&crc.to_le_bytes());
}

/// So many values of a strategy, the same each time.
fn drawn<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn configurations() -> Vec<Configuration> {
    let all = drawn(&a_payload(), 200).into_iter();
    all.filter_map(|payload| match payload {
        Payload::Configuration(configuration) => Some(configuration),
        _ => None,
    })
    .collect()
}

/// B6; raft.md §7, 21.
#[test]
fn rows_of_the_log_never_panic() {
    let entry = |(index, payload)| Entry { term: Term(3), index: Index(index), payload };
    let rows = drawn(&prop::collection::vec(a_payload(), 1..6), 30).into_iter().flat_map(|payloads| {
        let entries: Vec<Entry> = (1..).zip(payloads).map(entry).collect();
        row::pack(&entries)
    });
    let samples = Samples::new(rows.map(|(_, bytes)| bytes)).sealed_by(seal);
    quorate_fuzz::bytes("rows_of_the_log_never_panic", &samples, |bytes| {
        let shared = Bytes::copy_from_slice(bytes);
        drop(row::unpack(Index(u64::MAX), &shared));
        drop(row::unpack(Index(1), &shared));
    });
}

/// B6; raft.md §7, 21.
#[test]
fn configurations_on_disk_never_panic() {
    let samples = Samples::new(configurations().iter().map(configuration::encode)).sealed_by(seal);
    quorate_fuzz::bytes("configurations_on_disk_never_panic", &samples, |bytes| {
        drop(configuration::decode(bytes));
    });
}

/// B6; raft.md §7, 21: who the directory is, term and vote, the state file's name, the header of a snapshot.
#[test]
fn single_records_never_panic() {
    let id = drawn(&a_server_id(), 1).remove(0);
    let cluster_id = ClusterId(7 << 100);
    let recovery_epoch = RecoveryEpoch(2);
    let identity = DirectoryIdentity {
        cluster_id: Some(cluster_id),
        raft_id: id.raft_id.clone(),
        incarnation: id.incarnation,
        recovery_epoch,
    };
    let empty = DirectoryIdentity { cluster_id: None, ..identity.clone() };
    let hard_state = HardState { term: Term(7), vote: Some(id), was_member: true };
    let (previous, last) = (LogId::new(Term(1), Index(3)), LogId::new(Term(7), Index(90)));
    let head = Head { hard_state, commit: Index(80), previous, last, bytes: 9_000 };
    let configuration = IndexedConfiguration { index: Index(80), configuration: configurations().remove(0) };
    let header = SnapshotHeader { cluster_id, last, configuration, index_base: 5 };
    let records = [identity.encode(), empty.encode(), head.encode(), encode_state_name("state-9-7.redb")];
    let samples = Samples::new(records.into_iter().chain([header.encode()])).sealed_by(seal);
    quorate_fuzz::bytes("single_records_never_panic", &samples, |bytes| {
        drop(DirectoryIdentity::decode(bytes));
        drop(Head::decode(bytes));
        drop(decode_state_name(bytes));
        drop(SnapshotHeader::decode(bytes));
    });
}

proptest! {
    /// What is packed is unpacked, in rows of bounded size unless one entry alone is larger.
    #[test]
    fn entries_survive_packing(payloads in prop::collection::vec(a_payload(), 1..60), first in 1..1_000_000u64) {
        let entries: Vec<Entry> = (first..)
            .zip(payloads)
            .map(|(index, payload)| Entry { term: Term(index / 7), index: Index(index), payload })
            .collect();
        let mut unpacked = Vec::new();
        for (index, bytes) in row::pack(&entries) {
            prop_assert_eq!(index, Index(first + unpacked.len() as u64));
            prop_assert!(bytes.len() <= crate::limits::ROW_BYTES_MAX);
            unpacked.extend(row::unpack(index, &bytes.into()).unwrap());
        }
        prop_assert_eq!(unpacked, entries);
    }

    #[test]
    fn heads_survive_encoding(term in any::<u64>(), vote in proptest::option::of(a_server_id()), was_member in any::<bool>(), numbers in any::<[u32; 3]>()) {
        let previous = LogId::new(Term(1), Index(u64::from(numbers[0])));
        let last = LogId::new(Term(2), Index(previous.index.0 + u64::from(numbers[1])));
        let hard_state = HardState { term: Term(term), vote, was_member };
        let head = Head { hard_state, commit: previous.index, previous, last, bytes: u64::from(numbers[2]) };
        prop_assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    }
}

/// K14: half a joint configuration is none. A record that says one thing and holds another is refused.
#[test]
fn a_configuration_whose_halves_are_not_what_it_says_is_refused() {
    let server = |name: &str, suffrage| Server {
        id: ServerId::new(RaftId::new(name).unwrap(), Incarnation(1)),
        address: Address::new("db-0:7400").unwrap(),
        suffrage,
        intent: Intent::Voter,
    };
    for (suffrage, halves) in [(Suffrage::Voter, 2_u8), (Suffrage::Incoming, 1)] {
        let servers = vec![server("a", Suffrage::Voter), server("b", suffrage)];
        let mut bytes = configuration::encode(&Configuration::new(servers).unwrap()).to_vec();
        bytes[1] = halves;
        let sealed = bytes.len() - record::CRC_BYTES;
        let crc = crc32fast::hash(&bytes[..sealed]);
        bytes[sealed..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(configuration::decode(&bytes), Err(record::DecodeError::Damaged(_))), "{halves}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// K24: the bytes of the first release, kept: a later build must read them.
#[test]
fn the_first_formats_bytes_are_pinned() {
    let server = Server {
        id: ServerId::new(RaftId::new("db-0").unwrap(), Incarnation(0x0102)),
        address: Address::new("db-0:7400").unwrap(),
        suffrage: Suffrage::NonVoter,
        intent: Intent::ReadReplica,
    };
    let voter = Server { suffrage: Suffrage::Voter, intent: Intent::Voter, ..server.clone() };
    let voter = Server { id: ServerId::new(RaftId::new("a").unwrap(), Incarnation(1)), ..voter };
    let configuration =
        Configuration::new(vec![voter, server]).unwrap().in_epoch(RecoveryEpoch(3)).at_version(Version(2));
    assert_eq!(
        hex(&configuration::encode(&configuration)),
        "01010300000000000000020000000102000000\
         01000000610100000000000000000000000000000009000000\
         64622d303a373430300101\
         0400000064622d300201000000000000000000000000000009000000\
         64622d303a373430300203\
         7f744422"
    );
    // The second form, of the first build with joint configurations (K14).
    let mut servers = configuration.servers().to_vec();
    servers[0].suffrage = Suffrage::Outgoing;
    servers[1].suffrage = Suffrage::Incoming;
    let joint = Configuration::new(servers).unwrap().in_epoch(RecoveryEpoch(3)).at_version(Version(2));
    let joint_bytes = configuration::encode(&joint);
    assert_eq!(
        hex(&joint_bytes[..joint_bytes.len() - record::CRC_BYTES]),
        "01020300000000000000020000000102000000\
         01000000610100000000000000000000000000000009000000\
         64622d303a373430300401\
         0400000064622d300201000000000000000000000000000009000000\
         64622d303a373430300303"
    );
    assert_eq!(configuration::decode(&joint_bytes), Ok(joint));
    let entry =
        Entry { term: Term(3), index: Index(9), payload: Payload::Command(Bytes::from_static(b"hi")) };
    let rows = row::pack(&[entry]);
    assert_eq!(hex(&rows[0].1), "0103000000000000000102000000686951225b21");
}
