//! The end that is called: a listener, which hands what arrives to the service of its node.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use phalanx_server::seams::{CallService, Calls};
use phalanx_server::serve::Ending;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Status, TimeoutExpired};
use tower::ServiceExt as _;

use super::connection::{CallId, ConnectionId, Frames, LISTENER, Packet};
use super::frames::{Arriving, Hold, Place, deadline, pump};
use super::wires::{HostId, Wires};

/// A call that has arrived.
pub(super) struct Arrival {
    pub request: http::request::Parts,
    pub frames: Frames,
    /// Of what the caller sends.
    pub credit: Arc<Semaphore>,
    /// Where the answer goes; a request that arrives for a second time is answered to nobody.
    pub answer: Option<Answer>,
}

/// The way back.
pub(super) struct Answer {
    pub connection: ConnectionId,
    pub call: CallId,
    /// Of what this end sends.
    pub credit: Arc<Semaphore>,
    pub over: CancellationToken,
}

/// See the module. Calls are as many as the clients of a run make.
pub(super) struct Listener {
    wires: Arc<Wires>,
    host: HostId,
    port: u16,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl Listener {
    pub(super) fn new(wires: Arc<Wires>, host: HostId, port: u16) -> io::Result<Self> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        if !wires.listen(host, port, sender) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Self { wires, host, port, arrivals })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.wires.close(self.host, self.port);
    }
}

impl Calls for Listener {
    fn serve(mut self: Box<Self>, service: CallService, ending: Ending) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut running = JoinSet::new();
            let mut closing = false;
            loop {
                tokio::select! {
                    biased;
                    () = ending.cut.cancelled() => return,
                    () = ending.close.cancelled(), if !closing => closing = true,
                    arrival = self.arrivals.recv(), if !closing => match arrival {
                        Some(arrival) => {
                            running.spawn(serve(Arc::clone(&self.wires), service.clone(), arrival));
                        }
                        None => closing = true,
                    },
                    Some(_) = running.join_next() => {}
                    else => return,
                }
            }
        })
    }
}

async fn serve(wires: Arc<Wires>, service: CallService, arrival: Arrival) {
    let Arrival { request, frames, credit, answer } = arrival;
    let limit = deadline(&request.headers);
    let request = http::Request::from_parts(request, Arriving::body(frames, credit, None));
    let called = async {
        let called = service.oneshot(request);
        match limit {
            None => called.await,
            Some(limit) => match tokio::time::timeout(limit, called).await {
                Ok(response) => response,
                Err(_) => Ok(Status::from_error(TimeoutExpired(()).into()).into_http()),
            },
        }
    };
    let Some(Answer { connection, call, credit, over }) = answer else {
        let Ok(_) = called.await;
        return;
    };
    let place = Place { wires, connection, end: LISTENER, call };
    let _hold = Hold(place.clone());
    let response = tokio::select! {
        biased;
        () = over.cancelled() => return,
        response = called => response,
    };
    let Ok(response) = response;
    let (response, body) = response.into_parts();
    place.send(Packet::Head { call, response });
    pump(place, body, credit, over).await;
}
