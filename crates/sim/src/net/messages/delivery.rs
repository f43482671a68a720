//! What happens when a packet arrives, or fails to.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::connection::{CALLER, CallId, ConnectionId, Credit, Fate, Half, LISTENER, Packet};
use super::listener::{Answer, Arrival};
use super::wires::State;
use crate::trace;

/// So many of 100 connections that lose a request's packet deliver it when the way is clear again, as a retransmission would: whoever
/// sent it may long have given up and gone elsewhere.
const HELD_PERCENT: u64 = 50;
/// So many of 100 requests that may be repeated arrive twice.
const AGAIN_PERCENT: u64 = 3;

/// Calls that any client may make twice, the second one late: each carries what it is recognised by, or changes nothing.
const REPEATABLE: [&str; 6] = [
    "/phalanx.v1.Messages/Send",
    "/phalanx.v1.Messages/Receive",
    "/phalanx.v1.Messages/Settle",
    "/phalanx.v1.Queues/GetQueue",
    "/phalanx.raft.v1.Raft/Vote",
    "/phalanx.raft.v1.Raft/Heartbeat",
];

impl State {
    pub(super) fn deliver(&mut self, connection: ConnectionId, from: usize, packet: Packet) {
        let to = 1 - from;
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let way = (known.ends[from].host, known.ends[to].host);
        match &mut known.ends[from].fate {
            Fate::Lost => return,
            Fate::Held(held) => {
                if !matches!(packet, Packet::Bye) {
                    held.push_back(packet);
                }
                return;
            }
            Fate::Fine if self.cuts.contains(&way) => {
                let is_held = from == CALLER && known.ends[to].open && self.random.chance(HELD_PERCENT);
                known.ends[from].fate = match packet {
                    // Who sent it does not wait, and who waits for it will find out by itself.
                    Packet::Bye => Fate::Lost,
                    packet if is_held => Fate::Held(VecDeque::from([packet])),
                    _ => Fate::Lost,
                };
                return;
            }
            Fate::Fine => {}
        }
        note(connection, from, &packet);
        if let Packet::Hello = packet {
            return self.greet(connection);
        }
        if !known.ends[to].open {
            if known.ends[from].open && !matches!(packet, Packet::Bye) {
                self.send(connection, to, Packet::Bye);
            }
            return;
        }
        self.arrive(connection, to, packet);
    }

