//! Ctrl-C: what runs ends, and what is there is written.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::EXIT_UNKNOWN;

static WANTED: AtomicBool = AtomicBool::new(false);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// From now on an interrupt is only noted. A second one ends the program at once.
///
/// # Errors
/// When the system refuses.
pub fn listen() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if WANTED.swap(true, Relaxed) {
                    std::process::exit(EXIT_UNKNOWN.into());
                }
                eprintln!("jepsen: interrupted: writing what there is");
            }
        });
    });
    Ok(())
}

/// Somebody wants it to end.
pub fn is_wanted() -> bool {
    WANTED.load(Relaxed)
}

/// Ends when somebody wants it to end.
pub async fn wanted() {
    while !is_wanted() {
        tokio::time::sleep(LOOK).await;
    }
}
