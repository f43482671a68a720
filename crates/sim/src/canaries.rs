//! The simulation in the build that knows canaries: `phalanx-sim canaries` makes it, beside the normal one and with its dependencies.

use std::process::ExitCode;

fn main() -> ExitCode {
    phalanx_sim::main()
}
