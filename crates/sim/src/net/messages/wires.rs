//! What is between the hosts: connections, packets on their way, and who is cut off from whom.
//!
//! Hosts' tasks and the world outside share it. Nothing that may run a task's destructor happens under its lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::connection::{
    CALLER, CallId, Connection, ConnectionId, Credit, End, Frames, Half, LISTENER, Packet,
};
use super::frames::Place;
use super::listener::Arrival;
use crate::net::{LATENCY_MAX, LATENCY_MIN};
use crate::random::Random;

/// A host, in the order in which they were named.
pub(super) type HostId = usize;

/// Between two looks at which connections are deaf.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// A repeated request comes after the first one by at most this.
const LATE_MAX: Duration = Duration::from_millis(300);

/// See the module.
pub(super) struct Wires(Mutex<State>);

/// A call that was begun.
pub(super) struct Opened {
    pub call: CallId,
    pub head: oneshot::Receiver<Result<http::response::Parts, Status>>,
    pub frames: Frames,
    pub credit: Credit,
    pub over: CancellationToken,
}

pub(super) struct State {
    pub random: Random,
    pub now_ns: u64,
    pub latency_max_ns: u64,
    last_id: u64,
    hosts: Vec<String>,
    pub cuts: BTreeSet<(HostId, HostId)>,
    pub listeners: BTreeMap<(HostId, u16), mpsc::UnboundedSender<Arrival>>,
    pub connections: BTreeMap<ConnectionId, Connection>,
    /// By when they are due, ns, and in the order in which they were sent.
    pub flying: BTreeMap<(u64, u64), (ConnectionId, usize, Packet)>,
    next_listen_ns: u64,
    befell: BTreeMap<&'static str, u64>,
    /// Dropped outside the lock: a waker may be the last to know a task.
    pub garbage: Vec<Half>,
}

