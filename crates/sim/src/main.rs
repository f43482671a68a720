//! The simulation. See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    phalanx_sim::main()
}
