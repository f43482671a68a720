//! What calls may rely on in this network, and what they may not.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use phalanx_client::Channel;
use phalanx_proto::channel::CallError;
use phalanx_server::seams::CallService;
use phalanx_server::serve::Ending;
use tokio::sync::{Semaphore, mpsc};
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::ServiceExt as _;

use super::frames::{Arriving, deadline};
use super::*;

const STEP: Duration = Duration::from_millis(3);
const PORT: &str = "0.0.0.0:7420";
const REPEATABLE: &str = "/phalanx.v1.Messages/Send";
const NOT_REPEATABLE: &str = "/phalanx.v1.Queues/CreateQueue";

/// A caller, and a host that counts the calls that reach it and sends their bodies back.
struct Rig {
    network: Messages,
    caller: HostId,
    server: HostId,
    channel: Channel,
    now: Duration,
    reached: Arc<AtomicU64>,
}

impl Rig {
    async fn new(seed: u64) -> Self {
        let mut network = Messages::new(seed);
        let (caller, server) = (network.host("caller"), network.host("server"));
        let bound = network.door("server").listen(PORT).await.unwrap();
        let reached = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&reached);
        let echo = tower::service_fn(move |request: http::Request<Body>| {
            counter.fetch_add(1, Relaxed);
            async move {
                if request.uri().path().ends_with("Never") {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(http::Response::new(request.into_body()))
            }
        });
        tokio::spawn(bound.calls.unwrap().serve(CallService::new(echo), Ending::default()));
        let endpoint = Endpoint::from_static("http://server:7420");
        let channel = Caller::channel(&network.wires, caller, &endpoint);
        Self { network, caller, server, channel, now: Duration::ZERO, reached }
    }

    async fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += STEP;
            self.network.step(self.now);
            tokio::time::sleep(STEP).await;
        }
    }

    /// Calls, and lets so much time pass; the frames of the answer, unless there is none yet.
    async fn call(&mut self, path: &str, within: Duration) -> Option<Result<Vec<Bytes>, CallError>> {
        self.call_with(http::Request::builder().uri(path), within).await
    }

    async fn call_with(
        &mut self,
        request: http::request::Builder,
        within: Duration,
    ) -> Option<Result<Vec<Bytes>, CallError>> {
        let request = request.body(body()).unwrap();
        let channel = self.channel.clone();
        let called = tokio::spawn(async move {
            let mut body = channel.oneshot(request).await?.into_body();
            let mut frames = Vec::new();
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                frames.extend(frame?.into_data());
            }
            Ok(frames)
        });
        self.pass(within).await;
        if called.is_finished() { Some(called.await.unwrap()) } else { None }
    }
}

/// A body of several frames.
fn body() -> Body {
    let (sender, frames) = mpsc::unbounded_channel();
    for number in 0..100_u64 {
        sender.send(Ok(Frame::data(Bytes::copy_from_slice(&number.to_be_bytes())))).unwrap();
    }
    Arriving::body(frames, Arc::new(Semaphore::new(0)), None)
}

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

fn is_without_effect(error: &CallError) -> bool {
    error.is::<tonic::ConnectError>()
}

#[test]
fn a_call_is_answered_with_all_frames_in_their_order() {
    run(async {
        let mut rig = Rig::new(1).await;
        let frames = rig.call(NOT_REPEATABLE, Duration::from_secs(1)).await.unwrap().unwrap();
        let numbers: Vec<u64> =
            frames.iter().map(|frame| u64::from_be_bytes(frame[..].try_into().unwrap())).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_call_to_nobody_is_known_to_have_had_no_effect() {
    run(async {
        let mut rig = Rig::new(1).await;
        rig.network.ends("server");
        let error = rig.call(NOT_REPEATABLE, Duration::from_secs(2)).await.unwrap().unwrap_err();
        assert!(is_without_effect(&error), "{error}");
    });
}

#[test]
fn a_call_on_a_connection_that_breaks_fails_and_nobody_knows_what_came_of_it() {
    run(async {
        let mut rig = Rig::new(1).await;
        assert!(rig.call("/Never", Duration::from_millis(100)).await.is_none());
        let channel = rig.channel.clone();
        let request = http::Request::builder().uri("/Never").body(body()).unwrap();
        let called = tokio::spawn(channel.oneshot(request));
        rig.pass(Duration::from_millis(100)).await;
        assert_eq!(rig.reached.load(Relaxed), 2);
        rig.network.reset("server");
        rig.pass(Duration::from_millis(100)).await;
        let error = called.await.unwrap().unwrap_err();
        assert!(!is_without_effect(&error), "{error}");
        // And the next call makes a new one.
        rig.call(NOT_REPEATABLE, Duration::from_secs(1)).await.unwrap().unwrap();
    });
}

#[test]
fn a_caller_gives_up_on_a_cut_connection_and_some_requests_arrive_all_the_same() {
    let mut late = 0;
    for seed in 0..40 {
        late += run(async {
            let mut rig = Rig::new(seed).await;
            rig.call(NOT_REPEATABLE, Duration::from_secs(1)).await.unwrap().unwrap();
            rig.network.wires.cut(rig.caller, rig.server);
            let error = rig.call(NOT_REPEATABLE, Duration::from_secs(3)).await.unwrap().unwrap_err();
            assert!(!is_without_effect(&error), "{error}");
            assert_eq!(rig.reached.load(Relaxed), 1, "seed {seed}: heard through a cut");
            rig.network.wires.mend(rig.caller, rig.server);
            rig.pass(Duration::from_secs(1)).await;
            rig.reached.load(Relaxed) - 1
        });
    }
    assert!((1..40).contains(&late), "{late} of 40");
}

#[test]
fn a_call_ends_at_the_deadline_that_it_carries() {
    run(async {
        let mut rig = Rig::new(1).await;
        let request = http::Request::builder().uri("/Never").header("grpc-timeout", "200m");
        let error = rig.call_with(request, Duration::from_millis(600)).await.unwrap().unwrap_err();
        assert!(error.is::<tonic::TimeoutExpired>(), "{error}");
    });
    let parse = |text: &str| {
        deadline(
            &[(http::HeaderName::from_static("grpc-timeout"), text.parse().unwrap())].into_iter().collect(),
        )
    };
    assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
    assert_eq!(parse("70u"), Some(Duration::from_micros(70)));
    assert_eq!((parse("S"), parse("5x"), parse("")), (None, None, None));
}

#[test]
fn only_requests_that_may_be_repeated_arrive_twice() {
    let reached = |path: &'static str| {
        run(async move {
            let mut rig = Rig::new(1).await;
            for _ in 0..200 {
                rig.call(path, Duration::from_millis(60)).await.unwrap().unwrap();
            }
            rig.pass(Duration::from_secs(1)).await;
            rig.reached.load(Relaxed)
        })
    };
    assert_eq!(reached(NOT_REPEATABLE), 200);
    assert!((201..240).contains(&reached(REPEATABLE)));
}