impl Wires {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            random: Random::new(seed, 8),
            now_ns: 0,
            latency_max_ns: LATENCY_MAX.as_nanos() as u64,
            last_id: 0,
            hosts: Vec::new(),
            cuts: BTreeSet::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            flying: BTreeMap::new(),
            next_listen_ns: 0,
            befell: BTreeMap::new(),
            garbage: Vec::new(),
        }))
    }

    fn with<R>(&self, action: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.0.lock();
        let result = action(&mut state);
        let garbage = std::mem::take(&mut state.garbage);
        drop(state);
        drop(garbage);
        result
    }

    /// What befell connections and packets so far.
    pub(super) fn befell(&self) -> BTreeMap<&'static str, u64> {
        self.with(|state| state.befell.clone())
    }

    /// A new host.
    pub(super) fn host(&self, name: &str) -> HostId {
        self.with(|state| {
            state.hosts.push(name.to_owned());
            state.hosts.len() - 1
        })
    }

    /// Opens a port; false when it is open already.
    pub(super) fn listen(&self, host: HostId, port: u16, arrivals: mpsc::UnboundedSender<Arrival>) -> bool {
        self.with(|state| {
            let is_free = !state.listeners.contains_key(&(host, port));
            if is_free {
                state.listeners.insert((host, port), arrivals);
            }
            is_free
        })
    }

    /// Closes a port, and breaks its connections.
    pub(super) fn close(&self, host: HostId, port: u16) {
        let closed = self.with(|state| {
            let closed = state.listeners.remove(&(host, port));
            if closed.is_some() {
                state.leave(|end, connection| {
                    end == LISTENER && connection.port == port && connection.ends[LISTENER].host == host
                });
            }
            closed
        });
        drop(closed);
    }

    /// Closes all ports of a host.
    pub(super) fn close_all(&self, host: HostId) {
        let closed = self.with(|state| {
            let (of_host, others) =
                std::mem::take(&mut state.listeners).into_iter().partition(|((of, _), _)| *of == host);
            state.listeners = others;
            let of_host: BTreeMap<_, _> = of_host;
            of_host
        });
        drop(closed);
    }

    /// Breaks all connections of a host, which says goodbye.
    pub(super) fn leave(&self, host: HostId) {
        self.with(|state| state.leave(|end, connection| connection.ends[end].host == host));
    }

    pub(super) fn cut(&self, from: HostId, to: HostId) {
        self.with(|state| state.cuts.insert((from, to)));
    }

    pub(super) fn mend(&self, one: HostId, other: HostId) {
        self.with(|state| {
            for way in [(one, other), (other, one)] {
                if state.cuts.remove(&way) {
                    state.release(way);
                }
            }
        });
    }

    pub(super) fn delay(&self, longest: Duration) {
        self.with(|state| state.latency_max_ns = longest.as_nanos() as u64);
    }

    /// Delivers what is due.
    pub(super) fn step(&self, now: Duration) {
        self.with(|state| {
            state.now_ns = now.as_nanos() as u64;
            while let Some(next) = state.flying.first_entry().filter(|next| next.key().0 <= state.now_ns) {
                let (connection, from, packet) = next.remove();
                state.deliver(connection, from, packet);
            }
            if state.now_ns >= state.next_listen_ns {
                state.next_listen_ns = state.now_ns + LISTEN_EVERY.as_nanos() as u64;
                state.drop_deaf();
            }
        });
    }

    /// Dials; `None` when there is no such host. The receiver is told when the connection has come about.
    pub(super) fn dial(
        &self,
        from: HostId,
        host: &str,
        port: u16,
    ) -> Option<(ConnectionId, oneshot::Receiver<()>)> {
        self.with(|state| {
            let to = state.hosts.iter().position(|name| name == host)?;
            let (welcome, welcomed) = oneshot::channel();
            let ends = [End::new(from, true), End::new(to, false)];
            let connection = state.new_id();
            state.connections.insert(connection, Connection { ends, port, welcome: Some(welcome) });
            state.send(connection, CALLER, Packet::Hello);
            Some((connection, welcomed))
        })
    }

    pub(super) fn is_open(&self, connection: ConnectionId, end: usize) -> bool {
        self.with(|state| state.connections.get(&connection).is_some_and(|known| known.ends[end].open))
    }

    /// Ends a connection from one end.
    pub(super) fn hang_up(&self, connection: ConnectionId, end: usize) {
        self.with(|state| state.hang_up(connection, end, "the connection was given up"));
    }

    /// Begins a call; `None` when the connection has broken.
    pub(super) fn open(&self, connection: ConnectionId, mut request: http::request::Parts) -> Option<Opened> {
        // They are of this host, and do not travel.
        request.extensions = http::Extensions::new();
        self.with(|state| {
            let call = state.new_id();
            let end = &mut state.connections.get_mut(&connection)?.ends[CALLER];
            if !end.open {
                return None;
            }
            let (head, answered) = oneshot::channel();
            let (frames, arriving) = mpsc::unbounded_channel();
            let (credit, over) = (Credit::new(), CancellationToken::new());
            let half = Half { head: Some(head), frames: Some(frames), over: over.clone(), copy: None };
            end.halves.insert(call, half);
            state.send(connection, CALLER, Packet::Open { call, request, credit: credit.clone() });
            Some(Opened { call, head: answered, frames: arriving, credit, over })
        })
    }

    /// Sends a packet of a call that goes on.
    pub(super) fn send(&self, connection: ConnectionId, end: usize, mut packet: Packet) {
        if let Packet::Head { response, .. } = &mut packet {
            response.extensions = http::Extensions::new();
        }
        self.with(|state| {
            if let Packet::End { call } = packet
                && end == LISTENER
                && let Some(known) = state.connections.get_mut(&connection)
                && let Some(half) = known.ends[LISTENER].halves.remove(&call)
            {
                state.garbage.push(half);
            }
            state.send(connection, end, packet);
        });
    }

    /// This end wants nothing more of the call.
    pub(super) fn give_up(&self, place: &Place) {
        self.with(|state| {
            let Some(known) = state.connections.get_mut(&place.connection) else { return };
            if let Some(mut half) = known.ends[place.end].halves.remove(&place.call) {
                half.fail(&Status::cancelled("the call was given up"));
                state.garbage.push(half);
                state.send(place.connection, place.end, Packet::Cancel { call: place.call });
            }
        });
    }
}

impl State {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.befell.entry(what).or_default() += 1;
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Sends a packet. It is never due before an earlier one of its direction; what is sent in one step travels together.
    pub(super) fn send(&mut self, connection: ConnectionId, from: usize, packet: Packet) {
        let latency = self.random.within(LATENCY_MIN.as_nanos() as u64..self.latency_max_ns + 1);
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let end = &mut known.ends[from];
        if !end.open && !matches!(packet, Packet::Bye | Packet::Welcome) {
            return;
        }
        let (sent, due) = end.last;
        let due = if sent == self.now_ns { due.max(sent) } else { due.max(self.now_ns + latency) };
        end.last = (self.now_ns, due);
        let id = self.new_id();
        self.flying.insert((due, id), (connection, from, packet));
    }

    /// Sends a packet that does not keep its place.
    pub(super) fn send_late(&mut self, connection: ConnectionId, from: usize, packet: Packet) {
        let (id, latency) = (self.new_id(), self.random.within(0..LATE_MAX.as_nanos() as u64));
        self.flying.insert((self.now_ns + latency, id), (connection, from, packet));
    }
}
