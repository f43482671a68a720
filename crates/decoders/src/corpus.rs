//! Valid bytes of every kind: the golden files, and what the encoders write where there are none.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use phalanx_proto::raft::v1;
use prost::Message;

/// Bytes that tell a record's length, and so where the manifest of a head begins: a batch's header and a record's.
const HEAD_BYTES: usize = 48 + 40;

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of)
}

fn read(of: &str) -> Vec<u8> {
    let path = path(of);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(of: &str) -> String {
    String::from_utf8(read(of)).unwrap_or_else(|error| panic!("{of}: {error}"))
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("golden files are hexadecimal") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The golden files of a folder whose names begin so.
fn golden(folder: &str, begins: &str) -> Vec<Vec<u8>> {
    let listed = std::fs::read_dir(path(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = listed.map(|file| file.map(|file| file.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_, _>>().expect("the folder was just opened");
    names.retain(|name| name.starts_with(begins) && name.ends_with(".hex"));
    names.sort();
    assert!(!names.is_empty(), "no golden file {begins}* in {folder}");
    names.iter().map(|name| unhex(&text(&format!("{folder}/{name}")))).collect()
}

/// Lines of two hexadecimal words; a machine's checkpoint ends with its digest, which is no row.
fn pairs(text: &str) -> Vec<(Bytes, Bytes)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        (Bytes::from(unhex(key)), Bytes::from(unhex(value)))
    };
    text.lines().filter(|line| !line.starts_with("digest ")).map(pair).collect()
}

/// Every pair of a checkpoint store, as it is stored.
fn stored() -> Vec<(Bytes, Bytes)> {
    pairs(&text("storage/tests/it/checkpoint/golden/version-1.txt"))
}

/// The rows of a machine's checkpoint.
fn machine_rows(of: &str) -> Vec<(Bytes, Bytes)> {
    pairs(&text(&format!("state-machine/tests/golden/checkpoint-{of}.hex")))
}

pub fn wal_batch() -> Vec<Vec<u8>> {
    let segment = |slot| read(&format!("storage/tests/golden/wal-v1-0000000{slot}.seg"));
    vec![segment(0), segment(1)]
}

pub fn wal_head() -> Vec<Vec<u8>> {
    // The manifest is the first record of a segment's first batch.
    let manifest = |segment: &Vec<u8>| {
        let length = u32::from_le_bytes([segment[52], segment[53], segment[54], segment[55]]) as usize;
        segment[HEAD_BYTES..HEAD_BYTES + length].to_vec()
    };
    wal_batch().iter().map(manifest).collect()
}

pub fn wal_inventory() -> Vec<Vec<u8>> {
    vec![read("storage/tests/golden/wal-v1-inventory")]
}

pub fn checkpoint_row() -> Vec<Vec<u8>> {
    // Under the key that the target reads: the checksum covers it.
    [&b"a row"[..], &[7; 300]].map(phalanx_storage::fuzzing::write_checkpoint_row).to_vec()
}

pub fn checkpoint_manifest() -> Vec<Vec<u8>> {
    let manifests =
        stored().into_iter().filter(|(key, _)| key[..] == [&b"M"[..], &1u64.to_be_bytes()].concat());
    manifests.map(|(_, value)| value.to_vec()).collect()
}

pub fn checkpoint_key() -> Vec<Vec<u8>> {
    let of_replica_1 = |key: &Bytes| key[0] != b'R' || key[1..9] == 1u64.to_be_bytes();
    stored().into_iter().filter(|(key, _)| of_replica_1(key)).map(|(key, _)| key.to_vec()).collect()
}

pub fn batch() -> Vec<Vec<u8>> {
    golden("state-machine/tests/golden", "command-")
}

pub fn row() -> Vec<Vec<u8>> {
    golden("state-machine/tests/golden", "row-")
}

pub fn checkpoint() -> Vec<Vec<u8>> {
    ["catalog", "shard"].map(|of| phalanx_state_machine::fuzzing::write_rows(&machine_rows(of))).to_vec()
}

pub fn entry() -> Vec<Vec<u8>> {
    golden("raft/tests/golden", "entry-")
}

pub fn vote() -> Vec<Vec<u8>> {
    golden("raft/tests/golden", "vote")
}

pub fn membership() -> Vec<Vec<u8>> {
    golden("raft/tests/golden", "membership")
}

pub fn wire_message() -> Vec<Vec<u8>> {
    let peer = v1::Peer { cluster_id: vec![7; 16].into(), group: 3, from_replica: 31, to_replica: 32 };
    let ballot = v1::Ballot { term: 9, replica: 31, committed: true };
    let last = v1::LogId { term: 8, index: 4 };
    let bodies = entry().into_iter().zip(5..);
    let entries = bodies.map(|(body, index)| v1::Entry { term: 9, index, body: body.into() }).collect();
    let append = v1::Append { ballot: Some(ballot), previous: Some(last), committed: Some(last), entries };
    let matched = v1::append_response::Result::Matched(v1::Matched { log_id: Some(last) });
    let answer = v1::AppendResponse { result: Some(matched) };
    let vote = v1::VoteRequest {
        peer: Some(peer.clone()),
        ballot: Some(ballot),
        last: Some(last),
        pre_vote: true,
        leadership_transfer: true,
    };
    let voted = v1::VoteResponse { ballot: Some(ballot), last: Some(last), granted: true };
    let transfer = v1::TransferLeaderRequest {
        peer: Some(peer.clone()),
        from_leader: Some(ballot),
        to_replica: 32,
        last: Some(last),
    };
    vec![
        v1::AppendRequest { peer: Some(peer), append: None }.encode_to_vec(),
        v1::AppendRequest { peer: None, append: Some(append) }.encode_to_vec(),
        answer.encode_to_vec(),
        vote.encode_to_vec(),
        voted.encode_to_vec(),
        transfer.encode_to_vec(),
    ]
}

pub fn snapshot_part() -> Vec<Vec<u8>> {
    use v1::snapshot_part::Part;
    let part = |part| v1::SnapshotPart { part: Some(part) }.encode_to_vec();
    let header = v1::SnapshotHeader {
        last: Some(v1::LogId { term: 8, index: 4 }),
        membership: membership().pop().expect("there are golden files").into(),
        machine_time_ms: 1_700_000_000_000,
        digest: 12,
    };
    vec![
        part(Part::Header(header)),
        phalanx_raft::fuzzing::write_snapshot_rows(machine_rows("shard")),
        part(Part::Trailer(v1::SnapshotTrailer { row_count: 17 })),
    ]
}

pub fn config_file() -> Vec<Vec<u8>> {
    let small = "[node]\nid = 1\ndata_dir = \"/var/lib/phalanx\"\n";
    let large = "insecure = true\n[node]\nid = 2\ndata_dir = \"/data\"\n[client]\nlisten = \"0.0.0.0:7420\"\n[wal]\n\
                 segment_bytes = 67108864\nbudget_bytes = 536870912\n[[peers]]\nid = 1\npeer = \"a:7520\"\nclient = \"a:7420\"\n\
                 [[peers]]\nid = 2\npeer = \"b:7520\"\nclient = \"b:7420\"\n[[peers]]\nid = 3\npeer = \"c:7520\"\nclient = \"c:7420\"\n";
    vec![small.into(), large.into()]
}

pub fn identity_file() -> Vec<Vec<u8>> {
    vec![phalanx_server::fuzzing::write_identity()]
}
