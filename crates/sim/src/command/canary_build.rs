//! The build that knows canaries.
//!
//! Cargo puts a wrapper in front of the compiler for the workspace's own crates only, and keeps their artifacts apart from the normal ones:
//! so what they depend on is shared with the normal build. The wrapper is this program, when [`WRAPS`] is set.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Set in the environment of a process that stands in for the compiler.
const WRAPS: &str = "PHALANX_SIM_WRAPS_RUSTC";
/// What the compiler is told beside its arguments.
const CFG: [&str; 2] = ["--cfg", "phalanx_test"];
/// The binary that the build makes, and the feature that allows it.
const BINARY: &str = "phalanx-sim-canaries";
const FEATURE: &str = "canaries";

/// As a wrapper: becomes the compiler that the arguments name. Returns only when there is none, or when this is no wrapper.
#[must_use]
pub fn stand_in_for_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut words = std::env::args_os().skip(1);
    let Some(compiler) = words.next() else {
        eprintln!("phalanx-sim: {WRAPS} is set, and no compiler is named");
        return Some(ExitCode::FAILURE);
    };
    let error = Command::new(&compiler).args(words).args(CFG).exec();
    eprintln!("phalanx-sim: {}: {error}", compiler.display());
    Some(ExitCode::FAILURE)
}

/// Makes the build beside this program, with the same profile; its path.
pub(super) fn build() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let place = program.parent().ok_or("this program is in no directory")?;
    let target = place.parent().ok_or("this program is in no target directory")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--package", env!("CARGO_PKG_NAME")]);
    command.args(["--bin", BINARY, "--features", FEATURE]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target);
    command.env("RUSTC_WORKSPACE_WRAPPER", &program).env(WRAPS, "1");
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(place.join(BINARY)) } else { Err(format!("the build with canaries: {status}")) }
}

/// Plants the bug of that name in this process.
#[cfg(phalanx_test)]
pub(super) fn plant(name: &str) -> Result<(), String> {
    super::canaries::find(name)?.plant();
    Ok(())
}

/// Plants the bug of that name in this process: not in this build.
#[cfg(not(phalanx_test))]
pub(super) fn plant(name: &str) -> Result<(), String> {
    super::canaries::find(name)?;
    Err(format!("this build knows no canaries: `phalanx-sim canaries` makes one that does, {BINARY}"))
}
