//! Archives (K17): what was written is read back, and whatever else comes is refused with a reason and a way out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use std::io::{self, Read, Write};
use std::sync::Arc;

use fixture::{Member, append, commands, frozen, log_id, machine_at};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use quorate_raft::ClusterId;
use quorate_store::{ArchiveError, ArchiveMeta, ArchiveReader, SnapshotFile, Snapshots, write_archive};

const CLUSTER: ClusterId = ClusterId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

/// The snapshot of a member whose state stands at entry 300 of term 2; the member must outlive it.
fn snapshot() -> (Member, Arc<SnapshotFile>) {
    let member = Member::new();
    let opened = member.open();
    let mut log = opened.log;
    log.commit(&[append(1, commands(2, 1, 300))]).unwrap();
    let mut machine = machine_at(&opened.state, 2, 300);
    opened.state.flush(&frozen(&mut machine)).unwrap();
    let file =
        Snapshots::new(&opened.directory).get(&opened.state, CLUSTER, log_id(2, 300)).unwrap().unwrap();
    (member, file)
}

fn archive() -> Vec<u8> {
    let (_member, file) = snapshot();
    let mut bytes = Vec::new();
    write_archive(&file, "0.1.0", &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<(ArchiveMeta, Vec<u8>), ArchiveError> {
    let mut reader = ArchiveReader::open(bytes)?;
    let meta = reader.meta().clone();
    let (mut state, mut buffer) = (Vec::new(), [0; 1_000]);
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            taken => state.extend_from_slice(&buffer[..taken]),
        }
    }
    reader.finish()?;
    Ok((meta, state))
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut tar).unwrap();
    tar
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// K17: an archive is the snapshot, byte for byte, with its marks; the same state gives the same bytes.
#[test]
fn an_archive_holds_the_snapshot_and_says_what_it_is() {
    let (_member, file) = snapshot();
    let mut bytes = Vec::new();
    let written = write_archive(&file, "0.1.0", &mut bytes).unwrap();
    let (meta, state) = read(&bytes).unwrap();
    assert_eq!(state, file.read(0, usize::MAX).unwrap());
    assert_eq!(meta, written);
    assert_eq!((meta.cluster_id, meta.last, meta.api_index()), (CLUSTER, log_id(2, 300), 300));
    assert_eq!((meta.cluster_version, meta.written_by.as_str()), (1, "0.1.0"));
    let mut again = Vec::new();
    write_archive(&file, "0.1.0", &mut again).unwrap();
    assert_eq!(bytes, again);
}

/// The format is on people's disks: a person's own tools read it, and this is what they find.
#[test]
fn the_members_of_the_tar_are_what_the_format_page_says() {
    let tar = gunzip(&archive());
    assert_eq!(tar.len() % 512, 0);
    assert!(tar.starts_with(b"meta.json\0"));
    let text = String::from_utf8_lossy(&tar[512..1024]);
    for line in [
        "\"format\": \"quorate archive\"",
        "\"version\": 1",
        "\"cluster_id\": \"0123456789abcdef0123456789abcdef\"",
        "\"term\": 2",
        "\"index\": 300",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(tar[1024..].starts_with(b"state\0"));
    let sums = tar.windows(11).rposition(|bytes| bytes == b"SHA256SUMS\0").unwrap();
    let text = String::from_utf8_lossy(&tar[sums + 512..]);
    assert!(text.lines().next().unwrap().ends_with("  meta.json"), "{text}");
    assert!(text.lines().nth(1).unwrap().ends_with("  state"), "{text}");
}

/// K17: an archive that is cut short anywhere is refused, and never read as a smaller state.
#[test]
fn an_archive_that_ends_early_is_refused_wherever_it_ends() {
    let bytes = archive();
    for end in (0..bytes.len()).step_by(bytes.len() / 200 + 1).chain([bytes.len() - 1]) {
        let error = read(&bytes[..end]).unwrap_err();
        assert!(matches!(error, ArchiveError::Truncated), "{end} of {}: {error}", bytes.len());
    }
    assert!(refusal(&bytes[..bytes.len() / 2]).contains("send it again, whole"));
}

/// K17: one byte changed anywhere in the gzip or in the tar is noticed.
#[test]
fn an_archive_with_a_damaged_byte_is_never_read_as_another() {
    let bytes = archive();
    let original = read(&bytes).unwrap();
    // Bytes 3 to 9 of a gzip are its time, its flags and the name of the system that wrote it: no part of the content.
    for at in (10..bytes.len()).step_by(bytes.len() / 300 + 1) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        // The same zeros can be copied from many places, and deflate fills up bytes with bits that nothing hangs on; what is
        // read at all must be what was written.
        if let Ok(found) = read(&damaged) {
            assert_eq!(found, original, "byte {at} of {}", bytes.len());
        }
    }
    let tar = gunzip(&bytes);
    // Past the header of the state, so that gzip's own checksum is right and only ours can tell.
    for at in (1_536..tar.len() - 1_024).step_by(tar.len() / 100 + 1) {
        let mut damaged = tar.clone();
        damaged[at] ^= 0x10;
        assert!(read(&gzip(&damaged)).is_err(), "byte {at}");
    }
}

