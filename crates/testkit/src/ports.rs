//! Ports on 127.0.0.1: given ones, or free ones.

use std::net::TcpListener;

use crate::Error;

/// The three listeners of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Clients.
    pub client: u16,
    /// Other nodes.
    pub peer: u16,
    /// Health checks.
    pub admin: u16,
}

/// Where the nodes of a cluster listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Free ones.
    Free,
    /// From this client port upward; peers 100 above, health checks 200 above.
    From(u16),
}

/// Distance from a node's client port to its peer port, and from there to its admin port.
const SPACING: u16 = 100;

impl Ports {
    /// Ports for `nodes` nodes. All are bound at once while they are chosen, so that none is handed out twice.
    ///
    /// # Errors
    /// [`Error::Port`] when one is taken.
    pub fn take(self, nodes: usize) -> Result<Vec<NodePorts>, Error> {
        let mut held = Vec::new();
        let mut bind = |port: u16| -> Result<u16, Error> {
            let listener =
                TcpListener::bind(("127.0.0.1", port)).map_err(|source| Error::Port { port, source })?;
            let port = listener.local_addr().map_err(|source| Error::Port { port, source })?.port();
            held.push(listener);
            Ok(port)
        };
        let mut ports = Vec::new();
        for place in 0..nodes as u16 {
            let base = match self {
                Self::Free => [0; 3],
                Self::From(first) => {
                    [0, SPACING, 2 * SPACING].map(|above| first.saturating_add(above + place))
                }
            };
            ports.push(NodePorts { client: bind(base[0])?, peer: bind(base[1])?, admin: bind(base[2])? });
        }
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let ports = Ports::Free.take(5).unwrap();
        let mut all: Vec<u16> = ports.iter().flat_map(|p| [p.client, p.peer, p.admin]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 15);
    }

    #[test]
    fn a_taken_port_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        let Err(Error::Port { port, .. }) = Ports::From(taken).take(1) else { panic!("the port was taken") };
        assert_eq!(port, taken);
    }
}
