//! What a screen shows, and how it is drawn.

use std::cmp::Reverse;
use std::time::Duration;

use ratatui::Frame;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};
use serde::Serialize;

use super::sample::Sample;
use crate::args::TopOrder;
use crate::output::{duration, millis, thousands};
use crate::print;

/// A screen's numbers; also what `--once --output json` prints.
#[derive(Debug, Serialize)]
pub struct Screen {
    cluster_id: Option<String>,
    version: String,
    nodes: Vec<NodeRow>,
    groups: Vec<GroupRow>,
    queues: Vec<QueueRow>,
    queues_total: usize,
    /// Over the queues shown, messages a second; `None`: nothing to compare with yet.
    sent_per_s: Option<u64>,
    acked_per_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NodeRow {
    node: u64,
    client_address: String,
    zone: String,
    reachable: bool,
    leads: usize,
}

#[derive(Debug, Serialize)]
struct GroupRow {
    group: u64,
    leader_node: Option<u64>,
    term: u64,
    last_index: u64,
    lag: u64,
    state: String,
}

#[derive(Debug, Serialize)]
struct QueueRow {
    name: String,
    shard: u64,
    leader_node: u64,
    ready: u64,
    leased: u64,
    groups: u64,
    oldest_age_ms: Option<u64>,
    sent_per_s: Option<u64>,
    delivered_per_s: Option<u64>,
    acked_per_s: Option<u64>,
    consumers: usize,
}

impl Screen {
    /// Of this look; rates since the one before.
    pub fn of(before: Option<&Sample>, now: &Sample, order: TopOrder) -> Self {
        let groups: Vec<GroupRow> = now.survey.groups().into_iter().map(GroupRow::of).collect();
        let lost = now.survey.lost_nodes();
        let nodes = now.survey.status.nodes.iter().map(|node| NodeRow {
            node: node.node,
            client_address: node.client_address.clone(),
            zone: node.zone.clone(),
            reachable: !lost.contains(&node.node),
            leads: groups.iter().filter(|group| group.leader_node == Some(node.node)).count(),
        });
        let mut queues: Vec<QueueRow> =
            now.queues.keys().map(|uid| QueueRow::of(before, now, *uid)).collect();
        match order {
            TopOrder::Rate => queues.sort_by_key(|row| Reverse(row.sent_per_s.max(row.acked_per_s))),
            TopOrder::Ready => queues.sort_by_key(|row| Reverse(row.ready)),
            TopOrder::Age => queues.sort_by_key(|row| Reverse(row.oldest_age_ms)),
            TopOrder::Name => queues.sort_by(|one, other| one.name.cmp(&other.name)),
        }
        let total = |rate: fn(&QueueRow) -> Option<u64>| queues.iter().map(rate).sum::<Option<u64>>();
        Self {
            cluster_id: now.survey.status.cluster_id.map(|id| id.to_string()),
            version: now.survey.status.version.clone(),
            nodes: nodes.collect(),
            groups,
            sent_per_s: total(|row| row.sent_per_s),
            acked_per_s: total(|row| row.acked_per_s),
            queues,
            queues_total: now.queue_count,
        }
    }

    /// The whole screen as text.
    pub fn text(&self, width: u16) -> String {
        let lines = 6 + self.nodes.len() + self.groups.len() + self.queues.len();
        let height = u16::try_from(lines).unwrap_or(u16::MAX);
        let mut terminal =
            ratatui::Terminal::new(TestBackend::new(width, height)).expect("it writes to memory only");
        terminal.draw(|frame| self.draw(frame, "")).expect("it writes to memory only");
        let buffer = terminal.backend().buffer();
        let row = |y: u16| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(row).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Draws it, with a line about keys or troubles below.
    pub fn draw(&self, frame: &mut Frame<'_>, foot: &str) {
        let tall = |rows: usize| Constraint::Length(u16::try_from(rows + 2).unwrap_or(u16::MAX));
        let parts = [
            Constraint::Length(1),
            tall(self.nodes.len()),
            tall(self.groups.len()),
            Constraint::Min(2),
            Constraint::Length(u16::from(!foot.is_empty())),
        ];
        let [head, nodes, groups, queues, last] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Line::styled(self.head(), Style::new().add_modifier(Modifier::BOLD)), head);
        self.draw_nodes(frame, nodes);
        self.draw_groups(frame, groups);
        self.draw_queues(frame, queues);
        frame.render_widget(Line::raw(foot.to_owned()), last);
    }

