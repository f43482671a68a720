//! Request and reply over real gRPC: every request is answered, whoever dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use phalanx_client::{Client, Delivery, Error, Message, Nack, QueueSettings};
use tokio::sync::oneshot;

use crate::support::TestCluster;
use crate::talk::move_leader;
use crate::topics::client;

const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: usize = 200;

async fn double(request: Arc<Delivery>) -> Result<Message, Nack> {
    let number: u64 = std::str::from_utf8(request.body())?.parse()?;
    Ok(Message::new((2 * number).to_string()))
}

fn serve(client: &Client) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
    let (stop, stopped) = oneshot::channel();
    let client = client.clone();
    (stop, tokio::spawn(async move { client.serve("double", 8, stopped, double).await }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_although_responders_die_and_leaders_move() {
    let mut cluster = TestCluster::started(3).await;
    let requesting = client(&cluster).await;
    let settings = QueueSettings { resume: Some(Duration::from_millis(200)), ..QueueSettings::default() };
    requesting.admin().create_queue("double", settings).await.unwrap();
    // One takes requests and is gone with them in hand.
    let taken = Arc::new(AtomicUsize::new(0));
    let dying = tokio::spawn({
        let (client, taken) = (client(&cluster).await, Arc::clone(&taken));
        async move {
            let never = |_: Arc<Delivery>| {
                taken.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<Result<Message, Nack>>()
            };
            client.serve("double", 16, std::future::pending::<()>(), never).await
        }
    });
    let asking = futures::future::join_all((0..REQUESTS).map(|number| {
        let client = requesting.clone();
        async move { client.request("double", number.to_string(), PATIENCE).await.unwrap() }
    }));
    let (stop, serving) = serve(&client(&cluster).await);
    let (stop_other, serving_other) = serve(&client(&cluster).await);
    let trouble = async {
        while taken.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        dying.abort();
        move_leader(&cluster, "double").await;
    };
    let (replies, ()) = tokio::join!(asking, trouble);
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply.body, (2 * number).to_string().as_bytes(), "its own reply");
    }
    let ids: BTreeSet<&str> = replies.iter().map(|reply| reply.correlation_id.as_str()).collect();
    assert_eq!(ids.len(), REQUESTS);
    for (stop, serving) in [(stop, serving), (stop_other, serving_other)] {
        drop(stop);
        serving.await.unwrap().unwrap();
    }
    let info = requesting.admin().queue_info("double").await.unwrap();
    assert_eq!((info.ready, info.leased), (0, 0), "every request is settled");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requester_has_a_queue_of_its_own_while_it_is_there() {
    let mut cluster = TestCluster::started(3).await;
    let client = client(&cluster).await;
    let admin = client.admin();
    admin.create_queue("double", QueueSettings::default()).await.unwrap();
    let requester = client.requester().await.unwrap();
    let own: Vec<String> = admin.list_queues().await.unwrap().into_iter().map(|queue| queue.name).collect();
    let reply_to = own.iter().find(|name| name.starts_with("~reply.")).expect("it is listed");
    let other = client.receiver(reply_to).receive(1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(other, Error::Exclusive { .. }), "{other}");

    let nobody = requester.request("double", "1", Duration::from_millis(300)).await.unwrap_err();
    assert!(nobody.is_outcome_unknown() && nobody.to_string().contains("nobody replied"), "{nobody}");
    let missing = requester.request("nothing", "1", PATIENCE).await.unwrap_err();
    assert!(matches!(missing, Error::QueueNotFound { .. }), "{missing}");
    // Whoever gave up is answered still, which does no harm; and so is who is gone.
    let (stop, serving) = serve(&client);
    assert_eq!(requester.request("double", "21", PATIENCE).await.unwrap().body, "42");
    requester.close().await;
    let left = admin.list_queues().await.unwrap();
    assert!(left.iter().all(|queue| !queue.name.starts_with("~reply.")), "its queue went with it");
    let orphan = Message::new("3").reply_to(reply_to.clone()).correlation_id("c");
    client.send("double", [orphan, Message::new("4")]).await.unwrap();
    assert_eq!(client.request("double", "5", PATIENCE).await.unwrap().body, "10");
    drop(stop);
    serving.await.unwrap().unwrap();
    assert_eq!(admin.queue_info("double").await.unwrap().ready, 0);
    cluster.stop_all().await;
}
