//! The network between nodes, and between nodes and clients: where it can be cut.
//!
//! Two of them do the same: [`Namespaces`] drops packets (a namespace for each node, and one, this process's own, that routes between them); [`Proxies`] holds
//! connections up, where namespaces are not allowed.

mod namespaces;
mod proxies;

pub use namespaces::{Namespaces, enter, is_inside, obstacle};
pub use proxies::Proxies;

use std::io;

/// Ports of a node on its own address: clients, other nodes, health checks.
pub const PORTS: [u16; 3] = [7420, 7520, 7620];

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A node, from 1.
    Node(u64),
    /// All clients.
    Clients,
}

/// What a bad link does to packets, each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Every packet is this late, ms.
    pub delay_ms: u64,
    /// And up to this much more, so that packets overtake each other.
    pub jitter_ms: u64,
    /// Of a hundred packets so many are lost.
    pub loss_percent: u32,
}

/// The network of a cluster.
pub enum Network {
    /// Real packets.
    Namespaces(Namespaces),
    /// Connections through this process.
    Proxies(Proxies),
}

impl Network {
    /// What nodes tell of themselves: `host` of a node.
    pub fn host(&self, node: u64) -> String {
        match self {
            Self::Namespaces(_) => format!("10.77.{node}.2"),
            Self::Proxies(_) => format!("127.77.{node}.1"),
        }
    }

    /// Where a node listens.
    pub fn listen_host(&self, node: u64) -> String {
        match self {
            Self::Namespaces(_) => self.host(node),
            Self::Proxies(_) => format!("127.77.{node}.2"),
        }
    }

    /// What runs a command where a node lives: the words before it.
    pub fn wrapper(&self, node: u64) -> Vec<String> {
        match self {
            Self::Namespaces(namespaces) => namespaces.wrapper(node),
            Self::Proxies(_) => Vec::new(),
        }
    }

    /// A node has a new process.
    pub fn started(&self, node: u64, pid: u32) {
        if let Self::Proxies(proxies) = self {
            proxies.started(node, pid);
        }
    }

    /// Nothing gets from one end to the other any more, for each of these pairs. The other direction stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn cut(&self, links: &[(End, End)]) -> io::Result<()> {
        match self {
            Self::Namespaces(namespaces) => namespaces.cut(links).await,
            Self::Proxies(proxies) => {
                proxies.cut(links);
                Ok(())
            }
        }
    }

    /// Links of a node to all others become bad.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn worsen(&self, node: u64, bad: Bad) -> io::Result<()> {
        match self {
            Self::Namespaces(namespaces) => namespaces.worsen(node, bad).await,
            Self::Proxies(proxies) => {
                proxies.worsen(node, bad);
                Ok(())
            }
        }
    }

    /// Everything gets everywhere.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn heal(&self) -> io::Result<()> {
        match self {
            Self::Namespaces(namespaces) => namespaces.heal().await,
            Self::Proxies(proxies) => {
                proxies.heal();
                Ok(())
            }
        }
    }
}
