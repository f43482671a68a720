//! A node whose log stands still: what is refused, and what is not lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_proto::v1::queues_client::QueuesClient;
use phalanx_server::config::NodeConfig;
use phalanx_server::drive::{Drive, DriveHandle};
use phalanx_server::node::{Node, RunningNode};
use phalanx_server::seams::Seams;
use phalanx_server::status::{self, Reason};
use phalanx_storage::wal::Wal;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::{SOON, eventually};
use crate::talk::{
    Consumer, attach, receive_request, send_request, settle_item, settle_request, texts, tokens,
};

/// Commits only while the gate is open.
struct GatedDrive {
    open: Arc<AtomicBool>,
}

struct Gated {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drive for GatedDrive {
    fn start(&self, wal: Arc<Wal>, _: Arc<dyn Fn(String) + Send + Sync>) -> Box<dyn DriveHandle> {
        let (open, stop) = (Arc::clone(&self.open), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let worked = open.load(Ordering::Acquire) && wal.commit_pending().expect("a sound disk");
                if !worked {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Box::new(Gated { stop, thread: Some(thread) })
    }
}

impl DriveHandle for Gated {
    fn pulse(&self) -> u64 {
        0
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("it is dropped once").join().expect("it ends well");
    }
}

struct Lone {
    node: RunningNode,
    gate: Arc<AtomicBool>,
    _dir: TempDir,
}

impl Lone {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = NodeConfig::default();
        config.node.id = 1;
        config.node.data_dir = dir.path().to_owned();
        for listen in [&mut config.client.listen, &mut config.peer.listen, &mut config.admin.listen] {
            *listen = "127.0.0.1:0".to_owned();
        }
        // Nobody else needs to reach it; the tests ask it for the addresses that it has.
        config.client.advertise = "127.0.0.1:9".to_owned();
        config.peer.advertise = "127.0.0.1:9".to_owned();
        config.cluster.shards = 1;
        config.limits.request_bytes = 4 * 1024 * 1024;
        config.wal.segment_bytes = 16 * 1024 * 1024;
        config.wal.budget_bytes = 128 * 1024 * 1024;
        let fatal = Arc::new(|why: String| panic!("fatal: {why}"));
        let mut seams = Seams::production(&config, fatal).unwrap();
        let gate = Arc::new(AtomicBool::new(true));
        seams.drive = Arc::new(GatedDrive { open: Arc::clone(&gate) });
        let node = tokio::time::timeout(SOON, Node::start(config, seams)).await.unwrap().expect("it starts");
        Self { node, gate, _dir: dir }
    }

    fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.node.addresses().client)).unwrap().connect_lazy()
    }

    fn messages(&self) -> MessagesClient<Channel> {
        MessagesClient::new(self.channel())
    }

    async fn create_orders(&self) {
        eventually("the queue is created", async || {
            let request =
                v1::CreateQueueRequest { name: "orders".to_owned(), ..v1::CreateQueueRequest::default() };
            QueuesClient::new(self.channel()).create_queue(request).await.ok()
        })
        .await;
    }

    /// Stops the log, and sends until sends are refused.
    async fn overload(&self) -> Vec<Sending> {
        self.gate.store(false, Ordering::Release);
        // Three connections: each takes a bounded number of calls at a time.
        let clients = [self.messages(), self.messages(), self.messages()];
        let sends = (0..48).map(|number| spawn_send(&clients[number as usize % 3], number, 900 * 1024));
        let sends: Vec<_> = sends.collect();
        eventually("some are refused while the log stands", async || {
            sends.iter().any(JoinHandle::is_finished).then_some(())
        })
        .await;
        sends
    }

    /// As [`Self::overload`], until there is no room for the smallest of them either.
    async fn fill_up(&self) -> Vec<Sending> {
        let mut sends = self.overload().await;
        for halvings in 0..12_u64 {
            let client = self.messages();
            for number in 0..4 {
                sends.push(spawn_send(&client, 100 + 4 * halvings + number, (512 * 1024) >> halvings));
            }
        }
        let mut tiny = Vec::new();
        eventually("the smallest is refused", async || {
            tiny.push(spawn_send(&self.messages(), 1_000 + tiny.len() as u64, 1));
            tiny.iter().any(JoinHandle::is_finished).then_some(())
        })
        .await;
        sends.append(&mut tiny);
        sends
    }
}

