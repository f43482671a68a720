//! No process ends by itself, refuses to start or panics, unless a planted fault explains it.

use super::Index;
use crate::history::{History, What};

pub(super) fn check(history: &History, _: &Index) -> Result<(), String> {
    for (at, event) in history.events.iter().enumerate() {
        if let What::Stopped { node, why, planted: None } = &event.what {
            return Err(format!("event {at}: node {node} stopped: {why}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use crate::history::What;

    #[test]
    fn only_a_planted_fault_may_stop_a_process() {
        let stopped = |planted| What::Stopped { node: 1, why: "sync failed".into(), planted };
        let mut story = Story::new();
        story.add(stopped(Some("failing sync"))).check("no-unplanned-stop", true);
        story.add(stopped(None)).check("no-unplanned-stop", false);
    }
}
