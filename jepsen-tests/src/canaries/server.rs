//! Runs a node as `phalanx server` does.

use std::process::ExitCode;
use std::sync::Arc;

use phalanx_canary::Canary;
use phalanx_server::seams::Seams;
use phalanx_server::{Node, config};
use tokio::io::AsyncReadExt as _;
use tracing_subscriber::EnvFilter;

const LOG: &str = "info,openraft=error,sled=warn,h2=warn,hyper=warn,tower=warn";

pub fn main() -> ExitCode {
    match plant().and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("phalanx-canaries: {why}");
            ExitCode::FAILURE
        }
    }
}

fn plant() -> Result<(), String> {
    let Ok(name) = std::env::var("CANARY") else { return Ok(()) };
    let canary = Canary::ALL.into_iter().find(|canary| canary.name() == name);
    canary.ok_or_else(|| format!("there is no canary {name:?}"))?.plant();
    Ok(())
}

#[tokio::main]
async fn serve() -> Result<(), String> {
    let path = std::env::args().next_back().ok_or("no configuration is named")?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let config = config::load(&text, std::env::vars()).map_err(|error| error.to_string())?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(LOG))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let fatal = |why: String| {
        eprintln!("phalanx-canaries: {why}");
        std::process::exit(1);
    };
    let seams = Seams::production(&config, Arc::new(fatal)).map_err(|error| error.to_string())?;
    let node = tokio::select! {
        started = Node::start(config, seams) => started.map_err(|error| error.to_string())?,
        () = stdin_closed() => return Ok(()),
    };
    stdin_closed().await;
    node.shutdown().await;
    Ok(())
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
