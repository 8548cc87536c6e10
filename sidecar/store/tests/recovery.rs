//! Quorum recovery on disk: one transaction, so that a crash leaves the directory as it was or recovered (K18, S28).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use fixture::{Member, append, command, commands, configuration, frozen, log_id, put, raft_id, vote};
use quorate_machine::{Command, Era, Machine, Outcome, Owner, Position, Tag, Tagged};
use quorate_raft::{
    ClusterId, Configuration, Entry, Incarnation, Index, Payload, Persist, RecoveryEpoch, Server, ServerId,
    Stored, Suffrage, Term,
};
use quorate_store::{
    EXIT_WRONG_IDENTITY, Opened, Recovery, RecoveryRequest, Snapshots, Stages, StoreError,
    encode_configuration,
};

const CLUSTER: ClusterId = ClusterId(0xc1);

fn own_id() -> ServerId {
    ServerId::new(raft_id(), Incarnation(42))
}

/// This member and two voters that will be lost.
fn three() -> Configuration {
    let mut servers: Vec<Server> = configuration(&["b", "c"]).servers().to_vec();
    servers.push(Server { id: own_id(), ..servers[0].clone() });
    Configuration::new(servers).unwrap()
}

fn founding() -> Entry {
    Entry { term: Term(1), index: Index(1), payload: Payload::Configuration(three()) }
}

/// A survivor: some of its log is flushed and some committed, the end of it is neither.
fn survivor() -> Member {
    let member = Member::new();
    let mut opened = member.open();
    let first = Persist { cluster_id: Some(CLUSTER), ..append(1, vec![founding()]) };
    let told = Persist { commit: Index(5), ..append(2, commands(1, 2, 8)) };
    opened.log.commit(&[first, told, vote(3, 3, "b")]).unwrap();
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    replay(&mut machine, &[founding()]);
    (2..=4).for_each(|index| put(&mut machine, 1, index));
    opened.state.flush(&frozen(&mut machine)).unwrap();
    opened.log.commit(&[append(4, vec![command(3, 9, "untold")])]).unwrap();
    member
}

fn recover(opened: &mut Opened) -> Result<(), StoreError> {
    let lost = ["b", "c"].map(|name| quorate_raft::RaftId::new(name).unwrap()).into();
    let request = RecoveryRequest { lost, epoch: None };
    match request.decide(&opened.stored, &own_id(), opened.directory.identity().recovery_epoch).unwrap() {
        Recovery::Done => Ok(()),
        Recovery::Write { epoch, persist } => opened.log.recover(epoch, &persist),
    }
}

/// What a start finds: epoch and everything else.
fn found(opened: &Opened) -> (RecoveryEpoch, Stored) {
    // How rows are packed is no part of it.
    let stored = Stored { log_bytes: 0, ..opened.stored.clone() };
    (opened.directory.identity().recovery_epoch, stored)
}

