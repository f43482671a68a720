//! See [`crate::fuzzing`].

use bytes::Bytes;

use super::batch::{self, BatchBuilder, BatchHeader, BatchKind, Item};
use super::head::{Manifest, Written};
use super::inventory::Inventory;
use super::record::{self, Header};
use crate::fuzzing::comes_back;

/// A batch of the log: the bytes as they are, and once more with sound checksums in its header and its first record, so that what
/// these say is believed.
pub fn wal_batch(data: &[u8]) -> bool {
    let accepted = read_batch(data);
    let mut sealed = data.to_vec();
    if seal(&mut sealed) {
        read_batch(&sealed);
    }
    accepted
}

/// Whether `bytes` begin with a sound batch.
fn read_batch(bytes: &[u8]) -> bool {
    let Some(header) = BatchHeader::decode(bytes, 0) else { return false };
    let mut found: Vec<(Header, &[u8])> = Vec::new();
    let mut steps = 0;
    for item in batch::records(bytes, 0, &header) {
        steps += 1;
        assert!(steps <= bytes.len(), "more records than bytes");
        if let Item::Sound { header, body, .. } = item {
            found.push((header, body));
        }
    }
    if !batch::is_whole(bytes, 0, &header) {
        return false;
    }
    let mut builder = BatchBuilder::default();
    builder.begin(header.incarnation, 0);
    for (record, body) in &found {
        builder.push(record, body);
    }
    let again = builder.finish(header.kind, header.slot, header.incarnation, header.number);
    let end = batch::HEADER_BYTES + header.content_bytes as usize;
    assert_eq!(BatchHeader::decode(again, 0), Some(header), "the header has changed");
    assert!(again[batch::HEADER_BYTES..end] == bytes[batch::HEADER_BYTES..end], "the records have changed");
    true
}

/// Puts the right checksums in: of the batch's header, and of its first record's if there is one.
fn seal(bytes: &mut [u8]) -> bool {
    let mut builder = BatchBuilder::default();
    builder.begin(0, 0);
    let pattern = builder.finish(BatchKind::Data, 0, 0, 0);
    let (magic, version) = (pattern[..4].to_vec(), pattern[4..6].to_vec());
    let Some(header) = bytes.get_mut(..batch::HEADER_BYTES) else { return false };
    header[..4].copy_from_slice(&magic);
    header[4..6].copy_from_slice(&version);
    header[6] = header[6] % 4 + 1;
    let incarnation = header[8..16].try_into().map_or(0, u64::from_le_bytes);
    let seed = record::Seed::new(incarnation);
    let covered = batch::HEADER_BYTES - 4;
    let crc = seed.crc_at(0, &header[..covered]);
    header[covered..].copy_from_slice(&crc.to_le_bytes());
    let first = batch::HEADER_BYTES..batch::HEADER_BYTES + record::HEADER_BYTES;
    if let Some(first) = bytes.get_mut(first) {
        first[0] = first[0] % 10 + 1;
        let covered = record::HEADER_BYTES - 4;
        let crc = seed.crc_at(batch::HEADER_BYTES as u64, &first[..covered]);
        first[covered..].copy_from_slice(&crc.to_le_bytes());
    }
    true
}

/// What a head says: the manifest, and a group's state.
pub fn wal_head(data: &[u8]) -> bool {
    let manifest = Manifest::decode(data);
    if let Some(manifest) = &manifest {
        let encode = |manifest: &Manifest| {
            let mut bytes = Vec::new();
            manifest.encode(&mut bytes);
            Bytes::from(bytes)
        };
        comes_back(manifest, encode, |bytes| Manifest::decode(bytes));
    }
    let written = Written::decode(data);
    if let Some(written) = &written {
        let encode = |written: &Written| {
            let mut bytes = Vec::new();
            written.encode(1, &mut bytes);
            Bytes::from(bytes)
        };
        comes_back(written, encode, |bytes| Written::decode(bytes));
    }
    manifest.is_some() || written.is_some()
}

/// The inventory of the log's files: as it is, and with the right checksum put in.
pub fn wal_inventory(data: &[u8]) -> bool {
    let whole = Inventory::decode(data);
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(data).to_le_bytes());
    for inventory in whole.iter().chain(&Inventory::decode(&sealed)) {
        assert_eq!(Inventory::decode(&inventory.encode()).as_ref(), Some(inventory));
    }
    whole.is_some()
}
