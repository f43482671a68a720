//! `phalanx send`: one message, or one for each line.

use std::path::Path;

use phalanx_client::{Client, Confirmation, Message, Producer, Sent};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;

use crate::args::{Common, SendArgs};
use crate::command::connect;
use crate::output::{Failure, Outcome, messages, show, thousands};
use crate::{print, progress};

/// Largest body that is read at all, bytes; the queue's own limit is usually smaller.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Lines that may be sent and not yet confirmed.
const WINDOW: usize = 4096;

/// Runs `phalanx send`.
pub async fn run(args: SendArgs, common: &Common) -> Outcome {
    if args.lines || args.json {
        return lines(&args, common).await;
    }
    let body = match (&args.body, &args.file) {
        (Some(body), _) => body.clone().into_bytes(),
        (None, Some(path)) => read_all(open(path).await?, &path.display().to_string()).await?,
        (None, None) => read_all(BufReader::new(tokio::io::stdin()), "standard input").await?,
    };
    let client = connect(common).await?;
    let messages = [message(&args, body)];
    let sent = if args.mandatory {
        client.send_mandatory(&args.queue, messages).await
    } else {
        client.send(&args.queue, messages).await
    };
    let sent = sent.map_err(|error| hint(error, &args.queue))?;
    let Sent { sequence, duplicate, matched } =
        sent.first().copied().ok_or_else(|| Failure::new("the answer was empty"))?;
    let json = serde_json::json!({ "sequence": sequence, "duplicate": duplicate, "matched": matched });
    show(common.output, &json, || match (duplicate, matched) {
        (true, _) => format!("already there as sequence {sequence}: its deduplication id was seen before"),
        (false, 0) => format!("sent as sequence {sequence}"),
        (false, 1) => format!("sent as sequence {sequence} to 1 subscription"),
        (false, _) => format!("sent as sequence {sequence} to {} subscriptions", thousands(matched)),
    })
}

/// A client error, with what to do about a missing queue.
pub fn hint(error: phalanx_client::Error, queue: &str) -> Failure {
    let missing = matches!(error, phalanx_client::Error::QueueNotFound { .. });
    let mut failure = Failure::from(error);
    if missing {
        failure.message.push_str(&format!(" (`phalanx queue create {queue}` makes it)"));
    }
    failure
}

fn message(args: &SendArgs, body: Vec<u8>) -> Message {
    let mut message =
        Message::new(body).content_type(args.content_type.clone()).routing_key(args.routing_key.clone());
    if let Some(group) = &args.group {
        message = message.group(group.clone());
    }
    if let Some(id) = &args.dedup_id {
        message = message.deduplication_id(id.clone());
    }
    described(message.correlation_id(args.correlation_id.clone()).reply_to(args.reply_to.clone()), args)
}

/// With the headers that the options give.
fn described(mut message: Message, args: &SendArgs) -> Message {
    for (name, value) in &args.header {
        message = message.header(name.clone(), value.clone());
    }
    message
}

/// The message that a line is or, with --json, describes. What the line says wins over the options.
fn of_line(args: &SendArgs, line: &[u8]) -> Result<Message, String> {
    if !args.json {
        return Ok(message(args, line.to_vec()));
    }
    let mut message = print::parse(line)?;
    if let (true, Some(group)) = (message.group.is_empty(), &args.group) {
        message = message.group(group.clone());
    }
    if message.content_type.is_empty() {
        message = message.content_type(args.content_type.clone());
    }
    if message.routing_key.is_empty() {
        message = message.routing_key(args.routing_key.clone());
    }
    let own = std::mem::take(&mut message.headers);
    message = described(message, args);
    message.headers.extend(own);
    Ok(message)
}

async fn open(path: &Path) -> Result<BufReader<tokio::fs::File>, Failure> {
    let file = tokio::fs::File::open(path).await;
    Ok(BufReader::new(file.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?))
}

async fn read_all(reader: impl AsyncBufRead + Unpin, name: &str) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut body).await?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(Failure::new(format!("{name} is larger than {} bytes", thousands(BODY_BYTES_MAX))));
    }
    Ok(body)
}

async fn lines(args: &SendArgs, common: &Common) -> Outcome {
    let client = connect(common).await?;
    let producer = producer(&client, args).await?;
    let count = match &args.file {
        Some(path) => pump(args, &producer, open(path).await?).await?,
        None => pump(args, &producer, BufReader::new(tokio::io::stdin())).await?,
    };
    producer.close().await?;
    show(common.output, &serde_json::json!({ "sent": count }), || {
        format!("{} sent, all confirmed: on disk on a majority of nodes", messages(count))
    })
}

async fn producer(client: &Client, args: &SendArgs) -> Result<Producer, Failure> {
    let producer = client.producer(&args.queue).window(WINDOW);
    let producer = if args.mandatory { producer.mandatory() } else { producer };
    producer.open().await.map_err(|error| hint(error, &args.queue))
}

/// Sends each line; answers how many were confirmed. The first failure ends it, and says how far it came.
async fn pump(
    args: &SendArgs,
    producer: &Producer,
    mut reader: impl AsyncBufRead + Unpin,
) -> Result<u64, Failure> {
    let (confirmations, waiting) = mpsc::channel(WINDOW);
    let confirmed = tokio::spawn(count_confirmed(waiting));
    let mut line = Vec::new();
    let mut refused = None;
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = (&mut reader).take(BODY_BYTES_MAX + 2).read_until(b'\n', &mut line).await?;
        if read == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 > BODY_BYTES_MAX {
            refused =
                Some(Failure::new(format!("a line is longer than {} bytes", thousands(BODY_BYTES_MAX))));
            break;
        }
        number += 1;
        let message = match of_line(args, &line) {
            Ok(message) => message,
            Err(why) => {
                refused = Some(Failure::new(format!("line {number} is no message: {why}")));
                break;
            }
        };
        match producer.enqueue(message).await {
            Ok(confirmation) => {
                if confirmations.send(confirmation).await.is_err() {
                    // The counter has ended on a failure, which it reports.
                    break;
                }
            }
            Err(error) => {
                refused = Some(error.into());
                break;
            }
        }
    }
    drop(confirmations);
    let (count, failed) = confirmed.await.map_err(|error| Failure::new(error.to_string()))?;
    match failed.map(Failure::from).or(refused) {
        None => Ok(count),
        Some(failure) => Err(Failure {
            message: format!("{} (before it, {} sent)", failure.message, sent_before(count)),
            code: failure.code,
        }),
    }
}

/// How far it came.
fn sent_before(count: u64) -> String {
    match count {
        0 => "nothing was".to_owned(),
        1 => "the first line was".to_owned(),
        _ => format!("the first {} lines were", thousands(count)),
    }
}

async fn count_confirmed(mut waiting: mpsc::Receiver<Confirmation>) -> (u64, Option<phalanx_client::Error>) {
    let bar = progress::bar(None, "sent");
    let mut count = 0;
    while let Some(confirmation) = waiting.recv().await {
        if let Err(error) = confirmation.await {
            bar.finish_and_clear();
            return (count, Some(error));
        }
        count += 1;
        bar.set_position(count);
    }
    bar.finish_and_clear();
    (count, None)
}
