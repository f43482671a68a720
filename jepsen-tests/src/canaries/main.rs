//! A server in the build that knows canaries: `jepsen canaries` makes it. Takes the same words as `phalanx server`, and plants the bug that the
//! variable `CANARY` names.

#[cfg(phalanx_test)]
mod server;

use std::process::ExitCode;

#[cfg(phalanx_test)]
fn main() -> ExitCode {
    server::main()
}

#[cfg(not(phalanx_test))]
fn main() -> ExitCode {
    eprintln!("phalanx-canaries: this build knows no canaries: `jepsen canaries` makes one that does");
    ExitCode::from(2)
}
