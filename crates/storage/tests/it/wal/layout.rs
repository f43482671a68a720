//! The format as the tests know it, written down a second time: where headers, bodies and padding are in a segment.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    BatchHeader(Range<usize>),
    RecordHeader(Range<usize>),
    Body { range: Range<usize>, kind: u8, group: u64, index: u64 },
    Padding(Range<usize>),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Incarnation of the segment, from its first header.
pub fn incarnation(segment: &[u8]) -> u64 {
    u64_at(segment, 8)
}

/// The regions of all batches of the segment's own incarnation, in order.
pub fn regions(segment: &[u8]) -> Vec<Region> {
    let own = incarnation(segment);
    let mut regions = Vec::new();
    let mut at = 0;
    while at + 48 <= segment.len() && &segment[at..at + 4] == b"PXWB" && u64_at(segment, at + 8) == own {
        let end = at + 48 + u32_at(segment, at + 24) as usize;
        regions.push(Region::BatchHeader(at..at + 48));
        let mut record = at + 48;
        while record < end {
            let body = record + 40;
            let body_end = body + u32_at(segment, record + 4) as usize;
            regions.push(Region::RecordHeader(record..body));
            let (kind, group, index) =
                (segment[record], u64_at(segment, record + 8), u64_at(segment, record + 16));
            if body < body_end {
                regions.push(Region::Body { range: body..body_end, kind, group, index });
            }
            record = body_end;
        }
        at = end.next_multiple_of(4096);
        if end < at {
            regions.push(Region::Padding(end..at));
        }
    }
    regions
}
