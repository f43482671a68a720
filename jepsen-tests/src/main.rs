//! `jepsen`. See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    phalanx_jepsen::command::main()
}
