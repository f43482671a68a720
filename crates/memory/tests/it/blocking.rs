//! The client for programs without async, from plain threads.

use std::sync::mpsc;
use std::time::Duration;

use phalanx_client::blocking::Client;
use phalanx_client::{ClientBuilder, Error, Peek, QueueSettings};
use phalanx_memory::MemoryBroker;

/// A broker on a thread of its own, until what is returned is dropped.
fn broker() -> (ClientBuilder, mpsc::Sender<()>) {
    let (told, builder) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let broker = runtime.block_on(MemoryBroker::start()).expect("nothing is in its way");
        told.send(broker.client_builder()).expect("the test waits for it");
        // Its sender is dropped when the test is over.
        let _ = stopped.recv();
    });
    (builder.recv().expect("it starts"), stop)
}

#[test]
fn every_handle_works_from_a_plain_thread() {
    let (builder, _broker) = broker();
    let client = Client::connect_with(builder).unwrap();
    client.admin().create_queue("q", QueueSettings::default()).unwrap();
    assert_eq!(client.send("q", ["one"]).unwrap()[0].sequence, 1);
    let producer = client.open_producer(client.asynchronous().producer("q").window(8)).unwrap();
    assert_eq!(producer.send("two").unwrap().sequence, 2);
    assert_eq!(producer.enqueue("three").unwrap().wait().unwrap().sequence, 3);
    assert_eq!(producer.send_batch(["four", "five"]).unwrap().len(), 2);
    producer.close().unwrap();
    assert_eq!(client.admin().peek("q", Peek::default()).unwrap().messages.len(), 5);

    let mut consumer = client.open_consumer(client.asynchronous().consumer("q").window(2)).unwrap();
    let first = consumer.next().unwrap().unwrap();
    assert_eq!((first.sequence(), &first.body()[..]), (1, &b"one"[..]));
    first.extend(Some(Duration::from_secs(60))).unwrap();
    first.ack().unwrap();
    let second = consumer.next_within(Duration::from_secs(60)).unwrap().unwrap();
    second.nack(Duration::ZERO).unwrap();
    let again = consumer.by_ref().map(Result::unwrap).find(|delivery| delivery.attempt() == 2).unwrap();
    assert_eq!(again.sequence(), 2);
    again.reject().unwrap();
    consumer.close().unwrap();
    let rest = client.receiver("q").lease(Duration::from_secs(5)).receive(9, Duration::ZERO).unwrap();
    assert_eq!(rest.iter().map(|delivery| delivery.sequence()).collect::<Vec<_>>(), [3, 4, 5]);
    rest.into_iter().for_each(|delivery| delivery.ack().unwrap());
    let mut empty = client.consumer("q").unwrap();
    assert!(empty.next_within(Duration::from_millis(20)).is_none());
    assert_eq!(client.admin().queue_info("q").unwrap().ready, 0);
    assert!(matches!(client.producer("nothing"), Err(Error::QueueNotFound { .. })));
}

#[tokio::test]
async fn inside_async_code_it_works_too_and_is_dropped_without_a_panic() {
    let (builder, _broker) = broker();
    let client = Client::connect_with(builder).unwrap();
    client.admin().create_queue("q", QueueSettings::default()).unwrap();
    client.send("q", ["one"]).unwrap();
    drop(client);
}
