//! Asks a node's `/readyz`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One question may take this long.
const DEADLINE: Duration = Duration::from_secs(2);
/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// `Ok` when the node at this address of its health checks is ready; otherwise what it said.
pub async fn ready(address: &str) -> Result<(), String> {
    let answer = tokio::time::timeout(DEADLINE, ask(address)).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(body.trim().to_owned()),
    }
}

async fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}
