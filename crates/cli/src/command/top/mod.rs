//! `phalanx top`: rates, leaders, depths and lag, as they change.

mod sample;
mod screen;
mod terminal;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::args::{Common, Output, TopArgs};
use crate::command::connect;
use crate::output::{self, Failure, Outcome};

use sample::Sample;
use screen::Screen;

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Width of a screen that is printed as text, columns.
const TEXT_WIDTH: u16 = 110;

/// Runs `phalanx top`.
pub async fn run(args: TopArgs, common: &Common) -> Outcome {
    let admin = connect(common).await?.admin();
    let interval = Duration::from_millis(args.interval).max(INTERVAL_MIN);
    if args.once {
        let before = Sample::take(&admin).await?;
        tokio::time::sleep(interval).await;
        let screen = Screen::of(Some(&before), &Sample::take(&admin).await?, args.sort);
        if common.output == Output::Json {
            let text = serde_json::to_string(&screen).map_err(|error| Failure::new(error.to_string()))?;
            output::line(&text);
        } else {
            output::line(&screen.text(TEXT_WIDTH));
        }
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "standard output is not a terminal: `phalanx top --once` prints one screen",
        ));
    }
    terminal::run(&admin, interval, args.sort).await
}
