//! `phalanx server`: one node.

use std::sync::Arc;

use phalanx_server::config::{self, NodeConfig};
use phalanx_server::seams::Seams;
use phalanx_server::{Node, RunningNode};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::ServerArgs;
use crate::output::{self, Failure, Outcome};

/// What is logged unless `PHALANX_LOG` says otherwise.
const DEFAULT_LOG: &str = "info,openraft=error,sled=warn,h2=warn,hyper=warn,tower=warn";

/// Runs `phalanx server`.
pub async fn run(args: ServerArgs) -> Outcome {
    let config = read(&args)?;
    if args.check {
        output::line("configuration is valid");
        return Ok(());
    }
    log(&args)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let seams = Seams::production(&config, Arc::new(fatal)).map_err(|error| Failure::new(chain(&error)))?;
    let node = tokio::select! {
        started = Node::start(config, seams) => started.map_err(|error| Failure::new(chain(&error)))?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
        () = stdin_closed(args.until_stdin_closes) => return Ok(()),
    };
    let why = tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        () = stdin_closed(args.until_stdin_closes) => "standard input closed",
    };
    tracing::info!(why, "stopping: leaderships are handed over");
    stop(node).await
}

async fn stop(node: RunningNode) -> Outcome {
    node.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

fn read(args: &ServerArgs) -> Result<NodeConfig, Failure> {
    let path = args.config.display();
    let text =
        std::fs::read_to_string(&args.config).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let mut environment: Vec<(String, String)> = std::env::vars().collect();
    if args.insecure {
        environment.push(("PHALANX_INSECURE".to_owned(), "true".to_owned()));
    }
    config::load(&text, environment).map_err(|error| Failure::new(format!("{path}: {}", chain(&error))))
}

fn log(args: &ServerArgs) -> Outcome {
    let filter = std::env::var("PHALANX_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Failure::usage(format!("PHALANX_LOG={filter}: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if args.log_json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    Ok(())
}

/// The node must not go on, not even to say goodbye: what is in memory may not be on disk.
fn fatal(why: String) {
    tracing::error!(why, "the node stops at once");
    output::note(&format!("phalanx: {why}"));
    std::process::exit(i32::from(output::EXIT_FAILED));
}

/// Waits until standard input ends; for ever unless `watched`.
async fn stdin_closed(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
