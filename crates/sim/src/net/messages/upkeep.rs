//! What happens to connections: they break, are given up, and catch up after a cut.

use std::time::Duration;

use tonic::Status;

use super::connection::{CALLER, Connection, ConnectionId, Fate, Half, LISTENER, Packet};
use super::wires::{HostId, State};
use crate::net::LATENCY_MIN;

/// A caller gives a connection up on which nothing can be heard for this long: keepalive interval and timeout of every client here.
const CALLER_PATIENCE: Duration = Duration::from_secs(2);
/// A listener does after this time: keepalive interval and timeout of the server.
const LISTENER_PATIENCE: Duration = Duration::from_secs(15);

impl State {
    /// What was held back by a cut is sent again, and everything that was sent since after it.
    pub(super) fn release(&mut self, (from_host, to_host): (HostId, HostId)) {
        let mut ways = Vec::new();
        for (id, known) in &self.connections {
            for from in [CALLER, LISTENER] {
                let is_of = known.ends[from].host == from_host && known.ends[1 - from].host == to_host;
                if is_of && matches!(known.ends[from].fate, Fate::Held(_)) {
                    ways.push((*id, from));
                }
            }
        }
        for (connection, from) in ways {
            let late: Vec<_> =
                self.flying.extract_if(.., |_, (of, end, _)| (*of, *end) == (connection, from)).collect();
            let Some(known) = self.connections.get_mut(&connection) else { continue };
            known.ends[from].last = (0, self.now_ns);
            let Fate::Held(held) = std::mem::replace(&mut known.ends[from].fate, Fate::Fine) else {
                continue;
            };
            held.iter().for_each(|_| self.count("packets delivered after a cut"));
            for packet in held.into_iter().chain(late.into_iter().map(|(_, (_, _, packet))| packet)) {
                let id = self.new_id();
                let latency = self.random.within(LATENCY_MIN.as_nanos() as u64..self.latency_max_ns + 1);
                let Some(known) = self.connections.get_mut(&connection) else { continue };
                let due = known.ends[from].last.1.max(self.now_ns + latency);
                known.ends[from].last.1 = due;
                self.flying.insert((due, id), (connection, from, packet));
            }
        }
    }

    /// Every end that `leaves` says goodbye.
    pub(super) fn leave(&mut self, leaves: impl Fn(usize, &Connection) -> bool) {
        let mut ends = Vec::new();
        for (id, known) in &self.connections {
            let leaving =
                [CALLER, LISTENER].into_iter().filter(|end| known.ends[*end].open && leaves(*end, known));
            ends.extend(leaving.map(|end| (*id, end)));
        }
        for (connection, end) in ends {
            self.hang_up(connection, end, "the connection was reset");
        }
    }

    pub(super) fn hang_up(&mut self, connection: ConnectionId, end: usize, why: &str) {
        self.send(connection, end, Packet::Bye);
        self.break_end(connection, end, why);
    }

    pub(super) fn discard(&mut self, half: Half) {
        self.garbage.push(half);
    }

    /// Nothing more comes or goes at this end.
    pub(super) fn break_end(&mut self, connection: ConnectionId, end: usize, why: &str) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.ends[end].open = false;
        if end == CALLER {
            known.welcome = None;
        }
        let why = Status::unknown(why);
        for (_, mut half) in std::mem::take(&mut known.ends[end].halves) {
            half.fail(&why);
            self.garbage.push(half);
        }
    }

    /// Keepalive: an end that would have heard nothing for too long breaks.
    pub(super) fn drop_deaf(&mut self) {
        let now_ns = self.now_ns;
        let mut deaf = Vec::new();
        for (id, known) in &mut self.connections {
            let hosts = (known.ends[CALLER].host, known.ends[LISTENER].host);
            let is_cut = self.cuts.contains(&hosts) || self.cuts.contains(&(hosts.1, hosts.0));
            let is_fine = known.ends.iter().all(|end| matches!(end.fate, Fate::Fine) && end.open);
            for (at, patience) in [(CALLER, CALLER_PATIENCE), (LISTENER, LISTENER_PATIENCE)] {
                let end = &mut known.ends[at];
                // Whoever dials has a time limit of its own.
                if !end.open || known.welcome.is_some() || (is_fine && !is_cut) {
                    end.deaf_since = None;
                } else if now_ns - *end.deaf_since.get_or_insert(now_ns) >= patience.as_nanos() as u64 {
                    deaf.push((*id, at));
                }
            }
        }
        for (connection, end) in deaf {
            self.count("connections given up by keepalive");
            self.hang_up(connection, end, "no answer to a ping");
        }
        self.connections.retain(|_, known| !known.is_over());
    }
}
