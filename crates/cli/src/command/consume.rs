//! `phalanx consume`: messages as they come, printed or given to a command.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::StreamExt as _;
use phalanx_client::{Client, Consumer, Delivery, Error};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Common, ConsumeArgs, Output};
use crate::command::connect;
use crate::command::send::hint;
use crate::output::{self, Failure, Outcome, messages};
use crate::print;

/// With neither --follow nor --count: after this long without a message the queue is asked whether it is empty.
const IDLE: Duration = Duration::from_millis(300);

/// Runs `phalanx consume`.
pub async fn run(args: ConsumeArgs, common: &Common) -> Outcome {
    let output = if args.json { Output::Json } else { common.output };
    let common = &Common { output, ..common.clone() };
    let client = connect(common).await?;
    // One by one through a command: what waits here could be worked on elsewhere.
    let window = if args.exec.is_some() { 1 } else { args.window };
    let window =
        args.count.map_or(window, |count| window.min(u32::try_from(count.max(1)).unwrap_or(u32::MAX)));
    let opened = client.consumer(&args.queue).name(&args.name).window(window).open().await;
    let mut consumer = opened.map_err(|error| hint(error, &args.queue))?;
    let mut session = Session {
        stop: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
        args,
        common,
        done: 0,
    };
    let outcome = session.consume(&client, &mut consumer).await;
    // A clean goodbye gives back at once what is still in hand.
    let closed = consumer.close().await.map_err(Failure::from);
    if common.output == Output::Table && outcome.is_ok() {
        output::note(&format!("{} acknowledged", messages(session.done)));
    }
    outcome.and(closed)
}

struct Session<'a> {
    args: ConsumeArgs,
    common: &'a Common,
    stop: [Signal; 2],
    /// Messages acknowledged.
    done: u64,
}

impl Session<'_> {
    async fn consume(&mut self, client: &Client, consumer: &mut Consumer) -> Outcome {
        while self.args.count.is_none_or(|count| self.done < count) {
            let Some(chunk) = self.next(client, consumer).await? else { return Ok(()) };
            match &self.args.exec {
                None => self.print(chunk).await?,
                Some(command) => {
                    let command = command.clone();
                    for delivery in chunk {
                        self.execute(&command, delivery).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What has arrived, at least one; `None` when it is time to stop.
    async fn next(
        &mut self,
        client: &Client,
        consumer: &mut Consumer,
    ) -> Result<Option<Vec<Delivery>>, Failure> {
        let bounded = self.args.count.is_some() || self.args.follow;
        let room = self
            .args
            .count
            .map_or(usize::MAX, |count| usize::try_from(count - self.done).unwrap_or(usize::MAX));
        let [interrupt, terminate] = &mut self.stop;
        let mut chunks = consumer.ready_chunks(room.clamp(1, self.args.window as usize));
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                _ = interrupt.recv() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
                () = tokio::time::sleep(IDLE), if !bounded => {
                    let info = client.admin().queue_info(&self.args.queue).await?;
                    if info.ready == info.delayed {
                        return Ok(None);
                    }
                    continue;
                }
            };
            let Some(chunk) = chunk else { return Err(Failure::new("the consumer was closed")) };
            return Ok(Some(chunk.into_iter().collect::<Result<Vec<Delivery>, Error>>()?));
        }
    }

    /// Prints a chunk, and acknowledges it once it is written.
    async fn print(&mut self, chunk: Vec<Delivery>) -> Outcome {
        let mut page = Vec::new();
        for delivery in &chunk {
            print::delivery(&mut page, delivery, self.common.output, self.args.headers)?;
        }
        output::raw(&page, false);
        for answer in join_all(chunk.into_iter().map(Delivery::ack)).await {
            match answer {
                Ok(_) => self.done += 1,
                Err(error @ Error::LeaseOver { .. }) => output::note(&format!("phalanx: {error}")),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn execute(&mut self, command: &str, delivery: Delivery) -> Outcome {
        let status = run_command(command, &delivery).await;
        let settled = match status {
            Ok(true) => delivery.ack().await.map(|_| self.done += 1),
            Ok(false) => delivery.nack(Duration::from_millis(self.args.nack_delay)).await.map(|_| ()),
            Err(error) => {
                // Give the message back before giving up: the command cannot run here.
                let _ = delivery.nack(Duration::ZERO).await;
                return Err(Failure::new(format!("cannot run {command:?}: {error}")));
            }
        };
        match settled {
            Err(error @ Error::LeaseOver { .. }) => output::note(&format!("phalanx: {error}")),
            other => other?,
        }
        Ok(())
    }
}

/// Whether the command exited with 0.
async fn run_command(command: &str, delivery: &Delivery) -> std::io::Result<bool> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("PHALANX_SEQUENCE", delivery.sequence().to_string())
        .env("PHALANX_TOKEN", delivery.token().to_string())
        .env("PHALANX_ATTEMPT", delivery.attempt().to_string())
        .env("PHALANX_GROUP", String::from_utf8_lossy(&delivery.message().group).replace('\0', ""))
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read its input.
        match stdin.write_all(delivery.body()).await {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    Ok(child.wait().await?.success())
}