/// P10: what is no archive of ours is refused in words that say so, at its first bytes.
#[test]
fn foreign_files_are_refused_and_the_message_says_what_to_send() {
    let tar = gunzip(&archive());
    let renamed = {
        // A tar that begins with another file, its checksum right.
        let mut tar = tar.clone();
        tar[..9].copy_from_slice(b"note.json");
        let sum: u32 = tar[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar
    };
    for (bytes, why) in [
        (b"hello, this is no archive at all".to_vec(), "it is no gzip"),
        (gzip(&[7; 2_000]), "what the gzip holds is no tar"),
        (gzip(&[0; 2_000]), "the tar ends where meta.json should be"),
        (gzip(&renamed), "the tar holds note.json where meta.json should be"),
    ] {
        let text = refusal(&bytes);
        assert!(text.contains(why) && text.contains("GET /v1/snapshot"), "{text}");
    }
    let mut longer = archive();
    longer.extend_from_slice(b"more");
    assert!(refusal(&longer).contains("something follows its end"));
    let mut filled = tar;
    filled.extend_from_slice(&[0; 4_096]);
    read(&gzip(&filled)).unwrap();
    filled.push(1);
    assert!(refusal(&gzip(&filled)).contains("something follows its end"));
}

/// K24: a newer format is refused by its version, whatever else it says.
#[test]
fn a_newer_archive_is_refused_by_its_version() {
    let meta = br#"{"format": "quorate archive", "version": 2, "everything": "else"}"#;
    let mut tar = gunzip(&archive());
    let padded = [meta.as_slice(), &vec![b' '; 512 - meta.len()]].concat();
    tar.splice(512..1_024, padded);
    tar[124..136].copy_from_slice(b"00000001000\0");
    let sum: u32 = tar[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let text = refusal(&gzip(&tar));
    assert_eq!(
        text,
        "the archive has format version 2, this build reads 1 to 1: update every member to the release that wrote it"
    );
}

/// Hostile input: a small file that claims to be large, or unfolds to much, takes no memory for it.
#[test]
fn an_archive_that_unfolds_to_much_is_refused_before_it_is_held() {
    let bomb = gzip(&vec![0; 50 * 1024 * 1024]);
    assert!(bomb.len() < 1024 * 1024);
    assert!(read(&bomb).is_err());
    let mut after = gunzip(&archive());
    after.extend_from_slice(&vec![0; 50 * 1024 * 1024]);
    assert!(refusal(&gzip(&after)).contains("something follows its end"));
}

/// A caller that hangs up, and an upload that breaks off, are told apart from a bad archive.
#[test]
fn a_broken_connection_is_no_damage() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (_member, file) = snapshot();
    assert!(matches!(write_archive(&file, "0.1.0", Broken), Err(ArchiveError::Stream(_))));
    let bytes = archive();
    let half = io::BufReader::new(bytes[..bytes.len() / 2].chain(Broken));
    let mut buffer = [0; 4_096];
    let error = match ArchiveReader::open(half) {
        Err(error) => error,
        Ok(mut reader) => loop {
            if let Err(error) = reader.read(&mut buffer) {
                break error;
            }
        },
    };
    assert!(matches!(error, ArchiveError::Stream(_)), "{error}");
}
