//! Which cluster a command talks to: the command line, the environment, or a remembered context.
//!
//! Order, the first that says something wins: `--servers`, `--context`, `PHALANX_SERVERS`, `PHALANX_CONTEXT`, the context in use, the
//! cluster of `phalanx dev`. Namespace and timeout: their option, their variable, the chosen context's, the default.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::Common;
use crate::output::Failure;

/// One request is given up after this many seconds unless something else is said.
const TIMEOUT_DEFAULT_S: u64 = 15;
const NAMESPACE_DEFAULT: &str = "default";

/// The file of contexts.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them, by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// A remembered cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Addresses of nodes.
    pub servers: Vec<String>,
    /// `None`: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Seconds for one request; `None`: 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Whom to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The context's name, if it came from one.
    pub context: Option<String>,
    /// Addresses of nodes.
    pub servers: Vec<String>,
    /// Where queues are looked for.
    pub namespace: String,
    /// Time for one request.
    pub timeout: Duration,
}

impl Destination {
    /// What the options, the environment and the contexts say.
    ///
    /// # Errors
    /// A context that is not there, or a file that cannot be read.
    pub fn of(common: &Common) -> Result<Self, Failure> {
        Self::resolve(common, |name| env::var(name).ok().filter(|value| !value.is_empty()), Contexts::load)
    }

    fn resolve(
        common: &Common,
        variable: impl Fn(&str) -> Option<String>,
        load: impl FnOnce() -> Result<Contexts, Failure>,
    ) -> Result<Self, Failure> {
        let listed = |text: String| text.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
        let direct = match (&common.servers, &common.context) {
            (Some(servers), _) => Some(servers.iter().map(|one| one.trim().to_owned()).collect()),
            (None, Some(_)) => None,
            (None, None) => variable("PHALANX_SERVERS").map(listed),
        };
        let (context, chosen) = match &direct {
            Some(_) => (None, Context::default()),
            None => {
                let contexts = load()?;
                let name = common.context.clone().or_else(|| variable("PHALANX_CONTEXT"));
                let name = name.or_else(|| contexts.current.clone());
                let found = name.as_deref().map(|name| contexts.get(name)).transpose()?;
                (name, found.unwrap_or_default())
            }
        };
        let dev = || phalanx_client::limits::DEFAULT_ADDRESSES.map(str::to_owned).to_vec();
        let servers = direct.unwrap_or_else(|| if context.is_some() { chosen.servers } else { dev() });
        let namespace = common.namespace.clone().or_else(|| variable("PHALANX_NAMESPACE"));
        let namespace = namespace.or(chosen.namespace).unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned());
        let timeout = common.timeout.or(chosen.timeout).unwrap_or(TIMEOUT_DEFAULT_S);
        Ok(Self { context, servers, namespace, timeout: Duration::from_secs(timeout) })
    }
}

impl Contexts {
    /// The file: `PHALANX_CONTEXTS`, or `phalanx/contexts.toml` below the user's configuration directory.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn path() -> Result<PathBuf, Failure> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let below = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        set("PHALANX_CONTEXTS")
            .or_else(|| below.map(|dir| dir.join("phalanx/contexts.toml")))
            .ok_or_else(|| Failure::new("no place for contexts: set HOME, or PHALANX_CONTEXTS to a file"))
    }

    /// What is remembered; nothing if there is no file.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn load() -> Result<Self, Failure> {
        // Without a home there are no contexts; that is only an error for one who asks for them.
        let Ok(path) = Self::path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(at(&path, error)),
        };
        toml::from_str(&text).map_err(|error| {
            let what = error.message().trim();
            Failure::new(format!("{}: {what}; correct the file or remove it", path.display()))
        })
    }

    /// Writes the file anew, readable for its owner only; a reader finds the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), Failure> {
        let path = Self::path()?;
        let text = toml::to_string(self).map_err(|error| Failure::new(error.to_string()))?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
        }
        let draft = path.with_extension(format!("toml.{}", std::process::id()));
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().map_err(|error| at(&path, error))
    }

    /// A context by name.
    ///
    /// # Errors
    /// When there is none; names those there are.
    pub fn get(&self, name: &str) -> Result<Context, Failure> {
        self.contexts.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => format!("`phalanx context add {name} --servers HOST:PORT` makes it"),
                known => format!("there are: {}", known.join(", ")),
            };
            Failure::usage(format!("no context {name:?} ({hint})"))
        })
    }
}

fn at(path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Output;

    fn common(servers: Option<&str>, context: Option<&str>) -> Common {
        Common {
            servers: servers.map(|one| vec![one.to_owned()]),
            context: context.map(str::to_owned),
            namespace: None,
            output: Output::Table,
            timeout: None,
        }
    }

    fn contexts() -> Contexts {
        let context = |server: &str| Context {
            servers: vec![server.to_owned()],
            namespace: Some(format!("of {server}")),
            timeout: Some(3),
        };
        let contexts = [("one".to_owned(), context("c1")), ("two".to_owned(), context("c2"))];
        Contexts { current: Some("one".into()), contexts: contexts.into() }
    }

    fn resolve(common: &Common, variables: &[(&str, &str)]) -> (Vec<String>, String) {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let found = Destination::resolve(common, variable, || Ok(contexts())).unwrap();
        (found.servers, found.namespace)
    }

    #[test]
    fn what_is_said_closest_wins() {
        let of = |server: &str, namespace: &str| (vec![server.to_owned()], namespace.to_owned());
        let both = [("PHALANX_SERVERS", "e"), ("PHALANX_CONTEXT", "two")];
        assert_eq!(resolve(&common(Some("s"), Some("two")), &both), of("s", "default"));
        assert_eq!(resolve(&common(None, Some("two")), &both), of("c2", "of c2"));
        assert_eq!(resolve(&common(None, None), &both), of("e", "default"));
        assert_eq!(resolve(&common(None, None), &both[1..]), of("c2", "of c2"));
        assert_eq!(resolve(&common(None, None), &[]), of("c1", "of c1"));
        assert_eq!(resolve(&common(None, None), &[("PHALANX_NAMESPACE", "n")]), of("c1", "n"));
    }

    #[test]
    fn a_context_that_is_not_there_names_those_that_are() {
        let common = common(None, Some("three"));
        let failure = Destination::resolve(&common, |_| None, || Ok(contexts())).unwrap_err();
        assert_eq!(failure.message, "no context \"three\" (there are: one, two)");
    }

    #[test]
    fn the_file_reads_back_as_it_was_written() {
        let text = toml::to_string(&contexts()).unwrap();
        assert_eq!(toml::from_str::<Contexts>(&text).unwrap(), contexts());
        assert!(toml::from_str::<Contexts>("curent = \"one\"").is_err(), "a misspelt key is refused");
    }
}
