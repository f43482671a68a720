//! `clients/conformance/scenarios.toml`, run with the Rust client against real processes. The words of that file are
//! explained in the README beside it; every client has a runner like this one.

mod hands;
mod load;
mod scenario;
mod step;

use std::path::Path;
use std::time::{Duration, Instant};

use phalanx_client::Client;
use phalanx_testkit::{LocalCluster, Options};
use scenario::Scenario;

const SCENARIOS: &str = include_str!("../../../../../clients/conformance/scenarios.toml");
const SHARDS: u64 = 4;
/// Whoever waits for something that must come waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(dir: &Path) -> LocalCluster {
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir);
    options.shards = SHARDS;
    options.config = String::from(
        "[wal]\nsegment_bytes = 16777216\nbudget_bytes = 134217728\n[limits]\nrequest_bytes = 4194304\n",
    );
    LocalCluster::start(&options).await.expect("three nodes on an empty machine become a cluster")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_does_what_every_client_must() {
    let _beside_others = crate::MACHINE.read().await;
    let scenarios = step::parse(SCENARIOS);
    let dir = tempfile::tempdir().expect("a directory for the test");
    let mut cluster = start(dir.path()).await;
    let client = Client::connect(cluster.addresses()).await.expect("the cluster is there");
    let mut failed = Vec::new();
    for (number, (name, settings, steps)) in scenarios.iter().enumerate() {
        let begin = Instant::now();
        let mut scenario = Scenario::new(&client, &mut cluster, format!("conformance-{number}"));
        let verdict = match scenario.run(settings.clone(), steps).await {
            Ok(()) => String::from("ok"),
            Err(why) => format!("FAILED: {why}"),
        };
        println!("{name}: {verdict} ({:.1} s)", begin.elapsed().as_secs_f64());
        if verdict != "ok" {
            failed.push(format!("{name}: {verdict}"));
        }
    }
    println!(
        "conformance of the Rust client: {} of {} scenarios",
        scenarios.len() - failed.len(),
        scenarios.len()
    );
    assert!(!scenarios.is_empty() && failed.is_empty(), "{failed:#?}");
    cluster.stop().await.expect("they stop");
}
