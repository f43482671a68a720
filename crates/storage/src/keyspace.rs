//! Every key of the checkpoint store, in one file.
//!
//! ```text
//! 'M' replica:u64be                                              the manifest of a replica
//! 'D' replica:u64be                                              a destroyed replica, until its rows are gone
//! 'R' replica:u64be generation:u32be escaped(key) chunk:u16be    a row, or a piece of a long one
//! ```
//! `escaped` keeps the order of keys and ends itself: a zero byte becomes `00 FF`, the end is `00 01`. So rows sort by replica,
//! generation, key and chunk, whatever bytes a key has.

const DESTROYED: u8 = b'D';
const MANIFEST: u8 = b'M';
const ROW: u8 = b'R';
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const END: u8 = 0x01;
/// Bytes before the escaped key.
const PREFIX_BYTES: usize = 1 + 8 + 4;

/// Behind every key that is stored; before them is only what an engine keeps for itself.
pub(crate) const ALL: (&[u8], &[u8]) = (&[1], &[0xFF]);
/// Start and end of all manifests.
pub(crate) const MANIFESTS: (&[u8], &[u8]) = (&[MANIFEST], &[MANIFEST + 1]);
/// Start and end of the marks of destroyed replicas.
pub(crate) const DESTROYED_ONES: (&[u8], &[u8]) = (&[DESTROYED], &[DESTROYED + 1]);

fn of_replica(kind: u8, replica: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&replica.to_be_bytes());
    key
}

/// Key of a replica's manifest.
pub(crate) fn manifest(replica: u64) -> Vec<u8> {
    of_replica(MANIFEST, replica)
}

/// Key of the mark of a destroyed replica.
pub(crate) fn destroyed(replica: u64) -> Vec<u8> {
    of_replica(DESTROYED, replica)
}

/// The replica of a manifest's or a mark's key.
pub(crate) fn parse_replica(stored: &[u8]) -> Option<u64> {
    let (kind, replica) = stored.split_first()?;
    let known = *kind == MANIFEST || *kind == DESTROYED;
    known.then(|| replica.try_into().ok().map(u64::from_be_bytes)).flatten()
}

/// Start of the rows of a replica's generation; the start of the next generation is its end.
pub(crate) fn generation_start(replica: u64, generation: u32) -> Vec<u8> {
    let mut key = vec![ROW];
    key.extend_from_slice(&replica.to_be_bytes());
    key.extend_from_slice(&generation.to_be_bytes());
    key
}

/// End, exclusive, of the rows of a replica's generation.
pub(crate) fn generation_end(replica: u64, generation: u32) -> Vec<u8> {
    match generation.checked_add(1) {
        Some(next) => generation_start(replica, next),
        None => replica_end(replica),
    }
}

/// End, exclusive, of all rows of a replica.
pub(crate) fn replica_end(replica: u64) -> Vec<u8> {
    match replica.checked_add(1) {
        Some(next) => generation_start(next, 0),
        None => vec![ROW + 1],
    }
}

/// Start of all pieces of the row `key`, and of all rows behind it when used as a lower bound.
pub(crate) fn row_start(replica: u64, generation: u32, key: &[u8]) -> Vec<u8> {
    let mut full = generation_start(replica, generation);
    for byte in key {
        full.push(*byte);
        if *byte == ESCAPE {
            full.push(ESCAPED_ZERO);
        }
    }
    full.extend_from_slice(&[ESCAPE, END]);
    full
}

/// Key of one piece of a row.
pub(crate) fn row(replica: u64, generation: u32, key: &[u8], chunk: u16) -> Vec<u8> {
    let mut full = row_start(replica, generation, key);
    full.extend_from_slice(&chunk.to_be_bytes());
    full
}

/// The first possible key behind all pieces of the row `key`.
pub(crate) fn row_end(replica: u64, generation: u32, key: &[u8]) -> Vec<u8> {
    let mut full = row_start(replica, generation, key);
    // The chunk number is two bytes: three of the highest are behind all of them.
    full.extend_from_slice(&[0xFF; 3]);
    full
}

/// Generation, key and chunk number of a row's stored key; `None` if it is not one of `replica`.
pub(crate) fn parse_row(replica: u64, stored: &[u8]) -> Option<(u32, Vec<u8>, u16)> {
    let (prefix, rest) = stored.split_at_checked(PREFIX_BYTES)?;
    if prefix[0] != ROW || prefix[1..9] != replica.to_be_bytes() {
        return None;
    }
    let generation = u32::from_be_bytes(prefix[9..].try_into().ok()?);
    let (escaped, chunk) = rest.split_at_checked(rest.len().checked_sub(2)?)?;
    let chunk = u16::from_be_bytes(chunk.try_into().ok()?);
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    loop {
        match *bytes.next()? {
            ESCAPE => match *bytes.next()? {
                ESCAPED_ZERO => key.push(ESCAPE),
                END => break,
                _ => return None,
            },
            byte => key.push(byte),
        }
    }
    bytes.next().is_none().then_some((generation, key, chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_and_keep_their_order() {
        let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\x01", b"\x01", b"a", b"a\0", b"ab"];
        let mut last = Vec::new();
        for key in keys {
            for chunk in [0, 1, u16::MAX] {
                let stored = row(7, 3, key, chunk);
                assert_eq!(parse_row(7, &stored), Some((3, key.to_vec(), chunk)));
                assert!(stored > last, "{key:?} {chunk}");
                assert!(stored >= row_start(7, 3, key) && stored < row_end(7, 3, key));
                assert!(stored >= generation_start(7, 3) && stored < generation_end(7, 3));
                last = stored;
            }
        }
    }

    #[test]
    fn what_is_not_a_row_is_refused() {
        let stored = row(7, 3, b"key", 0);
        assert_eq!(parse_row(8, &stored), None);
        for cut in 0..stored.len() {
            // A shorter key may still be well-formed only if it is another row's; the ending byte makes that impossible.
            assert_eq!(parse_row(7, &stored[..cut]), None);
        }
        assert_eq!(parse_row(7, b"R1234567812345\0\x02ab"), None);
    }

    #[test]
    fn replicas_and_generations_do_not_overlap() {
        assert!(generation_end(1, u32::MAX) <= generation_start(2, 0));
        assert_eq!(replica_end(1), generation_start(2, 0));
        assert!(row(u64::MAX, u32::MAX, b"x", 0) < replica_end(u64::MAX));
        assert!(manifest(u64::MAX) < generation_start(0, 0));
        assert!(destroyed(u64::MAX) < manifest(0));
        assert_eq!([manifest(7), destroyed(8)].map(|key| parse_replica(&key)), [Some(7), Some(8)]);
        assert_eq!(parse_replica(&generation_start(7, 0)), None);
        let all = [destroyed(0), replica_end(u64::MAX)];
        assert!(all.iter().all(|key| ALL.0 < &key[..] && &key[..] < ALL.1));
    }
}
