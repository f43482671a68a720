//! What the decoders of the machine's bytes must do with any bytes at all, one function each: the property tests and the fuzz targets
//! call these.
//!
//! Each answers whether the bytes were accepted, and panics when a decoder breaks its promise: never a panic of its own, and what it
//! accepted comes back from its encoding as it is. Not for products.

use bytes::Bytes;
use prost::Message;

use crate::catalog::QueueEntry;
use crate::command::{Batch, CommandKind, GroupRow, NodeRow, PutQueue};
use crate::machine::{Entry, Machine, MachineKind};
use crate::rows::{
    AnswersRow, ConsumerRow, LeaseRow, MachineRow, MemoryRow, PageRow, ProducerRow, QueueRow, ResultsRow,
    StateRow,
};

/// Whether the bytes are a message of this kind; if so it must come back.
fn message<T: Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) -> bool {
    let Ok(decoded) = T::decode(data) else { return false };
    let again = T::decode(decoded.encode_to_vec().as_slice());
    assert!(again.as_ref() == Ok(&decoded), "a message changes when it is stored: {decoded:?}");
    true
}

/// A batch of commands, as it stands in an entry of the log; both machines apply it.
pub fn batch(data: &[u8]) -> bool {
    let accepted = message::<Batch>(data);
    if let Ok(batch) = Batch::decode(data) {
        for kind in [MachineKind::Catalog, MachineKind::Shard(1)] {
            let mut machine = Machine::new(kind);
            let put = CommandKind::PutQueue(PutQueue { uid: 1, version: 1, ..PutQueue::default() });
            let first = Batch { version: Batch::VERSION, now_ms: 1, commands: vec![put.into()] };
            machine.apply(Entry { index: 1, term: 1, batch: first });
            let count = batch.commands.len();
            let applied = machine.apply(Entry { index: 2, term: 1, batch: batch.clone() });
            assert_eq!(applied.replies.len(), count, "one reply for each command");
            crate::invariants::check(&machine).unwrap_or_else(|why| panic!("{why}"));
        }
    }
    accepted
}

/// The value of a checkpoint row, whichever it is.
pub fn row(data: &[u8]) -> bool {
    let readers: [fn(&[u8]) -> bool; 13] = [
        message::<MachineRow>,
        message::<QueueRow>,
        message::<ConsumerRow>,
        message::<PageRow>,
        message::<StateRow>,
        message::<LeaseRow>,
        message::<AnswersRow>,
        message::<ProducerRow>,
        message::<ResultsRow>,
        message::<MemoryRow>,
        message::<QueueEntry>,
        message::<NodeRow>,
        message::<GroupRow>,
    ];
    // A panic in looking for a payload would take the reader of a delivery with it.
    let _ = Machine::payload_in_page(&Bytes::copy_from_slice(data), 1);
    readers.into_iter().filter(|read| read(data)).count() > 0
}

/// A whole checkpoint: rows as [`write_rows`] puts them down, loaded as the catalog and as a shard.
pub fn checkpoint(data: &[u8]) -> bool {
    let rows = read_rows(data);
    let load = |kind| Machine::load(kind, rows.iter().cloned());
    let kinds = [MachineKind::Catalog, MachineKind::Shard(1), MachineKind::Shard(2)];
    let machines: Vec<Machine> = kinds.into_iter().filter_map(|kind| load(kind).ok()).collect();
    for machine in &machines {
        let again = load(machine.kind()).unwrap_or_else(|why| panic!("loaded once and not twice: {why}"));
        assert_eq!(again.digest(), machine.digest(), "the same rows make two machines");
    }
    !machines.is_empty()
}

/// Rows in the form that [`checkpoint`] reads: the lengths of key and value, two bytes each, and both.
#[must_use]
pub fn write_rows(rows: &[(Bytes, Bytes)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in rows {
        data.extend_from_slice(&(key.len() as u16).to_le_bytes());
        data.extend_from_slice(&(value.len() as u16).to_le_bytes());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    data
}

fn read_rows(mut data: &[u8]) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    while let Some((lengths, rest)) = data.split_first_chunk::<4>() {
        let length = |at: usize| usize::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
        let (key, rest) = rest.split_at(length(0).min(rest.len()));
        let (value, rest) = rest.split_at(length(2).min(rest.len()));
        rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        data = rest;
    }
    rows
}