    fn head(&self) -> String {
        let reached = self.nodes.iter().filter(|node| node.reachable).count();
        let led = self.groups.iter().filter(|group| group.leader_node.is_some()).count();
        let (sent, acked) = (rate(self.sent_per_s), rate(self.acked_per_s));
        format!(
            "phalanx {}  {reached} of {} nodes  {led} of {} groups led  {} queues  {sent}/s sent  {acked}/s acked",
            self.version,
            self.nodes.len(),
            self.groups.len(),
            thousands(self.queues_total as u64),
        )
    }

    fn draw_nodes(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |node: &NodeRow| {
            vec![
                node.node.to_string(),
                node.client_address.clone(),
                node.zone.clone(),
                if node.reachable { "yes" } else { "NO" }.to_owned(),
                node.leads.to_string(),
            ]
        };
        let head = [("node", 6), ("clients", 30), ("zone", 16), ("reachable", 10), ("leads", 6)];
        table(frame, area, &head, self.nodes.iter().map(|node| (row(node), !node.reachable)));
    }

    fn draw_groups(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |group: &GroupRow| {
            vec![
                if group.group == 0 { "0 (catalog)".to_owned() } else { group.group.to_string() },
                group.leader_node.map_or("NONE".to_owned(), |node| node.to_string()),
                group.term.to_string(),
                thousands(group.last_index),
                thousands(group.lag),
                group.state.clone(),
            ]
        };
        let head =
            [("group", 12), ("leader", 7), ("term", 6), ("last index", 14), ("lag", 10), ("state", 50)];
        let bad = |group: &GroupRow| group.leader_node.is_none() || group.state != "healthy";
        table(frame, area, &head, self.groups.iter().map(|group| (row(group), bad(group))));
    }

