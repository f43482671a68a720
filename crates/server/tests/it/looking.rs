//! `Queues.Peek` and `Queues.ListGroups` through any node.

use phalanx_proto::v1;
use phalanx_proto::v1::messages_client::MessagesClient;
use phalanx_server::status::Reason;

use crate::support::TestCluster;
use crate::talk::{assert_reason, create, id, message, receive_request, tokens};
use std::time::Duration;

async fn send(cluster: &TestCluster, group: &str, text: &str) {
    let grouped = v1::Message { group: group.to_owned().into(), ..message(text) };
    let request =
        v1::SendRequest { queue: "orders".into(), messages: vec![grouped], ..v1::SendRequest::default() };
    MessagesClient::new(cluster.channel(1)).send(request).await.expect("it is sent");
}

async fn peek(cluster: &TestCluster, through: u64, asked: v1::PeekRequest) -> v1::PeekResponse {
    let request = v1::PeekRequest { name: "orders".into(), ..asked };
    cluster.queues(through).peek(request).await.expect("it is looked at").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peek_shows_every_message_through_any_node_and_takes_none() {
    let mut cluster = TestCluster::started(3).await;
    create(&cluster, 1, "orders", v1::QueueSettings::default()).await;
    for (group, text) in [("a", "a1"), ("b", "b1"), ("a", "a2")] {
        send(&cluster, group, text).await;
    }
    let request = receive_request("orders", 7, 1, Duration::ZERO);
    let held =
        MessagesClient::new(cluster.channel(2)).receive(request).await.unwrap().into_inner().deliveries;
    for through in 1..=3 {
        let page = peek(&cluster, through, v1::PeekRequest::default()).await;
        let told: Vec<_> = page
            .messages
            .iter()
            .map(|one| {
                (one.sequence, one.state(), one.attempts, one.token, one.message.clone().unwrap().body)
            })
            .collect();
        let (leased, ready) = (v1::PeekedState::Leased, v1::PeekedState::Ready);
        let token = tokens(&held)[0];
        let expected = [
            (1, leased, 1, token, "a1".into()),
            (2, ready, 0, 0, "b1".into()),
            (3, ready, 0, 0, "a2".into()),
        ];
        assert_eq!((told, page.next_sequence), (expected.to_vec(), 0));
        let first = &page.messages[0];
        assert_eq!(first.holder.as_ref().unwrap().consumer_id, id(7));
        assert!(first.left_ms > 0 && first.until_ms == held[0].deadline_ms);

        let one = v1::PeekRequest { max_messages: 1, from_sequence: 2, ..v1::PeekRequest::default() };
        let page = peek(&cluster, through, one).await;
        assert_eq!((page.messages.len(), page.next_sequence), (1, 3));
        let of_group = v1::PeekRequest { group: "a".into(), from_sequence: 2, ..v1::PeekRequest::default() };
        let page = peek(&cluster, through, of_group).await;
        assert_eq!(page.messages.iter().map(|one| one.sequence).collect::<Vec<_>>(), [3]);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_with_backlog_and_holder() {
    let mut cluster = TestCluster::started(3).await;
    create(&cluster, 1, "orders", v1::QueueSettings::default()).await;
    for group in ["a", "b", "c", "a"] {
        send(&cluster, group, "x").await;
    }
    MessagesClient::new(cluster.channel(2))
        .receive(receive_request("orders", 7, 1, Duration::ZERO))
        .await
        .unwrap();
    for through in 1..=3 {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListGroupsRequest {
                name: "orders".into(),
                page_size: 2,
                page_token,
                ..v1::ListGroupsRequest::default()
            };
            let page = cluster.queues(through).list_groups(request).await.unwrap().into_inner();
            found.extend(page.groups);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        found.sort_by(|one, other| one.key.cmp(&other.key));
        let told: Vec<_> = found
            .iter()
            .map(|group| {
                (
                    &group.key[..],
                    group.messages,
                    group.leased,
                    group.holder.clone().map(|who| who.consumer_id),
                )
            })
            .collect();
        let expected: [(&[u8], u64, u64, Option<bytes::Bytes>); 3] =
            [(b"a", 2, 1, Some(id(7))), (b"b", 1, 0, None), (b"c", 1, 0, None)];
        assert_eq!(told, expected);
    }
    let wrong = v1::ListGroupsRequest {
        name: "orders".into(),
        page_token: "not a token".into(),
        ..v1::ListGroupsRequest::default()
    };
    assert_reason(cluster.queues(1).list_groups(wrong).await, Reason::Invalid);
    let absent = v1::PeekRequest { name: "nothing".into(), ..v1::PeekRequest::default() };
    assert_reason(cluster.queues(3).peek(absent).await, Reason::QueueNotFound);
    cluster.stop_all().await;
}
