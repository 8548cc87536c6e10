//! Decoders meet arbitrary bytes: they answer with an error, never with a panic.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_raft::{
    Address, Configuration, Entry, HardState, Incarnation, Index, Intent, LogId, Payload, RaftId,
    RecoveryEpoch, Server, ServerId, Suffrage, Term, Version,
};

use super::meta::{DirectoryIdentity, Head, decode_state_name};
use super::{configuration, record, row};

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
    let configuration = (prop::collection::vec(a_server(), 1..8), any::<u64>(), any::<u32>())
        .prop_filter_map("valid", |(servers, epoch, version)| {
            Some(
                Configuration::new(servers).ok()?.in_epoch(RecoveryEpoch(epoch)).at_version(Version(version)),
            )
        })
        .prop_map(Payload::Configuration);
    let command =
        prop::collection::vec(any::<u8>(), 0..5_000).prop_map(|bytes| Payload::Command(bytes.into()));
    prop_oneof![4 => command, 1 => configuration, 1 => Just(Payload::Noop), 1 => Just(Payload::Barrier)]
}

/// Bytes with a good checksum, so that they get past it.
fn sealed() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(|mut bytes| {
        if let Some(version) = bytes.first_mut() {
            *version = 1;
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    })
}

proptest! {
    #[test]
    fn no_decoder_panics_on_arbitrary_bytes(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), sealed()]) {
        let shared = Bytes::from(bytes.clone());
        drop(row::unpack(Index(u64::MAX), &shared));
        drop(row::unpack(Index(1), &shared));
        drop(configuration::decode(&bytes));
        drop(DirectoryIdentity::decode(&bytes));
        drop(Head::decode(&bytes));
        drop(decode_state_name(&bytes));
        drop(crate::snapshot::SnapshotHeader::decode(&bytes));
        drop(record::Reader::open(&bytes, 1));
    }

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
        "010103000000000000000200000002000000\
         01000000610100000000000000000000000000000009000000\
         64622d303a373430300101\
         0400000064622d300201000000000000000000000000000009000000\
         64622d303a373430300203\
         b3834a37"
    );
    // The second form, of the first build with joint configurations (K14).
    let mut servers = configuration.servers().to_vec();
    servers[0].suffrage = Suffrage::Outgoing;
    servers[1].suffrage = Suffrage::Incoming;
    let joint = Configuration::new(servers).unwrap().in_epoch(RecoveryEpoch(3)).at_version(Version(2));
    let joint_bytes = configuration::encode(&joint);
    assert_eq!(
        hex(&joint_bytes[..joint_bytes.len() - record::CRC_BYTES]),
        "010203000000000000000200000002000000\
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
