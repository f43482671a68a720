//! Stored bytes never change: one file of each kind, written once.
//!
//! `PHALANX_GOLDEN_WRITE=1 cargo test -p phalanx-raft --lib golden` writes files that are missing; it never changes one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use openraft::EntryPayload;
use phalanx_state_machine::command::{Batch, Command, CommandKind, Tick};

use super::{
    Body, decode_entry, decode_membership, decode_vote, encode_membership, encode_payload, encode_vote,
    replica_of_vote,
};
use crate::types::{Membership, PeerNode, StoredMembership, log_id, vote};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The stored bytes of `name`: what was written once, which must be what is written now.
fn check(name: &str, now: &[u8]) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("PHALANX_GOLDEN_WRITE").is_some() {
        std::fs::write(&path, hex(now) + "\n").unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stored = stored.trim();
    assert_eq!(stored, hex(now), "{name} is stored differently than before");
    let byte = |at: usize| u8::from_str_radix(&stored[at..at + 2], 16).unwrap();
    (0..stored.len()).step_by(2).map(byte).collect()
}

/// In the middle of a change: two sets of voters and a learner.
fn members() -> Membership {
    let peer = |node: u64| PeerNode { node, address: format!("node-{node}:7520") };
    let nodes: BTreeMap<u64, PeerNode> = [(11, peer(1)), (12, peer(2)), (13, peer(3)), (14, peer(4))].into();
    Membership::new(vec![BTreeSet::from([11, 12]), BTreeSet::from([12, 13])], nodes).unwrap()
}

#[test]
fn golden_entries_are_read_and_written_as_ever() {
    let commands = vec![Command::from(CommandKind::Tick(Tick {}))];
    let batch = Batch { version: 1, now_ms: 1_700_000_000_000, commands };
    let payloads = [
        ("entry-blank", EntryPayload::Blank),
        ("entry-batch", EntryPayload::Normal(Body::encode(&batch))),
        ("entry-membership", EntryPayload::Membership(members())),
    ];
    for (name, payload) in payloads {
        let stored = check(name, &encode_payload(&payload));
        let entry = decode_entry(5, 6, stored).unwrap();
        assert_eq!((entry.log_id, &entry.payload), (log_id(5, 6), &payload), "{name}");
        if let EntryPayload::Normal(body) = entry.payload {
            assert_eq!(body.decode().unwrap(), batch);
        }
    }
}

#[test]
fn golden_votes_are_read_and_written_as_ever() {
    for (name, cast) in [("vote", vote(7, 12, false)), ("vote-committed", vote(300, 12, true))] {
        let stored = check(name, &encode_vote(&cast, 11));
        assert_eq!(decode_vote(&stored).unwrap(), cast);
        assert_eq!(replica_of_vote(&stored).unwrap(), 11);
    }
}

#[test]
fn golden_memberships_are_read_and_written_as_ever() {
    let empty = StoredMembership::default();
    let stored = StoredMembership::new(Some(log_id(3, 400)), members());
    for (name, membership) in [("membership-none", empty), ("membership", stored)] {
        let stored = check(name, &encode_membership(&membership));
        assert_eq!(decode_membership(stored).unwrap(), membership, "{name}");
    }
}

#[test]
fn bytes_that_are_no_entry_are_an_error() {
    for wrong in [&b""[..], b"\0", b"\x01x", b"\x03\xff", b"\x09abc"] {
        assert!(decode_entry(1, 1, Bytes::copy_from_slice(wrong)).is_err(), "{wrong:?}");
    }
    assert!(decode_vote(b"\xff").is_err());
    assert!(decode_membership(Bytes::from_static(b"\xff")).is_err());
}
