//! Histories that the rule must accept, and those that it must reject.

use crate::history::{Action, End, Living, Settled, Stored, What};
use crate::invariant::story::Story;

const NAME: &str = "lives-apart";

fn told(events: &[Living]) -> Story {
    let mut story = Story::new();
    for event in events {
        story.add(What::Life { name: 9, event: event.clone() });
    }
    story
}

fn sent(message: u64, sequence: u64) -> Living {
    stored(message, None, Stored { sequence, duplicate: false, repeated: false })
}

fn stored(message: u64, dedup: Option<u64>, stored: Stored) -> Living {
    Living::Sent { producer: 5, message, dedup, end: End::Known(stored) }
}

fn unknown(message: u64) -> Living {
    Living::Sent { producer: 5, message, dedup: Some(1), end: End::Unknown("no answer".to_owned()) }
}

fn delivered(token: u64, message: u64, sequence: u64) -> Living {
    Living::Delivered { token, sequence, message }
}

fn settled(token: u64, end: Settled) -> Living {
    Living::Settled { token, action: Action::Ack, end: End::Known(end) }
}

/// Two lives: one message in the first, and what follows in the second.
fn second(events: &[Living]) -> Story {
    let mut all = vec![Living::Created { uid: 1 }, sent(1, 1), delivered(1, 1, 1)];
    all.extend([Living::Deleted, Living::Created { uid: 2 }]);
    all.extend_from_slice(events);
    told(&all)
}

#[test]
fn a_message_of_an_earlier_life_is_not_delivered_in_a_later_one() {
    second(&[sent(2, 1), delivered(2, 2, 1)]).check(NAME, true);
    second(&[sent(2, 1), delivered(2, 1, 1)]).check(NAME, false);
    // One whose outcome is unknown may come late.
    let late = [Living::Created { uid: 1 }, unknown(3), Living::Deleted, Living::Created { uid: 2 }];
    told(&[&late[..], &[delivered(1, 3, 1)]].concat()).check(NAME, true);
}

#[test]
fn a_token_of_an_earlier_life_settles_nothing() {
    let begun = [sent(2, 1), delivered(2, 2, 1)];
    second(&[&begun[..], &[settled(1, Settled::Over), settled(2, Settled::Done)]].concat()).check(NAME, true);
    second(&[&begun[..], &[settled(1, Settled::Done)]].concat()).check(NAME, false);
    second(&[settled(1, Settled::Done)]).check(NAME, false);
}

#[test]
fn a_token_of_an_earlier_life_is_not_given_again() {
    second(&[sent(2, 1), delivered(1, 2, 1)]).check(NAME, false);
}

#[test]
fn a_uid_is_not_given_again() {
    second(&[Living::Created { uid: 2 }]).check(NAME, true);
    second(&[Living::Deleted, Living::Created { uid: 2 }]).check(NAME, false);
}

#[test]
fn an_earlier_life_answers_for_no_send() {
    let answer = |duplicate, repeated| Stored { sequence: 1, duplicate, repeated };
    second(&[stored(2, Some(1), answer(false, false)), stored(3, Some(1), answer(true, false))])
        .check(NAME, true);
    second(&[stored(2, Some(1), answer(true, false))]).check(NAME, false);
    second(&[stored(2, None, answer(false, true))]).check(NAME, false);
    // The one that nobody knows about may be in this life.
    let late = [Living::Created { uid: 1 }, unknown(3), Living::Deleted, Living::Created { uid: 2 }];
    told(&[&late[..], &[stored(4, Some(1), answer(true, true))]].concat()).check(NAME, true);
}

#[test]
fn what_a_life_confirmed_is_in_it() {
    second(&[sent(2, 1), delivered(2, 2, 1), settled(2, Settled::Done)]).drained().check(NAME, true);
    second(&[sent(2, 1), delivered(2, 2, 1), settled(2, Settled::Over)]).drained().check(NAME, false);
    second(&[sent(2, 1)]).drained().check(NAME, false);
    second(&[sent(2, 1), Living::Deleted]).drained().check(NAME, true);
    // A deletion that comes late takes it along.
    second(&[Living::Unclear, sent(2, 1)]).drained().check(NAME, true);
}

#[test]
fn a_place_has_one_message_and_a_message_its_place() {
    second(&[sent(2, 1), sent(3, 2), delivered(2, 3, 2)]).check(NAME, true);
    second(&[sent(2, 1), sent(3, 1)]).check(NAME, false);
    second(&[sent(2, 1), sent(3, 2), delivered(2, 3, 1)]).check(NAME, false);
    second(&[sent(2, 1), delivered(2, 2, 2)]).check(NAME, false);
    second(&[delivered(2, 7, 1)]).check(NAME, false);
}
