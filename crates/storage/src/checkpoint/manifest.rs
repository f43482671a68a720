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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// As given with the batch.
    pub fields: ManifestFields,
    /// Rises by one with each batch, over all generations.
    pub batch: u64,
    /// Which rows are the replica's.
    pub generation: u32,
    /// How many of them there are.
    pub row_count: u64,
}

impl Manifest {
    /// The stored form, framed for its key.
    pub(super) fn encode(&self, replica: u64) -> Bytes {
        let fields = &self.fields;
        let mut bytes = BytesMut::new();
        bytes.put_u64_le(self.batch);
        bytes.put_u32_le(self.generation);
        bytes.put_u64_le(self.row_count);
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
            let (batch, generation, row_count) = (rest.u64()?, rest.u32()?, rest.u64()?);
            let (term, index, machine_time_ms, digest) = (rest.u64()?, rest.u64()?, rest.u64()?, rest.u64()?);
            let fields = ManifestFields { term, index, membership: Bytes::new(), machine_time_ms, digest };
            Some(Self { fields, batch, generation, row_count })
        })();
        let mut manifest = fixed.ok_or_else(|| Error::Corrupt {
            what: format!("manifest of replica {replica}"),
            why: "it is too short".to_owned(),
        })?;
        /// Bytes before the membership.
        const FIXED_BYTES: usize = 8 + 4 + 8 + 4 * 8;
        manifest.fields.membership = payload.slice(FIXED_BYTES..);
        Ok(manifest)
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
        };
        let stored = manifest.encode(9);
        assert_eq!(Manifest::decode(9, &stored).unwrap(), manifest);
        assert!(Manifest::decode(8, &stored).is_err(), "another replica's manifest");
    }
}
