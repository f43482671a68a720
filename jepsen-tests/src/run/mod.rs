//! One run: a cluster, clients, faults, and at the end everything healed, drained, compared and judged.

mod failover;
mod finish;
mod stage;

pub use failover::{Blow, Order, Trial, failover};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phalanx_client::Client;
use tokio::sync::watch;

use crate::check::{self, Results};
use crate::history::{F, Facts, Kind, Recorder};
use crate::nemesis::{Fault, Nemesis, Plan};
use crate::report;
use crate::workload::client::{PATIENT, connect};
use crate::workload::{Cast, Stage};

/// Pause between two looks whether a process ended by itself.
const SUPERVISE: Duration = Duration::from_millis(200);
/// Before the first fault.
const WARM_UP: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// See [`crate::workload::ALL`].
    pub workload: String,
    /// Which faults.
    pub faults: Vec<Fault>,
    /// Three or five.
    pub nodes: u64,
    /// How long faults strike.
    pub time: Duration,
    /// Ends earlier, when every fault has had its turn so often.
    pub rounds: Option<u64>,
    /// Decides faults and clients.
    pub seed: u64,
    /// The server.
    pub binary: PathBuf,
    /// Where everything is written.
    pub dir: PathBuf,
    /// A planted bug, for a binary that knows some.
    pub canary: Option<String>,
    /// What repeats it.
    pub words: Vec<String>,
}

/// Told now and then how far a run is.
pub trait Watch: Send {
    /// `done` of the whole time; operations so far, confirmed sends, faults, and what goes on.
    fn tell(&mut self, done: Duration, events: usize, confirmed: u64, faults: u64, what: &str);
}

/// Runs, and writes history, results and pictures. When it is interrupted, or cannot go on, everything that it started ends, and what
/// there is so far is judged.
///
/// # Errors
/// When nothing could be written.
pub async fn run(
    settings: &Settings,
    watch: &mut dyn Watch,
    interrupted: impl Future<Output = ()>,
) -> Result<Results, String> {
    prepare_dir(settings)?;
    let recorder = Recorder::default();
    watch.tell(Duration::ZERO, 0, 0, 0, "starting");
    let outcome = until(act(settings, &recorder, watch), interrupted).await;
    watch.tell(settings.time, recorder.counts().0, recorder.counts().1, 0, "checking");
    conclude(&settings.dir, &recorder, outcome)
}

fn prepare_dir(settings: &Settings) -> Result<(), String> {
    let dir = &settings.dir;
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    write(dir, "seed", &format!("{}\n", settings.seed))?;
    write(dir, "command", &(settings.words.join("\n") + "\n"))
}

/// What it comes to, unless it is interrupted before: then all that it holds is dropped.
async fn until<T>(
    act: impl Future<Output = Result<T, String>>,
    interrupted: impl Future<Output = ()>,
) -> Result<T, String> {
    tokio::select! {
        outcome = act => outcome,
        () = interrupted => Err("interrupted".to_owned()),
    }
}

/// Judges what was recorded, and writes everything.
fn conclude(dir: &Path, recorder: &Recorder, outcome: Result<(), String>) -> Result<Results, String> {
    let events = recorder.events();
    write(dir, "history.edn", &crate::history::to_text(&events))?;
    let mut results = check::check(&events);
    if let Err(why) = outcome {
        results.cut_short(why);
    }
    write(dir, "results.edn", &report::results(&results))?;
    write(dir, "series.edn", &report::Series::of(&events).to_edn().to_string())?;
    write(dir, "timeline.html", &report::timeline(&events))?;
    write(dir, "latency.svg", &report::latency(&events))?;
    Ok(results)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = dir.join(name);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

async fn act(settings: &Settings, recorder: &Recorder, watch: &mut dyn Watch) -> Result<(), String> {
    let (cluster, machines) = stage::build(settings).await?;
    let addresses = cluster.addresses();
    let client = connect(&addresses, PATIENT, false).map_err(|error| error.to_string())?;
    let mut nemesis = Nemesis {
        cluster,
        machines,
        recorder: recorder.clone(),
        client: client.clone(),
        queue: String::new(),
    };
    let started = nemesis.cluster.start_all().await;
    started.map_err(|error| format!("the cluster does not start: {error}"))?;
    let (stop, stopped) = watch::channel(false);
    let busy = if settings.workload == "mixed" { 40 } else { 8 };
    let stage =
        Stage { addresses, recorder: recorder.clone(), stop: stopped, pace: Duration::from_millis(busy) };
    let mut cast = Cast::new(stage, settings.seed);
    prepare(&mut cast, &client, &settings.workload).await?;
    nemesis.queue = first_queue(recorder);
    let result = torment(settings, &mut nemesis, watch).await;
    result.map_err(|error| format!("a fault could not be brought about: {error}"))?;
    watch.tell(settings.time, recorder.counts().0, recorder.counts().1, 0, "healed, draining");
    finish::settle_down(&mut nemesis, &client).await;
    stop.send_replace(true);
    cast.leave().await?;
    finish::finish(&mut nemesis, &client).await
}

/// Queues come about when all shards have leaders, so a first attempt may come too early.
async fn prepare(cast: &mut Cast, client: &Client, workload: &str) -> Result<(), String> {
    cast.start(client, workload).await
}

fn first_queue(recorder: &Recorder) -> String {
    let events = recorder.events();
    let first = events.into_iter().find(|event| event.f == F::Queue);
    first.and_then(|event| event.facts.queue).unwrap_or_default()
}

/// Lets faults strike for the time of the run, and heals.
async fn torment(settings: &Settings, nemesis: &mut Nemesis, watch: &mut dyn Watch) -> std::io::Result<()> {
    let begin = Instant::now();
    let mut faults = 0;
    let mut rounds = 0;
    let mut plan = Plan::new(&settings.faults, settings.seed);
    rest(nemesis, WARM_UP, begin, faults, watch, "warming up").await?;
    while let Some(strike) = plan.next() {
        rest(nemesis, strike.calm, begin, faults, watch, "calm").await?;
        if begin.elapsed() >= settings.time {
            break;
        }
        let names: Vec<&str> = strike.faults.iter().map(|fault| fault.name()).collect();
        nemesis.strike(&strike).await?;
        faults += strike.faults.len() as u64;
        rest(nemesis, strike.hold, begin, faults, watch, &names.join(" + ")).await?;
        nemesis.heal().await?;
        rounds += u64::from(plan.is_round_over());
        if settings.rounds == Some(rounds) {
            break;
        }
    }
    while settings.rounds.is_none() && begin.elapsed() < settings.time {
        rest(nemesis, SUPERVISE, begin, faults, watch, "calm").await?;
    }
    nemesis.heal().await?;
    nemesis.recorder.note(F::Healed, Kind::Info, Facts::default());
    Ok(())
}

async fn rest(
    nemesis: &mut Nemesis,
    time: Duration,
    begin: Instant,
    faults: u64,
    watch: &mut dyn Watch,
    what: &str,
) -> std::io::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        nemesis.supervise()?;
        let (events, confirmed) = nemesis.recorder.counts();
        watch.tell(begin.elapsed(), events, confirmed, faults, what);
        tokio::time::sleep(SUPERVISE.min(end.saturating_duration_since(Instant::now()))).await;
    }
    Ok(())
}
