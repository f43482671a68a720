//! Looking at messages and groups: everything is seen, and nothing is changed.

use super::scenario::{Scenario, UID, grouped, id};
use crate::command::Send;
use crate::limits;
use crate::machine::{GroupInfo, Holder, LookAt, MessagePage, Standing};
use crate::reply::{Payload, ReturnReason};

const ALL: LookAt<'static> = LookAt { from: 0, group: None, count_max: 100, bytes_max: u64::MAX };

fn look(queue: &Scenario, at: LookAt<'_>) -> MessagePage {
    queue.machine.look(UID, &at).unwrap()
}

fn bodies(page: &MessagePage) -> Vec<String> {
    let body = |payload: &Payload| match payload {
        Payload::Resident(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Spilled(bytes) => format!("({bytes} bytes)"),
    };
    page.messages.iter().map(|seen| body(&seen.payload)).collect()
}

#[test]
fn every_message_is_seen_where_it_is_and_nothing_changes() {
    let mut queue = Scenario::new();
    queue.at(5).send(&["a:a1", "a:a2", "loose", "late"]);
    let tokens = queue.at(10).receive("ann", 4).expect(&["a1", "a2", "loose", "late"]);
    queue.at(11).nack("ann", &tokens[3..], 50);
    queue.at(12).nack("ann", &tokens[2..3], 0);
    let before = queue.machine.digest();
    let page = look(&queue, ALL);
    assert_eq!((bodies(&page), page.next), (["a1", "a2", "loose", "late"].map(String::from).to_vec(), None));
    let holder = Some(Holder { consumer: id("ann"), name: String::new() });
    let leased = |token| Standing::Leased { token, holder: holder.clone(), deadline_ms: 30_010 };
    let standings: Vec<Standing> = page.messages.iter().map(|seen| seen.standing.clone()).collect();
    let until_ms = 61;
    let expected = [leased(tokens[0]), leased(tokens[1]), Standing::Ready, Standing::Delayed { until_ms }];
    assert_eq!(standings, expected);
    let told: Vec<_> = page.messages.iter().map(|seen| (seen.attempts, seen.returned)).collect();
    let nacked = (1, Some(ReturnReason::Nacked));
    assert_eq!(told, [(1, None), (1, None), nacked, nacked]);
    assert!(page.messages.iter().all(|seen| seen.enqueued_ms == 5));
    assert_eq!(queue.machine.digest(), before);
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let mut queue = Scenario::new();
    let texts: Vec<String> = (1..=200).map(|n| format!("{}:{n}", ["a", "b", ""][n % 3])).collect();
    queue.at(0).send(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let gone = queue.at(0).receive("ann", 70).0;
    queue.at(1).ack("ann", &gone.iter().map(|delivery| delivery.token).collect::<Vec<_>>());
    for group in [None, Some("a"), Some("nobody")] {
        let at = LookAt { group: group.map(str::as_bytes), ..ALL };
        let in_group = |n: &usize| group.is_none_or(|wanted| ["a", "b", ""][n % 3] == wanted);
        let expected: Vec<String> = (71..=200).filter(in_group).map(|n| n.to_string()).collect();
        for count_max in [1, 7, 64] {
            let mut found = Vec::new();
            let mut from = Some(0);
            while let Some(start) = from {
                let page = look(&queue, LookAt { from: start, count_max, ..at });
                assert!(page.messages.len() <= count_max);
                found.extend(bodies(&page));
                from = page.next;
            }
            let wanted = if group == Some("nobody") { Vec::new() } else { expected.clone() };
            assert_eq!(found, wanted, "{group:?}, {count_max} a page");
        }
    }
}

#[test]
fn a_page_of_bytes_holds_one_message_at_least() {
    let mut queue = Scenario::new();
    queue.at(0).send(&["1234", "5678", "9"]);
    let page = look(&queue, LookAt { bytes_max: 3, ..ALL });
    assert_eq!((bodies(&page), page.next), (vec!["1234".into()], Some(2)));
    let page = look(&queue, LookAt { bytes_max: 8, ..ALL });
    assert_eq!((page.messages.len(), page.next), (2, Some(3)));
}

#[test]
fn a_look_for_a_rare_group_in_a_strict_queue_ends_in_bounded_steps() {
    let mut queue = Scenario::strict();
    let many: Vec<_> = (0..1000).map(|_| grouped("crowd:x")).collect();
    let rounds = limits::LOOK_STEPS_MAX / many.len() + 2;
    for _ in 0..rounds {
        queue.at(0).send_as(Send { messages: many.clone(), ..Send::default() });
    }
    queue.at(0).send(&["rare:found"]);
    let at = LookAt { group: Some(b"rare"), ..ALL };
    let page = look(&queue, at);
    assert_eq!((page.messages.len(), page.next), (0, Some(limits::LOOK_STEPS_MAX as u64 + 1)));
    let page = look(&queue, LookAt { from: page.next.unwrap(), ..at });
    assert_eq!((bodies(&page), page.next), (vec!["found".into()], None));
}

#[test]
fn groups_show_backlog_age_and_holder() {
    let mut queue = Scenario::new();
    queue.at(5).send(&["a:a1", "b:b1", "loose"]);
    queue.at(9).send(&["a:a2", "b:b2"]);
    queue.at(10).receive("ann", 1).expect(&["a1"]);
    let mut groups = Vec::new();
    let mut after = None;
    loop {
        let page = queue.machine.group_page(UID, after, 1).unwrap();
        groups.extend(page.groups);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    groups.sort_by(|one, other| one.key.cmp(&other.key));
    let group = |key: &'static str, leased_count, holder| GroupInfo {
        key: key.into(),
        message_count: 2,
        leased_count,
        oldest_enqueued_ms: 5,
        holder,
    };
    let ann = Holder { consumer: id("ann"), name: String::new() };
    assert_eq!(groups, [group("a", 1, Some(ann)), group("b", 0, None)]);
}

#[test]
fn a_strict_queue_is_one_group_without_a_key() {
    let mut queue = Scenario::strict();
    assert_eq!(queue.machine.group_page(UID, None, 9).unwrap().groups, []);
    queue.at(5).send(&["a:a1", "b:b1", "loose"]);
    let groups = queue.machine.group_page(UID, None, 9).unwrap().groups;
    let whole =
        GroupInfo { key: "".into(), message_count: 3, leased_count: 0, oldest_enqueued_ms: 5, holder: None };
    assert_eq!(groups, [whole]);
}
