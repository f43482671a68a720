//! `phalanx man`: the manual pages.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::args::{Cli, Common};
use crate::output::{Failure, Outcome, show};

/// Runs `phalanx man`: a page for each command, `phalanx.1`, `phalanx-queue.1`, `phalanx-queue-create.1`, ...
pub fn run(dir: &Path, common: &Common) -> Outcome {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut command = Cli::command().disable_help_flag(true);
    command.build();
    let mut names = Vec::new();
    write(&command, "phalanx", dir, &mut names).map_err(failed)?;
    show(common.output, &serde_json::json!({ "directory": dir, "pages": names }), || {
        format!(
            "{} pages in {}; read one with `man -l {}/phalanx.1`",
            names.len(),
            dir.display(),
            dir.display()
        )
    })
}

fn write(command: &Command, name: &str, dir: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    let page = format!("{name}.1");
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    fs::write(dir.join(&page), text)?;
    names.push(page);
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| write(below, &format!("{name}-{}", below.get_name()), dir, names))
}