    fn draw_queues(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |queue: &QueueRow| {
            vec![
                print::text(queue.name.as_bytes()),
                queue.shard.to_string(),
                queue.leader_node.to_string(),
                thousands(queue.ready),
                thousands(queue.leased),
                thousands(queue.groups),
                queue.oldest_age_ms.map_or(String::new(), duration),
                rate(queue.sent_per_s),
                rate(queue.delivered_per_s),
                rate(queue.acked_per_s),
                queue.consumers.to_string(),
            ]
        };
        let head = [
            ("queue", 24),
            ("shard", 5),
            ("lead", 4),
            ("ready", 11),
            ("leased", 8),
            ("groups", 8),
            ("oldest", 12),
            ("in/s", 8),
            ("out/s", 8),
            ("ack/s", 8),
            ("cons", 4),
        ];
        table(frame, area, &head, self.queues.iter().map(|queue| (row(queue), false)));
    }
}

impl GroupRow {
    fn of(view: crate::survey::GroupView) -> Self {
        let silent = view.silent.iter().map(|node| format!("node {node} is silent"));
        let unsound = view.unsound.iter().map(|(node, state)| format!("node {node} {state}"));
        let troubles: Vec<String> = unsound.chain(silent).collect();
        let state = if troubles.is_empty() { "healthy".to_owned() } else { troubles.join(", ") };
        Self {
            group: view.group,
            leader_node: view.leader_node,
            term: view.term,
            last_index: view.last_index,
            lag: view.lag,
            state,
        }
    }
}

impl QueueRow {
    fn of(before: Option<&Sample>, now: &Sample, uid: u64) -> Self {
        let info = &now.queues[&uid];
        let earlier = before.and_then(|before| Some((before.queues.get(&uid)?, now.at - before.at)));
        let rate = |total: fn(&phalanx_client::QueueInfo) -> u64| {
            earlier.map(|(then, passed)| per_second(total(info).saturating_sub(total(then)), passed))
        };
        Self {
            name: info.queue.name.clone(),
            shard: info.queue.shard,
            leader_node: info.leader_node,
            ready: info.ready,
            leased: info.leased,
            groups: info.groups,
            oldest_age_ms: info.oldest_age.map(millis),
            sent_per_s: rate(|info| info.sent_total),
            delivered_per_s: rate(|info| info.delivered_total),
            acked_per_s: rate(|info| info.acked_total),
            consumers: info.consumers.iter().filter(|consumer| consumer.attached).count(),
        }
    }
}

fn per_second(count: u64, passed: Duration) -> u64 {
    count.saturating_mul(1_000) / millis(passed).max(1)
}

fn rate(per_second: Option<u64>) -> String {
    per_second.map_or_else(|| "-".to_owned(), thousands)
}

/// Draws rows under a head of names and widths; `true` marks a row as bad.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    head: &[(&'static str, u16)],
    rows: impl Iterator<Item = (Vec<String>, bool)>,
) {
    let bold = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
    let names = Row::new(head.iter().map(|(name, _)| *name)).style(bold);
    let style = |bad: bool| if bad { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let rows = rows.map(|(cells, bad)| Row::new(cells).style(style(bad)));
    let widths = head.iter().map(|(_, width)| Constraint::Length(*width));
    frame.render_widget(Table::new(rows, widths).header(names), area);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use phalanx_client::{Queue, QueueInfo, QueueSettings};
    use tokio::time::Instant;

    use super::*;
    use crate::survey::tests::{group, survey, view};

    fn info(name: &str, uid: u64, ready: u64, sent_total: u64) -> QueueInfo {
        QueueInfo {
            queue: Queue {
                namespace: "default".into(),
                name: name.into(),
                uid,
                shard: 1,
                version: 1,
                settings: QueueSettings::default(),
                created: SystemTime::UNIX_EPOCH,
                state: "live".into(),
            },
            ready,
            leased: 2,
            delayed: 0,
            bytes: 10,
            groups: 1,
            oldest_age: Some(Duration::from_secs(90)),
            next_sequence: 1,
            producers: 0,
            sent_total,
            acked_total: sent_total / 2,
            delivered_total: sent_total / 2,
            redelivered_total: 0,
            consumers: Vec::new(),
            leader_node: 2,
            unseen: 0,
            marks: Vec::new(),
        }
    }

    fn sample(at: Instant, queues: Vec<QueueInfo>) -> Sample {
        let reach = [true, true, false];
        let groups = || vec![group(0, Some(1), 3, 10), group(1, Some(2), 2, 50)];
        let views = vec![view(1, reach, groups()), view(2, reach, groups())];
        let queue_count = queues.len();
        let queues: BTreeMap<u64, QueueInfo> =
            queues.into_iter().map(|info| (info.queue.uid, info)).collect();
        Sample { at, survey: survey(views), queues, queue_count }
    }

    #[test]
    fn a_screen_shows_rates_leaders_depth_and_trouble() {
        let start = Instant::now();
        let before = sample(start, vec![info("slow", 1, 9, 100), info("busy", 2, 5, 1_000)]);
        let now = sample(
            start + Duration::from_secs(2),
            vec![info("slow", 1, 9, 104), info("busy", 2, 5, 25_000), info("new", 3, 0, 7)],
        );
        let screen = Screen::of(Some(&before), &now, TopOrder::Rate);
        let text = screen.text(110);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("phalanx 0.1.0  2 of 3 nodes  2 of 2 groups led  3 queues"), "{text}");
        assert!(text.contains("127.0.0.1:7422                 zone-a           NO"), "{text}");
        assert!(text.contains("node 3 is silent"), "{text}");
        let queues: Vec<Vec<&str>> =
            lines[lines.len() - 3..].iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            queues[0],
            ["busy", "1", "2", "5", "2", "1", "1", "min", "30", "s", "12,000", "6,000", "6,000", "0"]
        );
        assert_eq!(queues[1][0], "slow");
        assert_eq!(queues[2][10..], ["-", "-", "-", "0"], "nothing to compare with yet: {text}");
    }

    #[test]
    fn queues_are_ordered_as_asked() {
        let now = sample(Instant::now(), vec![info("b", 1, 1, 0), info("a", 2, 7, 0), info("c", 3, 3, 0)]);
        let names = |order| {
            let screen = Screen::of(None, &now, order);
            screen.queues.into_iter().map(|row| row.name).collect::<Vec<_>>().concat()
        };
        assert_eq!(names(TopOrder::Ready), "acb");
        assert_eq!(names(TopOrder::Name), "abc");
    }
}
