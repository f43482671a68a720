//! Who calls, and over which listener.
//!
//! Invariant: hop count and principal are read from metadata on the peer listener only. On the client listener the same
//! names mean nothing, so that nobody can speak for somebody else.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::authorize::Principal;
use crate::status;

/// Metadata: how often the request was forwarded. Only 1 exists.
pub const HOP_HEADER: &str = "phalanx-hop";
/// Metadata: the principal that the forwarding node saw.
pub const PRINCIPAL_HEADER: &str = "phalanx-principal";
/// Longest time a unary request may take here when the caller named no deadline.
pub const UNARY_DEADLINE_DEFAULT: Duration = Duration::from_secs(15);

/// Where a service is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Clients: nothing they say about themselves is believed.
    Client,
    /// Peers: they carry the principal of the client they speak for.
    Peer,
}

/// One caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The request came from a peer that forwarded it: it is answered here or not at all.
    pub forwarded: bool,
    /// Time the caller gives the call (`grpc-timeout`), at most [`UNARY_DEADLINE_DEFAULT`] for unary calls.
    pub timeout: Option<Duration>,
}

impl Caller {
    /// Reads it from a request that came in over `listener`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when a peer's metadata are malformed.
    pub fn of<T>(listener: Listener, request: &Request<T>) -> Result<Self, Status> {
        Self::from_metadata(listener, request.metadata())
    }

    /// See [`Caller::of`].
    ///
    /// # Errors
    /// See [`Caller::of`].
    pub fn from_metadata(listener: Listener, metadata: &MetadataMap) -> Result<Self, Status> {
        let timeout = metadata.get("grpc-timeout").and_then(|text| parse_timeout(text.to_str().ok()?));
        if listener == Listener::Client {
            return Ok(Self { principal: Principal::Anonymous, forwarded: false, timeout });
        }
        let forwarded = match metadata.get(HOP_HEADER).map(|hop| hop.as_bytes()) {
            Some(b"1") => true,
            _ => {
                return Err(status::unauthenticated(
                    "a call on the peer listener without a valid phalanx-hop",
                ));
            }
        };
        let principal = metadata
            .get(PRINCIPAL_HEADER)
            .and_then(|text| Principal::from_header(text.to_str().ok()?))
            .ok_or_else(|| status::unauthenticated("a forwarded call without a valid phalanx-principal"))?;
        Ok(Self { principal, forwarded, timeout })
    }

    /// The time a unary call may take.
    #[must_use]
    pub fn unary_deadline(&self) -> Duration {
        self.timeout.map_or(UNARY_DEADLINE_DEFAULT, |timeout| timeout.min(UNARY_DEADLINE_DEFAULT))
    }
}

/// Parses the gRPC form of a timeout: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_listener_ignores_claimed_principal_and_hop() {
        let mut request = Request::new(());
        request.metadata_mut().insert(HOP_HEADER, "1".parse().unwrap());
        request.metadata_mut().insert(PRINCIPAL_HEADER, "name:root".parse().unwrap());
        let caller = Caller::of(Listener::Client, &request).unwrap();
        assert_eq!(caller.principal, Principal::Anonymous);
        assert!(!caller.forwarded);
    }

    #[test]
    fn peer_listener_refuses_a_call_without_hop_or_principal() {
        let mut request = Request::new(());
        assert!(Caller::of(Listener::Peer, &request).is_err());
        request.metadata_mut().insert(HOP_HEADER, "1".parse().unwrap());
        assert!(Caller::of(Listener::Peer, &request).is_err());
        request.metadata_mut().insert(PRINCIPAL_HEADER, "name:ann".parse().unwrap());
        let caller = Caller::of(Listener::Peer, &request).unwrap();
        assert_eq!(caller.principal, Principal::Named("ann".to_owned()));
        request.metadata_mut().insert(HOP_HEADER, "2".parse().unwrap());
        assert!(Caller::of(Listener::Peer, &request).is_err());
    }

    #[test]
    fn timeout_header_is_read_in_every_unit() {
        assert_eq!(parse_timeout("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse_timeout("999999999S"), None);
        assert_eq!(parse_timeout("S"), None);
        assert_eq!(parse_timeout(""), None);
    }
}
