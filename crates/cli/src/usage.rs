//! A wrong command line, in one line with a hint.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::command::check::EXIT_CHECK_UNKNOWN;
use crate::output::{self, EXIT_USAGE};

/// Prints what clap has to say. Help and version are results; all else is one line on standard error.
pub fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::raw(error.render().to_string().as_bytes(), false);
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::note(error.render().to_string().trim_end());
        }
        _ => output::note(&format!("phalanx: {}", one_line(&error.render().to_string()))),
    }
    // To monitoring, a wrong command line says nothing about the cluster.
    let checking = std::env::args().nth(1).is_some_and(|word| word == "check");
    ExitCode::from(if checking { EXIT_CHECK_UNKNOWN } else { EXIT_USAGE })
}

/// The error, its tips and the command whose help says more, from clap's paragraphs.
fn one_line(text: &str) -> String {
    let mut told: Vec<&str> = Vec::new();
    let mut hints = Vec::new();
    let mut usage = None;
    for line in text.lines().map(str::trim) {
        if let Some(shown) = line.strip_prefix("Usage: ") {
            usage = Some(shown);
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if !line.is_empty() && !line.starts_with("For more information") && usage.is_none() {
            told.push(line);
        }
    }
    let words = usage.unwrap_or("phalanx").split_whitespace();
    let command: Vec<&str> = words.take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    hints.push(format!("see `{} --help`", command.join(" ")));
    let told = told.join(" ");
    format!("{} ({})", told.strip_prefix("error: ").unwrap_or(&told), hints.join("; "))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let error = Cli::try_parse_from(words).unwrap_err();
        assert_eq!(one_line(&error.render().to_string()), expected);
    }

    #[test]
    fn a_wrong_command_line_is_one_line_with_a_hint() {
        check(
            &["phalanx", "queue", "info"],
            "the following required arguments were not provided: <NAME> (see `phalanx queue info --help`)",
        );
        check(
            &["phalanx", "queue", "create", "a", "--leese", "3s"],
            "unexpected argument '--leese' found (a similar argument exists: '--lease'; see `phalanx queue create --help`)",
        );
        check(
            &["phalanx", "send", "q", "--group"],
            "a value is required for '--group <KEY>' but none was supplied (see `phalanx --help`)",
        );
    }
}
