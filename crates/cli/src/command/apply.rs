//! `phalanx apply` and `export`: the queues and topics of a namespace as a file.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use phalanx_client::{Admin, Client, Error};
use serde::Serialize;

use crate::args::{ApplyArgs, Common, Output};
use crate::command::connect;
use crate::command::queue::confirm;
use crate::declared::{Difference, File, Kind, Plan, Step, TEMPORARY, Thing, plan};
use crate::output::{self, Failure, Outcome, show};

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// As `--output json` shows it.
#[derive(Serialize)]
struct PlanJson<'a> {
    namespace: &'a str,
    dry_run: bool,
    steps: Vec<StepJson<'a>>,
    unchanged: usize,
    unnamed: &'a [String],
}

#[derive(Serialize)]
struct StepJson<'a> {
    action: &'static str,
    kind: Kind,
    name: String,
    changes: &'a [Difference],
}

/// Runs `phalanx apply`.
pub async fn apply(args: ApplyArgs, common: &Common) -> Outcome {
    let file = read(&args.file)?;
    let client = connect(common).await?;
    let client = match (&common.namespace, &file.namespace) {
        (None, Some(namespace)) => client.in_namespace(namespace),
        (Some(_), _) | (None, None) => client,
    };
    let admin = client.admin();
    let (there, versions) = File::of(&admin, client.namespace()).await?;
    let plan = plan(&file, &there, &versions, args.prune).map_err(|why| wrong(&args.file, &why))?;
    let deletions = plan.steps.iter().filter(|step| matches!(step, Step::Delete(_))).count();
    if !args.dry_run {
        if deletions > 0 {
            output::note(&text(&plan));
            confirm(args.yes, &format!("Delete {deletions} of these with all their messages?"))?;
        }
        carry_out(&admin, &plan).await?;
    }
    show(common.output, &json(&plan, &client, args.dry_run), || {
        let rest = if args.dry_run { "\nnothing was changed (--dry-run)" } else { "" };
        format!("{}{rest}", text(&plan))
    })
}

/// Carries the steps out in order. The first that fails ends it and says how far it came; doing it again goes on from there.
async fn carry_out(admin: &Admin, plan: &Plan) -> Outcome {
    for (done, step) in plan.steps.iter().enumerate() {
        let outcome = match step {
            Step::Create(wanted) => create(admin, wanted).await,
            Step::Update { wanted, if_version, .. } => update(admin, wanted, *if_version).await,
            Step::Delete(thing) => delete(admin, thing).await,
        };
        outcome.map_err(|error| {
            let failure = Failure::from(error);
            let message = format!(
                "{} {}: {} ({done} of {} steps were done; apply again to go on)",
                step.thing().kind().noun(),
                step.thing().name(),
                failure.message,
                plan.steps.len()
            );
            Failure { message, ..failure }
        })?;
    }
    Ok(())
}

async fn create(admin: &Admin, wanted: &Thing) -> Result<(), Error> {
    match wanted {
        Thing::Queue(queue) => admin.create_queue(&queue.name, queue.settings()).await.map(drop),
        Thing::Topic(topic) => admin.create_topic(&topic.name, topic.settings()).await.map(drop),
        Thing::Subscription(topic, one) => {
            admin.create_subscription(topic, &one.name, one.settings()).await.map(drop)
        }
        Thing::Binding(topic, one) => {
            admin.create_binding(topic, &one.name, &one.to, one.conditions(), None).await.map(drop)
        }
    }
}

async fn update(admin: &Admin, wanted: &Thing, version: u64) -> Result<(), Error> {
    let version = Some(version);
    match wanted {
        Thing::Queue(queue) => admin.update_queue(&queue.name, queue.settings(), version).await.map(drop),
        Thing::Topic(topic) => admin.update_topic(&topic.name, topic.settings(), version).await.map(drop),
        Thing::Subscription(topic, one) => {
            admin.update_subscription(topic, &one.name, one.settings(), version).await.map(drop)
        }
        Thing::Binding(topic, one) => {
            admin.update_binding(topic, &one.name, one.conditions(), version).await.map(drop)
        }
    }
}

async fn delete(admin: &Admin, thing: &Thing) -> Result<(), Error> {
    match thing {
        Thing::Queue(queue) => admin.delete_queue(&queue.name).await,
        Thing::Topic(topic) => admin.delete_topic(&topic.name).await,
        Thing::Subscription(topic, one) => admin.delete_subscription(topic, &one.name).await,
        Thing::Binding(topic, one) => admin.delete_binding(topic, &one.name).await,
    }
}

fn read(path: &Path) -> Result<File, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| wrong(path, &error.to_string()))?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| wrong(path, &error.to_string()));
    }
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        wrong(path, &format!("line {line}: {}", error.message()))
    })
}

fn wrong(path: &Path, why: &str) -> Failure {
    let name = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
    Failure::new(format!("{name}: {why}"))
}

fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        let (sign, differences): (_, &[Difference]) = match step {
            Step::Create(_) => ('+', &[]),
            Step::Update { differences, .. } => ('~', differences),
            Step::Delete(_) => ('-', &[]),
        };
        let _ = writeln!(out, "{sign} {} {}", step.thing().kind().noun(), step.thing().name());
        for Difference { setting, from, to } in differences {
            let _ = writeln!(out, "    {setting}: {from} -> {to}");
        }
    }
    let _ = write!(out, "{} to change, {} as declared", plan.steps.len(), plan.unchanged);
    if !plan.unnamed.is_empty() {
        let _ = write!(out, ", {} not named and kept (--prune deletes them)", plan.unnamed.len());
    }
    out
}

fn json<'a>(plan: &'a Plan, client: &'a Client, dry_run: bool) -> PlanJson<'a> {
    let step = |step: &'a Step| {
        let (action, changes): (_, &[Difference]) = match step {
            Step::Create(_) => ("create", &[]),
            Step::Update { differences, .. } => ("update", differences),
            Step::Delete(_) => ("delete", &[]),
        };
        StepJson { action, kind: step.thing().kind(), name: step.thing().name(), changes }
    };
    PlanJson {
        namespace: client.namespace(),
        dry_run,
        steps: plan.steps.iter().map(step).collect(),
        unchanged: plan.unchanged,
        unnamed: &plan.unnamed,
    }
}

/// Runs `phalanx export`.
pub async fn export(common: &Common) -> Outcome {
    let client = connect(common).await?;
    let (mut file, versions) = File::of(&client.admin(), client.namespace()).await?;
    for topic in &mut file.topics {
        // Nobody could apply them.
        topic.bindings.retain(|one| {
            let name = format!("{}/{}", topic.name, one.name);
            let is_left_out = versions.feeds_nothing(&name) || one.to.starts_with(TEMPORARY);
            if is_left_out {
                output::note(&format!("left out: binding {name}, which feeds nothing that stays"));
            }
            !is_left_out
        });
    }
    if common.output == Output::Json {
        return show(Output::Json, &file, String::new);
    }
    let text = toml::to_string(&file).map_err(|error| Failure::new(error.to_string()))?;
    output::raw(text.as_bytes(), false);
    Ok(())
}
