//! The manifest: what a replica's checkpoint is of. Written in every batch, with it or not at all.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::Error;
use crate::format::Fields;
use crate::keyspace;

use super::frame;

/// What the owner of the machine says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestFields {
    /// Raft term of the last applied entry.
    pub term: u64,
    /// Log index of the last applied entry.
    pub index: u64,
    /// The membership in force there, encoded; opaque.
    pub membership: Bytes,
    /// Machine time, ms since the Unix epoch.
    pub machine_time_ms: u64,
    /// Digest of the machine's logical state.
    pub digest: u64,
}

/// The newest durable checkpoint of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// As given with the batch.
    pub fields: ManifestFields,
    /// Rises by one with each batch, over all generations.
    pub batch: u64,
    /// Which rows are the replica's.
    pub generation: u32,
    /// How many of them there are.
    pub row_count: u64,
    /// What they take as stored pairs, bytes; without what the engine adds.
    pub row_bytes: u64,
    /// Sum over the fingerprints of all stored pairs: a row that fell back to an older state of its own is seen.
    pub row_digest: u64,
}

impl Manifest {
    /// The stored form, framed for its key.
    pub(super) fn encode(&self, replica: u64) -> Bytes {
        let fields = &self.fields;
        let mut bytes = BytesMut::new();
        bytes.put_u64_le(self.batch);
        bytes.put_u32_le(self.generation);
        bytes.put_u64_le(self.row_count);
        bytes.put_u64_le(self.row_bytes);
        bytes.put_u64_le(self.row_digest);
        bytes.put_u64_le(fields.term);
        bytes.put_u64_le(fields.index);
        bytes.put_u64_le(fields.machine_time_ms);
        bytes.put_u64_le(fields.digest);
        bytes.put_slice(&fields.membership);
        frame::encode(&keyspace::manifest(replica), 1, &bytes)
    }

    /// Reads the stored form.
    pub(super) fn decode(replica: u64, stored: &Bytes) -> Result<Self, Error> {
        let (_, payload) = frame::decode(&keyspace::manifest(replica), stored)?;
        let mut rest = Fields::new(&payload);
        let fixed = (|| {
            Some(Self {
                batch: rest.u64()?,
                generation: rest.u32()?,
                row_count: rest.u64()?,
                row_bytes: rest.u64()?,
                row_digest: rest.u64()?,
                fields: ManifestFields {
                    term: rest.u64()?,
                    index: rest.u64()?,
                    membership: Bytes::new(),
                    machine_time_ms: rest.u64()?,
                    digest: rest.u64()?,
                },
            })
        })();
        let mut manifest = fixed.ok_or_else(|| Error::Corrupt {
            what: format!("manifest of replica {replica}"),
            why: "it is too short".to_owned(),
        })?;
        /// Bytes before the membership.
        const FIXED_BYTES: usize = 8 + 4 + 3 * 8 + 4 * 8;
        manifest.fields.membership = payload.slice(FIXED_BYTES..);
        Ok(manifest)
    }

    /// Counts a stored pair in.
    pub(super) fn add(&mut self, key: &[u8], framed: &[u8]) {
        self.row_bytes = self.row_bytes.wrapping_add((key.len() + framed.len()) as u64);
        self.row_digest = self.row_digest.wrapping_add(frame::fingerprint(framed));
    }

    /// Counts a stored pair out.
    pub(super) fn subtract(&mut self, key: &[u8], framed: &[u8]) {
        self.row_bytes = self.row_bytes.wrapping_sub((key.len() + framed.len()) as u64);
        self.row_digest = self.row_digest.wrapping_sub(frame::fingerprint(framed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back() {
        let manifest = Manifest {
            fields: ManifestFields {
                term: 1,
                index: 2,
                membership: Bytes::from_static(b"members"),
                machine_time_ms: 3,
                digest: 4,
            },
            batch: 5,
            generation: 6,
            row_count: 7,
            row_bytes: 8,
            row_digest: 9,
        };
        let stored = manifest.encode(9);
        assert_eq!(Manifest::decode(9, &stored).unwrap(), manifest);
        assert!(Manifest::decode(8, &stored).is_err(), "another replica's manifest");
    }

    #[test]
    fn what_is_counted_in_and_out_again_leaves_nothing() {
        let mut manifest = Manifest::default();
        let pairs = [frame::encode(b"a", 1, b"1"), frame::encode(b"b", 1, b"22")];
        manifest.add(b"a", &pairs[0]);
        manifest.add(b"b", &pairs[1]);
        assert_ne!(manifest.row_digest, 0);
        manifest.subtract(b"b", &pairs[1]);
        manifest.subtract(b"a", &pairs[0]);
        assert_eq!(manifest, Manifest::default());
    }
}
