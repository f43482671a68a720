//! Histories that the rule must accept, and those that it must reject.

use crate::history::{End, Fan, Look, Published, What};
use crate::invariant::story::Story;

const NAME: &str = "fan-out-complete";
/// Subscriptions 4 and 5 take it.
const LOOK: Look = Look { is_a: true, n: 1 };

fn made(subscription: u64) -> Vec<Fan> {
    vec![Fan::Asked { subscription }, Fan::Made { subscription }]
}

fn published(message: u64, sequence: u64, matched: u64) -> Fan {
    Fan::Published { message, look: LOOK, end: End::Known(Published { sequence, matched }) }
}

fn unknown(message: u64) -> Fan {
    Fan::Published { message, look: LOOK, end: End::Unknown("no answer".to_owned()) }
}

fn delivered(subscription: u64, message: u64, sequence: u64) -> Fan {
    Fan::Delivered { subscription, message, sequence }
}

/// Subscriptions 4, 5 and 6 are there; then this happens, and all is consumed.
fn after(events: &[Fan]) -> Story {
    let mut story = Story::new();
    for event in [made(4), made(5), made(6)].concat().iter().chain(events) {
        story.add(What::Fan(event.clone()));
    }
    story.add(What::Drained);
    story
}

#[test]
fn a_publish_reaches_all_that_match() {
    after(&[published(1, 1, 2), delivered(4, 1, 1), delivered(5, 1, 1)]).check(NAME, true);
    after(&[published(1, 1, 2), delivered(4, 1, 1)]).check(NAME, false);
    after(&[published(1, 1, 2)]).check(NAME, false);
}

#[test]
fn and_no_other_one() {
    let reached = [published(1, 1, 2), delivered(4, 1, 1), delivered(5, 1, 1)];
    after(&[&reached[..], &[delivered(6, 1, 1)]].concat()).check(NAME, false);
    after(&[delivered(4, 1, 1)]).check(NAME, false);
}

#[test]
fn it_says_how_many_match() {
    after(&[published(1, 1, 3), delivered(4, 1, 1), delivered(5, 1, 1)]).check(NAME, false);
}

#[test]
fn an_unknown_one_reaches_all_or_none() {
    after(&[unknown(1)]).check(NAME, true);
    after(&[unknown(1), delivered(4, 1, 1), delivered(5, 1, 1)]).check(NAME, true);
    after(&[unknown(1), delivered(4, 1, 1)]).check(NAME, false);
}

#[test]
fn a_message_has_one_place() {
    let reached = [published(1, 1, 2), delivered(4, 1, 1), delivered(5, 1, 1)];
    after(&[&reached[..], &[delivered(4, 1, 1)]].concat()).check(NAME, true);
    after(&[&reached[..], &[delivered(4, 1, 2)]].concat()).check(NAME, false);
    let second = [published(2, 1, 2), delivered(4, 2, 1), delivered(5, 2, 1)];
    after(&[&reached[..], &second[..]].concat()).check(NAME, false);
}

#[test]
fn a_subscription_gets_nothing_from_before() {
    let reached = [published(1, 1, 2), delivered(4, 1, 1), delivered(5, 1, 1)];
    after(&[&reached[..], &made(8)].concat()).check(NAME, true);
    after(&[&reached[..], &made(8), &[delivered(8, 1, 1)]].concat()).check(NAME, false);
}

#[test]
fn one_that_goes_is_owed_nothing() {
    let gone = [published(1, 1, 2), delivered(4, 1, 1), Fan::Doomed { subscription: 5 }];
    after(&gone).check(NAME, true);
}

#[test]
fn one_that_goes_back_is_owed_everything() {
    let reached = [published(1, 1, 2), delivered(4, 1, 1), delivered(5, 1, 1)];
    let late = [Fan::Asked { subscription: 8 }, Fan::Rewinding { subscription: 8 }];
    let there = [Fan::Made { subscription: 8 }, Fan::Rewound { subscription: 8 }];
    let back = [&reached[..], &late, &there].concat();
    after(&[&back[..], &[delivered(8, 1, 1)]].concat()).check(NAME, true);
    after(&back).check(NAME, false);
    after(&[&back[..], &[delivered(8, 1, 2)]].concat()).check(NAME, false);
}

fn carried(message: u64, sequence: u64) -> Fan {
    Fan::Carried { binding: 100, message, sequence }
}

/// Binding 100 is there too; messages 1 and 2 were published, and reached the subscriptions.
fn bound(events: &[Fan]) -> Story {
    let published = [published(1, 11, 3), published(2, 12, 3)];
    let delivered = [delivered(4, 1, 11), delivered(5, 1, 11), delivered(4, 2, 12), delivered(5, 2, 12)];
    after(&[&made(100)[..], &published[..], &delivered[..], events].concat())
}

#[test]
fn a_binding_carries_each_message_once_and_in_order() {
    bound(&[carried(1, 1), carried(2, 2)]).check(NAME, true);
    bound(&[carried(2, 2), carried(1, 1), carried(2, 2)]).check(NAME, true);
    bound(&[carried(1, 1)]).check(NAME, false);
    bound(&[carried(1, 1), carried(2, 2), carried(1, 3)]).check(NAME, false);
    bound(&[carried(2, 1), carried(1, 2)]).check(NAME, false);
    bound(&[carried(1, 1), carried(2, 2), carried(3, 3)]).check(NAME, false);
    bound(&[carried(1, 1), carried(2, 1)]).check(NAME, false);
}
