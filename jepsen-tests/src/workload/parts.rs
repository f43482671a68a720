//! Who takes part in each workload.

use super::consume::{Habits, by_calls, by_stream, lock};
use super::produce::{Kind, by_calls as send_by_calls, by_stream as send_by_stream, repeating};
use super::{Cast, LIVES, Role, lives, reads};

type Made = Result<(), String>;

pub(super) fn queue(cast: &mut Cast) -> Made {
    for _ in 0..2 {
        cast.enter("queue", |role| send_by_stream(role, Kind::Plain))?;
        cast.enter("queue", |role| send_by_calls(role, Kind::Plain))?;
        cast.enter("queue", |role| by_stream(role, Habits { nacks: 5, drops: 1, ..Habits::default() }))?;
    }
    cast.enter("queue", |role| by_calls(role, Habits { nacks: 5, ..Habits::default() }))
}

pub(super) fn fifo(cast: &mut Cast) -> Made {
    for _ in 0..3 {
        cast.enter("fifo", |role| send_by_calls(role, Kind::Plain))?;
        // They find it empty now and then.
        cast.enter("fifo", |role| by_calls(role, Habits { wait_ms: 0, ..Habits::default() }))?;
    }
    Ok(())
}

pub(super) fn groups(cast: &mut Cast) -> Made {
    for queue in ["groups", "strict"] {
        for _ in 0..2 {
            cast.enter(queue, |role| send_by_stream(role, Kind::Grouped))?;
            let habits = Habits { nacks: 4, drops: 1, ..Habits::default() };
            cast.enter(queue, move |role| by_stream(role, habits))?;
        }
        cast.enter(queue, |role| by_calls(role, Habits { nacks: 4, ..Habits::default() }))?;
    }
    Ok(())
}

pub(super) fn mutex(cast: &mut Cast) -> Made {
    cast.enter("mutex", async |role: Role| {
        let value = role.stage.recorder.fresh_value();
        let message = value.to_string().into();
        role.scribe.send(&role.client, message, value, Default::default(), None).await;
    })?;
    for _ in 0..5 {
        cast.enter("mutex", lock)?;
    }
    Ok(())
}

pub(super) fn dedup(cast: &mut Cast) -> Made {
    for _ in 0..3 {
        cast.enter("dedup", repeating)?;
    }
    cast.enter("dedup", |role| by_stream(role, Habits::default()))?;
    cast.enter("dedup", |role| by_calls(role, Habits::default()))
}

pub(super) fn pauses(cast: &mut Cast) -> Made {
    cast.enter("pauses", |role| send_by_calls(role, Kind::Plain))?;
    for _ in 0..4 {
        cast.enter("pauses", |role| by_calls(role, Habits { oversleeps: 15, ..Habits::default() }))?;
    }
    Ok(())
}

pub(super) fn fan_out(cast: &mut Cast, fed: &[String]) -> Made {
    cast.enter("topic", |role| send_by_stream(role, Kind::Published))?;
    cast.enter("topic", |role| send_by_calls(role, Kind::Published))?;
    for queue in fed {
        let habits = Habits { nacks: 3, drops: 1, ..Habits::default() };
        cast.enter(queue, move |role| by_stream(role, habits))?;
    }
    Ok(())
}

pub(super) fn lives(cast: &mut Cast) -> Made {
    for queue in LIVES {
        cast.enter(queue, lives::own)?;
        cast.enter(queue, lives::send)?;
        cast.enter(queue, lives::receive)?;
        cast.enter(queue, lives::receive)?;
    }
    Ok(())
}

pub(super) fn reads(cast: &mut Cast) -> Made {
    for _ in 0..2 {
        cast.enter("reads", |role| send_by_calls(role, Kind::Plain))?;
        cast.enter("reads", |role| by_calls(role, Habits { nacks: 5, ..Habits::default() }))?;
    }
    // Whoever asks for the leader finds the new one; who stays with a node hears what that one believes.
    for node in 0..cast.stage.addresses.len() as u64 {
        cast.enter_at("reads", node, true, reads::read)?;
    }
    cast.enter("reads", reads::read)
}
