//! Faults and operations in a table for a browser.

use std::fmt::Write as _;

use super::escaped;
use crate::history::{Event, F, Index, Kind, Op};

/// Operations that are shown one by one: those that did not end well, and those around faults.
const ROWS_MAX: usize = 5_000;

const HEAD: &str = "<!doctype html><meta charset=\"utf-8\"><title>Timeline</title><style>body{font:13px sans-serif}\
    td{padding:1px 8px;font-family:monospace}tr.fault{background:#f3c0a0}tr.heal{background:#cfe8cf}tr.info{background:#fff2c0}tr.fail{background:#f8d0d0}</style>\n";

fn seconds(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e9)
}

fn row(op: &Op) -> String {
    let class = match op.kind {
        Kind::Fail => "fail",
        Kind::Info => "info",
        _ => "ok",
    };
    let took = if op.ended_ns == u64::MAX { "?".to_owned() } else { seconds(op.ended_ns - op.began_ns) };
    let what = [
        ("sequence", op.facts.sequence),
        ("token", op.facts.token),
        ("attempt", op.facts.attempt),
        ("holder", op.facts.holder),
    ];
    let what: Vec<String> = what
        .into_iter()
        .filter_map(|(name, number)| number.map(|number| format!("{name} {number}")))
        .collect();
    format!(
        "<tr class=\"{class}\"><td>{}<td>{took}<td>{class}<td>{}<td>{}<td>{}<td>{} {}\n",
        seconds(op.began_ns),
        op.f.name(),
        escaped(op.queue()),
        op.value.map_or(String::new(), |value| value.to_string()),
        what.join(", "),
        escaped(op.facts.error.as_deref().unwrap_or("")),
    )
}

/// The page.
pub fn timeline(events: &[Event]) -> String {
    let index = Index::new(events).unwrap_or_default();
    let mut page = String::from(HEAD);
    let _ = writeln!(
        page,
        "<h1>Timeline</h1><p>{} operations, {} events. Shown are all faults, all operations that failed or whose outcome is unknown, and every so-manieth other.\
         <table><tr><th>at, s<th>took, s<th><th>operation<th>queue<th>message<th>",
        index.ops.len(),
        events.len()
    );
    let every = (index.ops.len() / ROWS_MAX).max(1);
    let is_shown = |(number, op): &(usize, &Op)| !op.is_ok() || number.is_multiple_of(every);
    let mut ops =
        index.ops.iter().enumerate().filter(is_shown).map(|(_, op)| op).take(2 * ROWS_MAX).peekable();
    for (place, note) in index.notes.iter().filter(|(_, note)| note.f != F::Queue) {
        while let Some(op) = ops.next_if(|op| op.began < *place) {
            page += &row(op);
        }
        let class = match note.f {
            F::Fault | F::Damage | F::Exit | F::Panic => "fault",
            F::Heal | F::Healed => "heal",
            _ if note.kind == Kind::Fail => "fail",
            _ => "ok",
        };
        let text = [&note.facts.queue, &note.facts.note, &note.facts.error].into_iter().flatten();
        let text: Vec<String> = text.map(|text| escaped(text)).collect();
        let node = note.facts.node.map_or(String::new(), |node| format!("node {node}"));
        let _ = writeln!(
            page,
            "<tr class=\"{class}\"><td>{}<td><td><td><b>{}</b><td colspan=3>{node} {}",
            seconds(note.time_ns),
            note.f.name(),
            text.join(" ")
        );
    }
    for op in ops {
        page += &row(op);
    }
    page.push_str("</table>\n");
    page
}
