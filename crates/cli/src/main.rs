//! The binary `phalanx`: one node, a development cluster, administration, messaging, measuring.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed, 2 wrong command line, 3 the
//! outcome is unknown; `check` has those of monitoring plugins.

mod args;
mod command;
mod context;
mod declared;
mod output;
mod print;
mod progress;
mod survey;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Cli, Command};
use crate::output::{EXIT_FAILED, Failure, Outcome};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(format!("cannot start: {error}"))),
    };
    let outcome = runtime.block_on(run(cli));
    // Standard input may be in a blocking read that never ends; nothing waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        output::note(&format!("phalanx: {}", failure.message.replace('\n', " ")));
    }
    ExitCode::from(failure.code.max(EXIT_FAILED))
}

async fn run(cli: Cli) -> Outcome {
    let common = cli.common;
    match cli.command {
        Command::Demo(args) => command::demo::run(args, &common).await,
        Command::Dev(args) => command::dev::run(args).await,
        Command::Server(args) => command::server::run(args).await,
        Command::Queue(queue) => command::queue::run(queue, &common).await,
        Command::Topic(topic) => command::topic::topic(topic, &common).await,
        Command::Subscription(subscription) => command::topic::subscription(subscription, &common).await,
        Command::Binding(binding) => command::binding::run(binding, &common).await,
        Command::Send(args) => command::send::run(args, &common).await,
        Command::Receive(args) => command::receive::run(args, &common).await,
        Command::Consume(args) => command::consume::run(args, &common).await,
        Command::Subscribe(args) => command::subscribe::run(args, &common).await,
        Command::Request(args) => command::request::request(args, &common).await,
        Command::Reply(args) => command::request::reply(args, &common).await,
        Command::Apply(args) => command::apply::apply(args, &common).await,
        Command::Export => command::apply::export(&common).await,
        Command::Cluster(cluster) => command::cluster::run(cluster, &common).await,
        Command::Check(args) => command::check::run(args, &common).await,
        Command::Top(args) => command::top::run(args, &common).await,
        Command::Bench(args) => command::bench::run(args, &common).await,
        Command::Context(context) => command::context::run(context, &common),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "phalanx", &mut script);
            output::raw(&script, false);
            Ok(())
        }
        Command::Man { dir } => command::man::run(&dir, &common),
    }
}
