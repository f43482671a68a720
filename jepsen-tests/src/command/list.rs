//! `jepsen list`.

use std::path::Path;

use super::say;
use crate::check::Verdict;
use crate::machine::fake_time;
use crate::nemesis::{Fault, Needs};
use crate::net;
use crate::workload;

/// Why this machine cannot do it.
pub fn obstacle(needs: Needs) -> Option<String> {
    match needs {
        Needs::Nothing => None,
        Needs::FakeTime if fake_time().is_some() => None,
        Needs::FakeTime => Some("the package libfaketime is not installed".to_owned()),
        Needs::Fuse if !Path::new("/dev/fuse").exists() => Some("there is no /dev/fuse".to_owned()),
        Needs::Fuse if net::is_inside() || net::can_enter() => None,
        Needs::Fuse => Some("it needs root, or user namespaces".to_owned()),
    }
}

/// Prints what there is.
pub fn list() -> Result<Verdict, String> {
    let mut text = String::from("workloads\n");
    for (name, what) in workload::ALL {
        text += &format!("  {name:<20} {what}\n");
    }
    text += "nemeses\n";
    for (_, name, needs) in Fault::ALL {
        let obstacle = obstacle(needs).map_or(String::new(), |why| format!("not here: {why}"));
        text += &format!("  {name:<20} {obstacle}\n");
    }
    for (name, words) in Fault::GROUPS {
        text += &format!("  {name:<20} = {}\n", words.join(", "));
    }
    say(&text);
    Ok(Verdict::Valid)
}
