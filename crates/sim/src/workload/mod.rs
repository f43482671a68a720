//! What clients do in a run, drawn from a seed: the mix of producers and consumers, and the queues they use.
//!
//! Clients know a cluster by its addresses and nothing of the world around them. Whatever they do and see goes into the history.

mod board;
mod consumer;
mod fan;
mod lives;
mod nodes;
mod once;
mod outcome;
mod producer;
mod reader;
mod receiver;
mod unary;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use phalanx_client::{Client, Connector, Error, Message, QueueSettings};

pub use board::{Board, Stage};

use crate::history::{Recorder, Sending};
use crate::net::Door;
use crate::random::Random;

/// How long leases wait for a lost consumer, and answers for a repeated question.
pub const RESUME: Duration = Duration::from_secs(2);
/// Longer than any run, and than what clocks jump by.
const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);
/// Bodies are padded up to this, bytes.
const PADDING_MAX: u64 = 400;
/// Deduplication ids that all clients share.
const DEDUP_IDS: u64 = 12;
/// Groups of a grouped queue.
const GROUPS: u64 = 4;
/// The queue that is deleted and created again; the others are numbered from 1.
const LIVES: u64 = 9;
/// The number of the topic.
const TOPIC: u64 = 10;
/// A call may take this long, retries included.
const CALL_DEADLINE: Duration = Duration::from_secs(4);
/// A node that owes an answer for this long is left.
const STALL: Duration = Duration::from_millis(1_500);
/// Pings, and how long they may go unanswered.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// A queue of the run.
#[derive(Clone, Debug)]
pub struct QueueShape {
    number: u64,
    grouped: bool,
    strict: bool,
    lease: Duration,
}

impl QueueShape {
    fn name(&self) -> String {
        format!("queue-{}", self.number)
    }
}

/// What one client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Producer,
    Unary,
    Consumer,
    Receiver,
    Reader,
    Lives,
    Fan,
}

impl Role {
    /// Whether it counts among [`Board::sending`].
    fn sends(self) -> bool {
        matches!(self, Self::Producer | Self::Unary | Self::Lives | Self::Fan)
    }
}

/// Everything that an actor needs.
struct Actor {
    queue: QueueShape,
    random: Random,
    recorder: Recorder,
    board: Board,
    client: Client,
    door: Arc<dyn Door>,
    addresses: Vec<String>,
}

impl Actor {
    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.random.within(ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// A message that nobody has sent before.
    fn message(&mut self) -> (Sending, Message) {
        let number = self.board.message();
        let mut body = number.to_be_bytes().to_vec();
        let padding = self.random.within(0..PADDING_MAX);
        body.resize(body.len() + padding as usize, number as u8);
        let mut message = Message::new(body);
        let (mut group, mut dedup) = (None, None);
        if self.queue.strict {
            group = Some(0);
        } else if self.queue.grouped && self.random.chance(85) {
            let key = self.random.within(1..GROUPS + 1);
            group = Some(key);
            message = message.group(key.to_be_bytes().to_vec());
        }
        if self.random.chance(12) {
            let id = self.random.within(0..DEDUP_IDS);
            dedup = Some(id);
            message = message.deduplication_id(format!("dedup-{id}"));
        }
        (Sending { message: number, group, dedup }, message)
    }
}

/// The number that a body carries; of a body that no client wrote, none that was ever given.
fn number_of(body: &[u8]) -> u64 {
    let number = body.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
    if body[8.min(body.len())..].iter().all(|byte| *byte == number as u8) { number } else { u64::MAX }
}

/// The clients of a run.
pub struct Workload {
    seed: u64,
    queues: Vec<QueueShape>,
    hosts: Vec<Vec<(QueueShape, Role)>>,
    recorder: Recorder,
    board: Board,
    addresses: Vec<String>,
}

impl Workload {
    /// The mix of a seed, with leases of so many ms.
    pub fn new(
        seed: u64,
        lease: Range<u64>,
        addresses: Vec<String>,
        recorder: Recorder,
        board: Board,
    ) -> Self {
        let mut random = Random::new(seed, 2);
        let shape = |number, random: &mut Random| QueueShape {
            number,
            grouped: number == 2,
            strict: number == 3,
            lease: Duration::from_millis(random.within(lease.clone())),
        };
        let mut queues = vec![shape(1, &mut random), shape(2, &mut random)];
        if random.chance(25) {
            queues.push(shape(3, &mut random));
        }
        let mut hosts = vec![Vec::new(), Vec::new()];
        for queue in &queues {
            let mut roles = vec![Role::Producer, Role::Consumer, Role::Reader];
            roles.push(*random.pick(&[Role::Unary, Role::Producer]));
            roles.push(*random.pick(&[Role::Receiver, Role::Consumer]));
            if random.chance(50) {
                roles.push(*random.pick(&[Role::Receiver, Role::Consumer, Role::Unary]));
            }
            for role in roles {
                hosts[random.within(0..2) as usize].push((queue.clone(), role));
            }
        }
        // A stream of its own, and last: what the others draw is what they drew without it.
        let mut random = Random::new(seed, 10);
        hosts[random.within(0..2) as usize].push((shape(LIVES, &mut random), Role::Lives));
        let mut random = Random::new(seed, 11);
        hosts[random.within(0..2) as usize].push((shape(TOPIC, &mut random), Role::Fan));
        Self { seed, queues, hosts, recorder, board, addresses }
    }

