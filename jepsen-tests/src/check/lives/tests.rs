use super::super::story::{QUEUE, Story};
use crate::history::{F, Facts, Kind};
use proptest::prelude::*;

const NAME: &str = "lives-apart";

/// A queue that is deleted and made again, as it should be, and what was in its earlier lives.
#[derive(Clone)]
struct Lives {
    story: Story,
    uid: u64,
    sequence: u64,
    token: u64,
    value: u64,
    /// Of this life: message, place.
    waiting: Vec<(u64, u64)>,
    /// In hand: message, token.
    held: Vec<(u64, u64)>,
    /// Deduplication ids of this life.
    ids: Vec<u64>,
    /// Of earlier lives: message and place, message and token, deduplication ids.
    old: Vec<(u64, u64)>,
    old_tokens: Vec<(u64, u64)>,
    old_ids: Vec<u64>,
}

impl Lives {
    fn new() -> Self {
        let mut lives = Self {
            story: Story::of_class("lives"),
            uid: 0,
            sequence: 0,
            token: 0,
            value: 0,
            waiting: Vec::new(),
            held: Vec::new(),
            ids: Vec::new(),
            old: Vec::new(),
            old_tokens: Vec::new(),
            old_ids: Vec::new(),
        };
        lives.create();
        lives
    }

    fn did(&mut self, f: F, facts: Facts) {
        let begun = self.story.begin(f, None, Facts::default());
        self.story.end(begun, Kind::Ok, None, facts);
    }

    fn create(&mut self) {
        self.uid += 1;
        self.sequence = 0;
        self.did(F::Create, Facts { uid: Some(self.uid), ..Facts::default() });
    }

    fn again(&mut self) {
        self.did(F::Delete, Facts::default());
        self.old.append(&mut self.waiting);
        self.old_tokens.append(&mut self.held);
        self.old_ids.append(&mut self.ids);
        self.create();
    }

    fn send(&mut self, dedup: Option<u64>) {
        self.value += 1;
        let duplicate = dedup.filter(|id| self.ids.contains(id)).map(|_| 1);
        if duplicate.is_none() {
            self.sequence += 1;
            self.waiting.push((self.value, self.sequence));
            self.ids.extend(dedup);
        }
        let sequence = Some(self.sequence);
        self.story.sent_as(self.value, Facts { sequence, dedup, duplicate, ..Facts::default() });
    }

    fn receive(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (value, sequence) = self.waiting.remove(0);
        self.token += 1;
        self.story.given(value, sequence, self.token, 1);
        self.held.push((value, self.token));
    }

    fn settle(&mut self) {
        if let Some((value, token)) = self.held.pop() {
            self.story.acked(value, token);
        } else if let Some((value, token)) = self.old_tokens.pop() {
            // Too late, and so it does nothing.
            self.story.settled(F::Ack, value, token, Kind::Fail);
        }
    }

    fn act(&mut self, step: u8) {
        match step % 8 {
            0 => self.again(),
            1 | 2 => self.send(None),
            3 => self.send(Some(u64::from(step) % 3)),
            4 | 5 => self.receive(),
            _ => self.settle(),
        }
    }

    /// Everything is taken out.
    fn drain(&mut self) {
        while !self.waiting.is_empty() {
            self.receive();
        }
        while !self.held.is_empty() {
            self.settle();
        }
        self.story.drained(QUEUE);
    }
}

/// Something of an earlier life, in a later one.
fn plant(lives: &mut Lives, error: u8) {
    let token = lives.token + 1;
    match error {
        0 => {
            lives.story.given(lives.old[0].0, lives.old[0].1, token, 1);
        }
        1 => {
            lives.story.acked(lives.old_tokens[0].0, lives.old_tokens[0].1);
        }
        2 => {
            let (dedup, duplicate) = (Some(lives.old_ids[0]), Some(1));
            lives
                .story
                .sent_as(lives.value + 1, Facts { sequence: Some(1), dedup, duplicate, ..Facts::default() });
        }
        3 => {
            lives.did(F::Delete, Facts::default());
            lives.did(F::Create, Facts { uid: Some(lives.uid), ..Facts::default() });
        }
        _ => {
            lives.story.sent(lives.value + 1, lives.sequence + 1);
            lives.story.drained(QUEUE);
        }
    }
}

/// A life that leaves something behind, and a new one.
fn leave_some_behind(lives: &mut Lives) {
    lives.again();
    lives.ids.retain(|id| *id != 7);
    lives.send(Some(7));
    lives.receive();
    lives.send(None);
    // At the front, where the planted errors take them.
    let (left, held) = (lives.waiting.remove(0), lives.held.remove(lives.held.len() - 1));
    lives.again();
    lives.old.insert(0, left);
    lives.old_tokens.insert(0, held);
    lives.old_ids.insert(0, 7);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn lives_that_are_apart_are_accepted_and_a_planted_confusion_is_found(
        steps in proptest::collection::vec(any::<u8>(), 0..60),
        error in 0_u8..5,
    ) {
        let mut lives = Lives::new();
        steps.iter().for_each(|step| lives.act(*step));
        leave_some_behind(&mut lives);
        let mut sound = lives.clone();
        sound.drain();
        sound.story.valid(NAME);
        plant(&mut lives, error);
        lives.story.invalid(NAME);
    }
}

#[test]
fn what_may_arrive_late_is_held_against_nobody() {
    let told = |kind, late| {
        let mut story = Story::of_class("lives");
        let send = story.begin(F::Enqueue, Some(1), Facts::default());
        story.end(send, kind, None, Facts { sequence: Some(1), late, ..Facts::default() });
        let deletion = story.begin(F::Delete, None, Facts::default());
        story.end(deletion, Kind::Ok, None, Facts::default());
        story.given(1, 1, 1, 1);
        story
    };
    told(Kind::Ok, None).invalid(NAME);
    told(Kind::Ok, Some(1)).valid(NAME);
    told(Kind::Info, None).valid(NAME);
    told(Kind::Fail, None).invalid(NAME);
}

/// Begins with a deletion.
fn deleted(kind: Kind, late: Option<u64>) -> Story {
    let mut story = Story::of_class("lives");
    let deletion = story.begin(F::Delete, None, Facts::default());
    story.end(deletion, kind, None, Facts { late, ..Facts::default() });
    story
}

#[test]
fn a_deletion_that_comes_late_may_take_the_last_life_along() {
    let told = |kind, late| {
        let mut story = deleted(kind, late);
        story.sent(1, 1).drained(QUEUE);
        story
    };
    told(Kind::Ok, None).invalid(NAME);
    told(Kind::Ok, Some(1)).valid(NAME);
    told(Kind::Info, None).valid(NAME);
    told(Kind::Fail, None).invalid(NAME);
}

#[test]
fn a_queue_that_was_made_after_an_answered_deletion_stays() {
    let told = |kind, creations: bool| {
        let mut story = deleted(kind, Some(1));
        if creations {
            let creation = story.begin(F::Create, None, Facts::default());
            story.end(creation, Kind::Ok, None, Facts { uid: Some(2), ..Facts::default() });
        }
        story.note(F::Drain, Kind::Info, Facts { queue: Some(QUEUE.into()), ..Facts::default() });
        story
    };
    told(Kind::Ok, true).invalid(NAME);
    told(Kind::Ok, false).valid(NAME);
    told(Kind::Info, true).valid(NAME);
}