type Sending = JoinHandle<Result<tonic::Response<v1::SendResponse>, Status>>;

fn spawn_send(client: &MessagesClient<Channel>, number: u64, bytes: usize) -> Sending {
    let mut client = client.clone();
    let mut request = send_request("orders", &[&"x".repeat(bytes)]);
    request.request_id = [[0; 8], (number + 1).to_be_bytes()].concat().into();
    tokio::spawn(async move { client.send(request).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_refused_early_settles_still_get_in_and_what_was_accepted_is_kept() {
    let lone = Lone::start().await;
    lone.create_orders().await;
    lone.messages().send(send_request("orders", &["first"])).await.unwrap();
    let first = lone.messages().receive(receive_request("orders", 1, 1, Duration::ZERO)).await.unwrap();
    let held = tokens(&first.into_inner().deliveries);

    let sends = lone.overload().await;
    let mut settling = lone.messages();
    let item = settle_item(v1::SettleAction::Ack, &held);
    let settle = tokio::spawn(async move { settling.settle(settle_request("orders", 1, item)).await });
    lone.gate.store(true, Ordering::Release);

    let settled = tokio::time::timeout(SOON, settle).await.unwrap().unwrap().expect("the reserve lets it in");
    assert_eq!(settled.into_inner().outcomes[0].result, v1::SettleResult::Acked as i32);
    let (mut accepted, mut overloaded) = (0, 0);
    for answer in join_all(sends).await {
        match answer.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert!(status::is(&error, Reason::Overloaded), "{error:?}");
                assert!(status::retry_delay_of(&error).is_some());
                overloaded += 1;
            }
        }
    }
    assert!(accepted > 0 && overloaded > 0, "{accepted} accepted, {overloaded} refused");
    let request = v1::GetQueueRequest { name: "orders".to_owned(), ..v1::GetQueueRequest::default() };
    let info = QueuesClient::new(lone.channel()).get_queue(request).await.unwrap().into_inner();
    assert_eq!(info.ready, accepted, "all that was accepted, and nothing else");
    lone.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_repetition_of_an_attach_leaves_no_consumer_that_nobody_reads_for() {
    let lone = Lone::start().await;
    lone.create_orders().await;
    let first = Consumer::attach(lone.channel(), attach("orders", 1, 1, 100)).await.expect("attached");
    let sends = lone.fill_up().await;
    let again = tokio::spawn(Consumer::attach(lone.channel(), attach("orders", 1, 1, 100)));
    // Its place is taken: its stream ends.
    let mut first = first;
    while matches!(first.frame().await, Ok(Some(()))) {}
    lone.gate.store(true, Ordering::Release);
    let refused = tokio::time::timeout(SOON, again).await.unwrap().unwrap().err().expect("no room for it");
    assert!(status::is(&refused, Reason::Overloaded), "{refused:?}");
    join_all(sends).await;
    // It holds what it was given before, and is given nothing more: all that comes now is for the other one.
    let mut wanted = attach("orders", 2, 1, 2_000);
    wanted.window = Some(v1::Window { messages: 2_000, bytes: 64 * 1024 * 1024 });
    let mut other = Consumer::attach(lone.channel(), wanted).await.expect("attached");
    for number in 0..8 {
        let mut request = send_request("orders", &["new"]);
        request.request_id = vec![number + 1; 16].into();
        lone.messages().send(request).await.expect("there is room again");
    }
    while texts(&other.deliveries).iter().filter(|text| *text == "new").count() < 8 {
        other.frame().await.expect("the stream goes on").expect("the stream goes on");
    }
    lone.node.shutdown().await;
}