    /// What runs on each host of clients, with its way into the network.
    pub fn hosts(self, mut door: impl FnMut(&str) -> Arc<dyn Door>) -> Vec<(String, BoxFuture<'static, ()>)> {
        let mut futures: Vec<(String, BoxFuture<'static, ()>)> = Vec::new();
        for (host, roles) in self.hosts.iter().enumerate() {
            let senders = roles.iter().filter(|(_, role)| role.sends()).count();
            self.board.sending.fetch_add(senders, Relaxed);
            let prepares = host == 0;
            let actors: Vec<_> = roles
                .iter()
                .enumerate()
                .map(|(at, (queue, role))| {
                    let seed = self.seed.wrapping_mul(1_000).wrapping_add(host as u64 * 100 + at as u64);
                    (seed, queue.clone(), *role)
                })
                .collect();
            let (recorder, board, addresses) =
                (self.recorder.clone(), self.board.clone(), self.addresses.clone());
            let queues = self.queues.clone();
            let name = format!("clients-{host}");
            let door = door(&name);
            let future = async move {
                if prepares {
                    prepare(client(&addresses, &door, u64::MAX - 1), &queues, &board).await;
                }
                while board.stage() == Stage::Prepare {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let actors = actors.into_iter().map(|(seed, queue, role)| {
                    let actor = Actor {
                        queue,
                        random: Random::new(seed, 5),
                        recorder: recorder.clone(),
                        board: board.clone(),
                        client: client(&addresses, &door, seed),
                        door: Arc::clone(&door),
                        addresses: addresses.clone(),
                    };
                    act(role, actor)
                });
                join_all(actors).await;
            };
            futures.push((name, Box::pin(future)));
        }
        futures
    }
}

fn client(addresses: &[String], door: &Arc<dyn Door>, seed: u64) -> Client {
    let door = Arc::clone(door);
    let builder = Client::builder()
        .addresses(addresses.to_vec())
        .connector(move |endpoint| Connector::channel(door.as_ref(), endpoint))
        .request_deadline(CALL_DEADLINE)
        .stall_timeout(STALL)
        .keepalive(KEEPALIVE, KEEPALIVE)
        .seed(seed);
    builder.build().expect("the addresses are well-formed")
}

async fn act(role: Role, actor: Actor) {
    match role {
        Role::Producer => producer::run(actor).await,
        Role::Unary => unary::run(actor).await,
        Role::Consumer => consumer::run(actor).await,
        Role::Receiver => receiver::run(actor).await,
        Role::Reader => reader::run(actor).await,
        Role::Lives => lives::run(actor).await,
        Role::Fan => fan::run(actor).await,
    }
}

/// Makes the queues, however long it takes.
async fn prepare(client: Client, queues: &[QueueShape], board: &Board) {
    for queue in queues {
        let settings = QueueSettings {
            lease: Some(queue.lease),
            strict: queue.strict,
            dedup_window: Some(DEDUP_WINDOW),
            resume: Some(RESUME),
            ..QueueSettings::default()
        };
        loop {
            match client.admin().create_queue(&queue.name(), settings.clone()).await {
                Ok(_) | Err(Error::AlreadyExists { .. }) => break,
                Err(error) => crate::trace::record(&format!("create {}: {error}", queue.name())),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    board.prepared.store(true, Relaxed);
}
