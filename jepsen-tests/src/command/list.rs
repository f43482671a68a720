//! `jepsen list`.

use std::fs::File;

use super::{Place, say};
use crate::check::Verdict;
use crate::machine::fake_time;
use crate::nemesis::{Fault, Needs};
use crate::net;
use crate::workload;

/// What mounts go through.
const FUSE: &str = "/dev/fuse";

/// Why it cannot be done there.
pub fn obstacle(needs: Needs, place: &Place) -> Option<String> {
    match needs {
        Needs::Nothing => None,
        Needs::FakeTime => fake_time().err(),
        // Nothing would end the mounts with this process.
        Needs::Fuse if place.proxies => Some("it needs namespaces, which --proxies forgoes".to_owned()),
        Needs::Fuse => {
            let none = || net::obstacle().map(|why| format!("it needs root, or user namespaces ({why})"));
            disk_obstacle().or_else(|| if net::is_inside() { None } else { none() })
        }
    }
}

/// Why no disk of our own can be mounted.
fn disk_obstacle() -> Option<String> {
    let opened = File::options().read(true).write(true).open(FUSE);
    opened.err().map(|error| format!("{FUSE}: {error}"))
}

/// Prints what there is.
pub fn list(place: &Place) -> Result<Verdict, String> {
    let mut text = match net::obstacle().filter(|_| !place.proxies) {
        None if place.proxies => String::from("links: proxies on 127.77.0.0/16, as asked for\n"),
        None => String::from("links: network namespaces\n"),
        Some(why) => format!("links: proxies on 127.77.0.0/16; no namespaces here: {why}\n"),
    };
    text += "workloads\n";
    for (name, what) in workload::ALL {
        text += &format!("  {name:<20} {what}\n");
    }
    text += "nemeses\n";
    for (_, name, needs) in Fault::ALL {
        let obstacle = obstacle(needs, place).map_or(String::new(), |why| format!("not here: {why}"));
        text += &format!("  {name:<20} {obstacle}\n");
    }
    for (name, words) in Fault::GROUPS {
        text += &format!("  {name:<20} = {}\n", words.join(", "));
    }
    say(&text);
    Ok(Verdict::Valid)
}
