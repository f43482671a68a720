//! `phalanx request` and `phalanx reply`.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use phalanx_client::{Delivery, Message, Nack};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::args::{Common, Output, ReplyArgs, RequestArgs};
use crate::command::connect;
use crate::command::send::hint;
use crate::output::{self, Failure, Outcome, messages};
use crate::print;

/// Largest body that is read at all, bytes.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs `phalanx request`.
pub async fn request(args: RequestArgs, common: &Common) -> Outcome {
    let body = match args.body {
        Some(body) => body.into_bytes(),
        None => read_all(tokio::io::stdin()).await?,
    };
    let mut message = Message::new(body);
    if let Some(group) = args.group {
        message = message.group(group);
    }
    for (name, value) in args.header {
        message = message.header(name, value);
    }
    let client = connect(common).await?;
    // Its own requester, so that the reply queue is gone when this ends.
    let requester = client.requester().await?;
    let reply = requester.request(&args.queue, message, Duration::from_millis(args.wait)).await;
    let reply = reply.map_err(|error| hint(error, &args.queue));
    requester.close().await;
    let reply = reply?;
    let mut page = Vec::new();
    match common.output {
        Output::Json => {
            let mut object = Map::new();
            print::message(&mut object, &reply);
            page = serde_json::to_vec(&Value::Object(object))
                .map_err(|error| Failure::new(error.to_string()))?;
        }
        Output::Raw => page.extend_from_slice(&reply.body),
        Output::Table => page.extend_from_slice(print::text(&reply.body).as_bytes()),
    }
    page.push(b'\n');
    output::raw(&page, false);
    Ok(())
}

/// Runs `phalanx reply`.
pub async fn reply(args: ReplyArgs, common: &Common) -> Outcome {
    let client = connect(common).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (done, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = enough.notified() => {}
        }
    };
    let handler = |request: Arc<Delivery>| {
        let (command, done, enough) = (args.exec.clone(), Arc::clone(&done), Arc::clone(&enough));
        let last = args.count;
        async move {
            let body = run(&command, &request).await?;
            if Some(done.fetch_add(1, Ordering::Relaxed) + 1) == last {
                enough.notify_one();
            }
            Ok(Message::new(body))
        }
    };
    let served = client.serve(&args.queue, args.concurrency as usize, stop, handler).await;
    served.map_err(|error| hint(error, &args.queue))?;
    if common.output == Output::Table {
        output::note(&format!("{} answered", messages(done.load(Ordering::Relaxed))));
    }
    Ok(())
}

/// What the command prints.
async fn run(command: &str, request: &Delivery) -> Result<Vec<u8>, Nack> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("PHALANX_SEQUENCE", request.sequence().to_string())
        .env("PHALANX_ATTEMPT", request.attempt().to_string())
        .env("PHALANX_CORRELATION_ID", request.message().correlation_id.replace('\0', ""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command need not read its input.
            match stdin.write_all(request.body()).await {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    let read = async {
        let mut body = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(BODY_BYTES_MAX + 1).read_to_end(&mut body).await?;
        }
        Ok::<_, std::io::Error>(body)
    };
    let (fed, body) = tokio::join!(feed, read);
    let (body, status) = (body?, child.wait().await?);
    fed?;
    if !status.success() {
        output::note(&format!(
            "phalanx: request {} is returned: the command ended with {status}",
            request.sequence()
        ));
        return Err(Nack::from(std::io::Error::other(format!("the command ended with {status}"))));
    }
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(Nack::reject(std::io::Error::other("the command printed more than 16 MiB")));
    }
    Ok(body)
}

async fn read_all(reader: impl tokio::io::AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut body).await?;
    if body.len() as u64 > BODY_BYTES_MAX {
        return Err(Failure::new("standard input is larger than 16 MiB"));
    }
    Ok(body)
}
