//! See [`crate::fuzzing`].

use bytes::Bytes;

use super::frame;
use super::manifest::Manifest;
use crate::fuzzing::comes_back;
use crate::keyspace;

/// Under which key rows are read.
const KEY: &[u8] = b"key";
/// Whose manifests and rows are read.
const REPLICA: u64 = 1;

/// A framed row of the checkpoint store. As it is, and with the right checksum put in.
pub fn checkpoint_row(data: &[u8]) -> bool {
    let framed = Bytes::copy_from_slice(data);
    let accepted = frame::decode(KEY, &framed).is_ok();
    if let Some(payload) = data.get(2..) {
        let pieces = u16::from_le_bytes([data[0], data[1]]);
        let framed = frame::encode(KEY, pieces, payload);
        let decoded = frame::decode(KEY, &framed).expect("what was encoded decodes");
        assert_eq!((decoded.0, &decoded.1[..]), (pieces, payload));
    }
    accepted
}

/// A framed row that [`checkpoint_row`] accepts.
#[must_use]
pub fn write_checkpoint_row(payload: &[u8]) -> Vec<u8> {
    frame::encode(KEY, 1, payload).to_vec()
}

/// The manifest of a replica: the payload, for which the frame is made, and the bytes as a whole.
pub fn checkpoint_manifest(data: &[u8]) -> bool {
    let whole = Manifest::decode(REPLICA, &Bytes::copy_from_slice(data));
    let framed = frame::encode(&keyspace::manifest(REPLICA), 1, data);
    let inside = Manifest::decode(REPLICA, &framed);
    for manifest in whole.iter().chain(inside.iter()) {
        assert_eq!(Manifest::decode(REPLICA, &manifest.encode(REPLICA)).ok().as_ref(), Some(manifest));
    }
    if let Ok(manifest) = &inside {
        assert_eq!(manifest.encode(REPLICA), framed, "the same manifest has other bytes");
        comes_back(
            manifest,
            |manifest| manifest.encode(REPLICA),
            |stored| Manifest::decode(REPLICA, stored).ok(),
        );
    }
    whole.is_ok() || inside.is_ok()
}

/// A key of the checkpoint store.
pub fn checkpoint_key(data: &[u8]) -> bool {
    if let Some(replica) = keyspace::parse_replica(data) {
        let known = [keyspace::manifest(replica), keyspace::destroyed(replica)];
        assert!(known.iter().any(|key| key == data), "another key of the same replica");
        return true;
    }
    let Some((generation, key, chunk)) = keyspace::parse_row(REPLICA, data) else { return false };
    assert_eq!(keyspace::row(REPLICA, generation, &key, chunk), data, "another key of the same row");
    true
}
