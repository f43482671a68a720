//! The live screen: drawn after every look, keys in between.

use std::time::Duration;

use phalanx_client::Admin;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::sample::Sample;
use super::screen::Screen;
use crate::args::TopOrder;
use crate::output::{Failure, Outcome};

/// How long the reader of keys may take to notice that it is no longer needed.
const KEY_POLL: Duration = Duration::from_millis(100);
/// Keys that may wait.
const KEYS_MAX: usize = 16;

const KEYS: &str = "q quit   r rate   d depth   a age   n name   p pause";

enum Key {
    Quit,
    Sort(TopOrder),
    Pause,
    /// The window changed, or another key: draw again.
    Other,
}

/// Shows the screen until a key ends it.
///
/// # Errors
/// When the terminal cannot be used. A cluster that does not answer is shown, and asked again.
pub async fn run(admin: &Admin, interval: Duration, order: TopOrder) -> Outcome {
    let mut terminal = ratatui::try_init().map_err(Failure::from)?;
    let (pressed, keys) = mpsc::channel(KEYS_MAX);
    let reader = std::thread::spawn(move || read_keys(&pressed));
    let outcome = Live { admin, interval, order, before: None, now: None, trouble: None, paused: false }
        .show(&mut terminal, keys)
        .await;
    ratatui::restore();
    // It ends by itself once nobody listens.
    drop(reader);
    outcome
}

fn read_keys(pressed: &mpsc::Sender<Key>) {
    while !pressed.is_closed() {
        let key = match event::poll(KEY_POLL)
            .and_then(|ready| if ready { event::read().map(Some) } else { Ok(None) })
        {
            Ok(None) => continue,
            Ok(Some(event)) => key(&event),
            // No more keys: the terminal is gone.
            Err(_) => Key::Quit,
        };
        if pressed.blocking_send(key).is_err() {
            return;
        }
    }
}

fn key(event: &Event) -> Key {
    let Event::Key(pressed) = event else { return Key::Other };
    if pressed.kind != KeyEventKind::Press {
        return Key::Other;
    }
    match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('r') => Key::Sort(TopOrder::Rate),
        KeyCode::Char('d') => Key::Sort(TopOrder::Ready),
        KeyCode::Char('a') => Key::Sort(TopOrder::Age),
        KeyCode::Char('n') => Key::Sort(TopOrder::Name),
        KeyCode::Char('p') => Key::Pause,
        _ => Key::Other,
    }
}

struct Live<'a> {
    admin: &'a Admin,
    interval: Duration,
    order: TopOrder,
    before: Option<Sample>,
    now: Option<Sample>,
    /// Why the last look failed.
    trouble: Option<String>,
    paused: bool,
}

impl Live<'_> {
    async fn show(&mut self, terminal: &mut DefaultTerminal, mut keys: mpsc::Receiver<Key>) -> Outcome {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                key = keys.recv() => match key {
                    None | Some(Key::Quit) => return Ok(()),
                    Some(Key::Sort(order)) => self.order = order,
                    Some(Key::Pause) => self.paused = !self.paused,
                    Some(Key::Other) => {}
                },
                sample = self.look(next), if !self.paused => {
                    self.take(sample);
                    next = Instant::now() + self.interval;
                }
            }
            self.draw(terminal)?;
        }
    }

    async fn look(&self, at: Instant) -> Result<Sample, phalanx_client::Error> {
        tokio::time::sleep_until(at).await;
        Sample::take(self.admin).await
    }

    fn take(&mut self, sample: Result<Sample, phalanx_client::Error>) {
        match sample {
            Ok(sample) => {
                self.before = self.now.replace(sample);
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(format!("no answer: {error}; asking again")),
        }
    }

    fn draw(&self, terminal: &mut DefaultTerminal) -> Outcome {
        let foot = match (&self.trouble, self.paused) {
            (Some(trouble), _) => trouble.clone(),
            (None, true) => format!("PAUSED   {KEYS}"),
            (None, false) => KEYS.to_owned(),
        };
        terminal.draw(|frame| match &self.now {
            Some(now) => Screen::of(self.before.as_ref(), now, self.order).draw(frame, &foot),
            None => frame.render_widget(foot.as_str(), frame.area()),
        })?;
        Ok(())
    }
}