/// K18, S28, raft.md §7 item 20: power is cut at every call of a recovery. The directory is found as it was or
/// recovered, never a mix; if it answered well it is recovered; done again, it is recovered in any case.
#[test]
fn a_crash_at_any_call_of_a_recovery_leaves_the_old_directory_or_the_recovered_one() {
    let before = found(&survivor().open());
    let (after, calls) = {
        let member = survivor();
        let mut opened = member.open();
        let calls = member.disk.calls();
        recover(&mut opened).unwrap();
        let calls = member.disk.calls() - calls;
        drop(opened);
        (found(&member.open()), calls)
    };
    assert_eq!((before.0, after.0), (RecoveryEpoch(0), RecoveryEpoch(1)));
    assert_eq!(after.1.commit, Index(10));
    assert!(calls >= 2, "{calls} calls");
    let (mut kept, mut lost) = (0, 0);
    for cut_at in 0..=calls {
        for seed in 0..12 {
            let member = survivor();
            let mut opened = member.open();
            member.disk.cut_power_after(cut_at);
            let answered = recover(&mut opened);
            drop(opened);
            let mut opened = member.crash_and_open(seed * 1_000 + cut_at);
            let now = found(&opened);
            assert!(now == before || now == after, "cut at {cut_at}, seed {seed}: {now:?}");
            assert!(answered.is_err() || now == after, "cut at {cut_at}, seed {seed}: it had answered well");
            let count = if now == after { &mut kept } else { &mut lost };
            *count += 1;
            recover(&mut opened).unwrap();
            drop(opened);
            assert_eq!(found(&member.open()), after, "cut at {cut_at}, seed {seed}, done again");
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost: the disk must do both");
}

/// K18: a crash while a recovered directory is opened for the first time, or its log applied, undoes nothing.
#[test]
fn a_crash_at_the_start_after_a_recovery_undoes_nothing() {
    let member = survivor();
    recover(&mut member.open()).unwrap();
    let after = found(&member.open());
    for cut_at in 0..12 {
        member.disk.cut_power_after(cut_at);
        drop(member.try_open());
        assert_eq!(found(&member.crash_and_open(cut_at)), after, "cut at {cut_at}");
    }
}

/// K18: below the epoch of the cluster a directory is refused with the code of a foreign volume; the epoch only rises.
#[test]
fn a_directory_from_before_a_recovery_is_refused() {
    let member = survivor();
    let mut opened = member.open();
    recover(&mut opened).unwrap();
    let entry = Entry { index: Index(11), ..founding() };
    let again = opened.log.recover(RecoveryEpoch(1), &append(1, vec![entry]));
    assert!(matches!(again, Err(StoreError::Refused { .. })), "{again:?}");
    drop(opened);
    let directory = member.crash_and_open(1).directory;
    directory.require_recovery_epoch(RecoveryEpoch(1)).unwrap();
    let error = directory.require_recovery_epoch(RecoveryEpoch(2)).unwrap_err();
    assert_eq!(error.exit_code(), EXIT_WRONG_IDENTITY);
    assert!(error.to_string().contains("rejoin empty"), "{error}");
}

/// K3, K18: a survivor whose log was compacted away recovers from its state alone.
#[test]
fn a_survivor_with_an_empty_log_is_recovered_from_its_state() {
    let member = Member::new();
    let mut opened = member.open();
    let first = Persist { cluster_id: Some(CLUSTER), ..append(1, vec![founding()]) };
    opened.log.commit(&[first, Persist { commit: Index(8), ..append(2, commands(1, 2, 8)) }]).unwrap();
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    replay(&mut machine, &[founding()]);
    (2..=8).for_each(|index| put(&mut machine, 1, index));
    opened.state.flush(&frozen(&mut machine)).unwrap();
    opened.log.compact(Index(8)).unwrap();
    assert_eq!((opened.log.first(), opened.log.last()), (Index(9), log_id(1, 8)));
    drop((machine, opened));
    recover(&mut member.open()).unwrap();
    let opened = member.crash_and_open(3);
    assert_eq!((opened.log.first(), opened.stored.commit), (Index(9), Index(9)));
    let latest = opened.stored.configurations.last().unwrap();
    assert_eq!((latest.index, latest.configuration.servers().len()), (Index(9), 1));
    assert_eq!(opened.stored.applied, log_id(1, 8));
}

/// K18, K20: a recovery touches neither keys nor the table of clients: a retry from before it is still a retry.
#[test]
fn keys_and_the_results_of_clients_survive_a_recovery() {
    let member = Member::new();
    let mut opened = member.open();
    let tagged = |sequence, key: &'static str| Tagged {
        tag: Some(Tag { client: quorate_machine::ClientId(2), sequence, acked_below: 0 }),
        command: Command::Put { key: key.into(), value: "v".into(), flags: 0 },
    };
    let commands = [
        Tagged { tag: None, command: Command::RegisterClient { owner: None } }.encode(),
        tagged(1, "flushed").encode(),
        tagged(2, "in the log alone").encode(),
    ];
    let entries = (2..).zip(commands).map(|(index, command)| Entry {
        term: Term(1),
        index: Index(index),
        payload: Payload::Command(command),
    });
    let entries: Vec<Entry> = std::iter::once(founding()).chain(entries).collect();
    let first = Persist { cluster_id: Some(CLUSTER), ..append(1, entries.clone()) };
    opened.log.commit(&[first, vote(2, 1, "b")]).unwrap();
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    replay(&mut machine, &entries[..3]);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    drop((machine, opened));
    recover(&mut member.open()).unwrap();

    let opened = member.crash_and_open(7);
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    let rest = opened.log.reader().read(Index(4)..Index(99), u64::MAX).unwrap();
    assert_eq!(rest.len(), 2, "what was not flushed, and the new configuration");
    replay(&mut machine, &rest);
    assert_eq!(machine.meta().era.recovery_epoch, 1);
    assert!(machine.get(b"flushed").unwrap().entry.is_some());
    let before = machine.get(b"in the log alone").unwrap();
    assert!(before.entry.is_some());
    put(&mut machine, 2, 6);
    let retry =
        machine.apply(Position { index: 7, term: 2 }, &tagged(2, "in the log alone").encode()).unwrap();
    assert!(matches!(retry, Outcome::Written { modify_index } if modify_index.0 == 4), "{retry:?}");
    assert_eq!(machine.get(b"in the log alone").unwrap(), before);
}

fn replay(machine: &mut Machine<quorate_store::StateFile>, entries: &[Entry]) {
    for entry in entries {
        let at = Position { index: entry.index.0, term: entry.term.0 };
        match &entry.payload {
            Payload::Command(command) => drop(machine.apply(at, command).unwrap()),
            Payload::Configuration(configuration) => {
                let owner = |server: &Server| Owner(server.id.to_string());
                let owners = configuration.servers().iter().map(owner).collect();
                let era = Era {
                    cluster_version: configuration.version().0,
                    recovery_epoch: configuration.recovery_epoch().0,
                    mode: quorate_machine::Mode::default(),
                };
                machine.apply_configuration(at, era, owners, encode_configuration(configuration));
            }
            Payload::Noop | Payload::Barrier => machine.apply_empty(at),
        }
    }
}

/// The one server left votes: nothing else would let it lead (S28).
#[test]
fn the_recovered_configuration_is_the_one_found_at_start() {
    let member = survivor();
    recover(&mut member.open()).unwrap();
    let opened = member.open();
    let latest = opened.stored.configurations.last().unwrap();
    assert_eq!(latest.index, Index(10));
    assert_eq!(latest.configuration.recovery_epoch(), RecoveryEpoch(1));
    let servers: Vec<_> =
        latest.configuration.servers().iter().map(|each| (&each.id, each.suffrage)).collect();
    assert_eq!(servers, [(&own_id(), Suffrage::Voter)]);
}

/// The bytes of an archive's state.
fn archived() -> bytes::Bytes {
    let sender = Member::new();
    let mut opened = sender.open();
    opened.log.commit(&[append(1, vec![founding()]), append(2, commands(1, 2, 4))]).unwrap();
    let mut machine = Machine::open(opened.state.clone()).unwrap();
    replay(&mut machine, &[founding()]);
    (2..=4).for_each(|index| put(&mut machine, 1, index));
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let file = Snapshots::new(&opened.directory).get(&opened.state, ClusterId(77), log_id(1, 4)).unwrap();
    file.unwrap().read(0, usize::MAX).unwrap()
}

/// K17, K18: all of the log will be applied, and nobody else is left to have the archive from: without it the cluster would
/// stand still for ever. With the file of another survivor it goes on.
#[test]
fn a_survivor_without_the_archive_that_its_log_restores_is_refused() {
    let bytes = archived();
    let staged_elsewhere = Member::new();
    let elsewhere = staged_elsewhere.open();
    let stages = Stages::open(&elsewhere.directory, Term(3)).unwrap();
    let mut incoming = stages.begin(bytes.len() as u64).unwrap();
    incoming.write(&bytes).unwrap();
    let order = incoming.finish(None, Term(3)).unwrap().order();

    let member = survivor();
    let mut opened = member.open();
    assert_eq!(opened.check_archives().unwrap(), Ok(()), "nothing is restored");
    let restore = Tagged { tag: None, command: Command::Restore(order) }.encode();
    let entry = Entry { term: Term(3), index: Index(10), payload: Payload::Command(restore) };
    opened.log.commit(&[append(5, vec![entry, command(3, 11, "later")])]).unwrap();
    drop(opened);
    let opened = member.open();
    let refused = opened.check_archives().unwrap().unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("restores an archive at index 10"), "{said}");
    assert!(said.contains("copy staged-") && said.contains("*.snap"), "{said}");

    let stages = Stages::open(&opened.directory, Term(3)).unwrap();
    let mut incoming = stages.begin(bytes.len() as u64).unwrap();
    incoming.write(&bytes).unwrap();
    incoming.finish(Some(order), Term(3)).unwrap();
    drop(stages);
    assert_eq!(opened.check_archives().unwrap(), Ok(()));
}