    fn greet(&mut self, connection: ConnectionId) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let is_there = self.listeners.contains_key(&(known.ends[LISTENER].host, known.port));
        known.ends[LISTENER].open = is_there && known.ends[CALLER].open;
        let answer = if is_there { Packet::Welcome } else { Packet::Bye };
        self.send(connection, LISTENER, answer);
    }

    fn arrive(&mut self, connection: ConnectionId, to: usize, packet: Packet) {
        match packet {
            Packet::Hello => {}
            Packet::Welcome => {
                let known = self.connections.get_mut(&connection);
                if let Some(welcome) = known.and_then(|known| known.welcome.take()) {
                    // Nobody waits any more: then the connection is given up in a moment.
                    let _ = welcome.send(());
                }
            }
            Packet::Bye => {
                self.count("connections reset or closed");
                self.break_end(connection, to, "the connection was reset");
            }
            Packet::Open { call, request, credit } => self.begin(connection, call, request, &credit),
            Packet::Again { request, frames } => self.repeat(connection, request, frames),
            Packet::Head { call, response } => {
                if let Some(head) = self.half(connection, to, call).and_then(|half| half.head.take()) {
                    // The caller may just have given up.
                    let _ = head.send(Ok(response));
                }
            }
            Packet::Frame { call, frame } => {
                let Some(half) = self.half(connection, to, call) else { return };
                if let (Some((_, copied)), Some(bytes)) = (&mut half.copy, frame.data_ref()) {
                    copied.push(bytes.clone());
                }
                if let Some(frames) = &half.frames {
                    // As above.
                    let _ = frames.send(Ok(frame));
                }
            }
            Packet::End { call } => self.finish(connection, to, call),
            Packet::Cancel { call } => {
                let Some(known) = self.connections.get_mut(&connection) else { return };
                if let Some(mut half) = known.ends[to].halves.remove(&call) {
                    half.fail(&Status::cancelled("the call was reset"));
                    self.discard(half);
                }
            }
        }
    }

    fn half(&mut self, connection: ConnectionId, end: usize, call: CallId) -> Option<&mut Half> {
        self.connections.get_mut(&connection)?.ends[end].halves.get_mut(&call)
    }

    fn begin(
        &mut self,
        connection: ConnectionId,
        call: CallId,
        request: http::request::Parts,
        credit: &Credit,
    ) {
        let copies = REPEATABLE.contains(&request.uri.path()) && self.random.chance(AGAIN_PERCENT);
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let end = &mut known.ends[LISTENER];
        let Some(listener) = self.listeners.get(&(end.host, known.port)) else { return };
        let over = CancellationToken::new();
        let (sender, frames) = mpsc::unbounded_channel();
        let copy = copies.then(|| (request.clone(), Vec::new()));
        end.halves.insert(call, Half { head: None, frames: Some(sender), over: over.clone(), copy });
        let answer = Answer { connection, call, credit: credit.of(LISTENER), over };
        // A listener that is going away takes nothing more; its connections break in a moment.
        let _ = listener.send(Arrival { request, frames, credit: credit.of(CALLER), answer: Some(answer) });
    }

    /// The body has ended.
    fn finish(&mut self, connection: ConnectionId, to: usize, call: CallId) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        let end = &mut known.ends[to];
        if to == CALLER {
            // With the response the call is over, whatever of the request is still under way.
            if let Some(half) = end.halves.remove(&call) {
                half.over.cancel();
                self.discard(half);
            }
            return;
        }
        let Some(half) = end.halves.get_mut(&call) else { return };
        half.frames = None;
        if let Some((request, frames)) = half.copy.take() {
            self.send_late(connection, CALLER, Packet::Again { request, frames });
        }
    }

    fn repeat(&mut self, connection: ConnectionId, request: http::request::Parts, copied: Vec<Bytes>) {
        let Some(known) = self.connections.get(&connection) else { return };
        let Some(listener) = self.listeners.get(&(known.ends[LISTENER].host, known.port)).cloned() else {
            return;
        };
        let (sender, frames) = mpsc::unbounded_channel();
        for bytes in copied {
            // The receiver is here.
            let _ = sender.send(Ok(http_body::Frame::data(bytes)));
        }
        self.count("requests that arrived twice");
        let credit = Credit::new().of(CALLER);
        let _ = listener.send(Arrival { request, frames, credit, answer: None });
    }
}

/// What arrives is part of the trace.
fn note(connection: ConnectionId, from: usize, packet: &Packet) {
    tracing::trace!(connection, from, ?packet, "arrives");
    let mut line = [0; 17];
    line[..8].copy_from_slice(&connection.to_be_bytes());
    line[8] = from as u8;
    let (kind, call) = match packet {
        Packet::Hello => (0, 0),
        Packet::Welcome => (1, 0),
        Packet::Open { call, .. } => (2, *call),
        Packet::Head { call, .. } => (3, *call),
        Packet::Frame { call, .. } => (4, *call),
        Packet::End { call } => (5, *call),
        Packet::Cancel { call } => (6, *call),
        Packet::Again { .. } => (7, 0),
        Packet::Bye => (8, 0),
    };
    line[9..].copy_from_slice(&(call << 8 | kind).to_be_bytes());
    trace::received(&line);
    if let Packet::Frame { frame, .. } = packet
        && let Some(bytes) = frame.data_ref()
    {
        trace::received(bytes);
    }
}
