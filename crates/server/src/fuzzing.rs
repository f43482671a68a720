//! What the decoders of a node's files must do with any bytes at all, one function each: the property tests and the fuzz targets call these.
//!
//! Each answers whether the bytes were accepted, and panics when a decoder breaks its promise. Not for products.

use phalanx_state_machine::ids::Id128;

use crate::config;
use crate::identity::{self, Passport, Plan, PlanGroup, PlanNode, Seat};

/// The configuration file: what is accepted satisfies every rule.
pub fn config_file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(config) = config::load(text, []) else { return false };
    config.validate().unwrap_or_else(|why| panic!("accepted against the rules: {why}"));
    true
}

/// The identity file: as it is, and once more with length and checksum that fit.
pub fn identity_file(data: &[u8]) -> bool {
    let whole = identity::decode(data);
    let sealed = seal(data);
    for passport in whole.iter().chain(identity::decode(&sealed).iter()) {
        assert_eq!(identity::decode(&identity::encode(passport)).as_ref(), Ok(passport));
    }
    whole.is_ok()
}

/// The bytes behind the header, under a header that fits them.
fn seal(data: &[u8]) -> Vec<u8> {
    let body = data.get(identity::HEADER_BYTES..).unwrap_or_default();
    let mut sealed = identity::encode(&sample())[..8].to_vec();
    sealed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    sealed.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&sealed), body).to_be_bytes());
    sealed.extend_from_slice(body);
    sealed
}

fn sample() -> Passport {
    let id = |lo| Id128 { hi: 7, lo };
    let node = |node| PlanNode {
        node,
        store: id(100 + node),
        client_address: format!("node-{node}:7420"),
        peer_address: format!("node-{node}:7520"),
        zone: "a".to_owned(),
    };
    let group =
        |group| PlanGroup { group, replicas: (1..=3).map(|node| (group * 10 + node, node)).collect() };
    Passport {
        node: 2,
        store: id(102),
        plan: Some(Plan {
            cluster: id(1),
            nodes: (1..=3).map(node).collect(),
            groups: (0..=2).map(group).collect(),
        }),
        started: true,
        seats: vec![Seat { group: 1, replica: 99, taken: true }],
    }
}

/// An identity file.
#[must_use]
pub fn write_identity() -> Vec<u8> {
    identity::encode(&sample())
}
