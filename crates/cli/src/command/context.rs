//! `phalanx context`: clusters remembered by name.

use serde::Serialize;

use crate::args::{Common, ContextCommand};
use crate::context::{Context, Contexts};
use crate::output::{Failure, Outcome, show, table};

#[derive(Serialize)]
struct ListJson<'a> {
    file: String,
    current: Option<&'a str>,
    contexts: Vec<ContextJson<'a>>,
}

#[derive(Serialize)]
struct ContextJson<'a> {
    name: &'a str,
    servers: &'a [String],
    namespace: Option<&'a str>,
    timeout: Option<u64>,
}

/// Runs `phalanx context ...`.
pub fn run(command: ContextCommand, common: &Common) -> Outcome {
    let mut contexts = Contexts::load()?;
    let changed = match command {
        ContextCommand::List => return list(&contexts, common),
        ContextCommand::Add { name } => {
            let servers = common.servers.clone().ok_or_else(|| {
                Failure::usage(format!("say which cluster: phalanx context add {name} --servers HOST:PORT"))
            })?;
            let context = Context { servers, namespace: common.namespace.clone(), timeout: common.timeout };
            contexts.contexts.insert(name.clone(), context);
            format!("context {name} is remembered; `phalanx context use {name}` makes it the one in use")
        }
        ContextCommand::Use { name } => {
            contexts.get(&name)?;
            contexts.current = Some(name.clone());
            format!("context {name} is in use")
        }
        ContextCommand::Clear => {
            contexts.current = None;
            "no context is in use".to_owned()
        }
        ContextCommand::Remove { name } => {
            contexts.get(&name)?;
            contexts.contexts.remove(&name);
            contexts.current.take_if(|current| *current == name);
            format!("context {name} is forgotten")
        }
    };
    contexts.save()?;
    show(common.output, &json(&contexts)?, || changed)
}

fn json(contexts: &Contexts) -> Result<ListJson<'_>, Failure> {
    let rows = contexts.contexts.iter().map(|(name, context)| ContextJson {
        name,
        servers: &context.servers,
        namespace: context.namespace.as_deref(),
        timeout: context.timeout,
    });
    let file = Contexts::path()?.display().to_string();
    Ok(ListJson { file, current: contexts.current.as_deref(), contexts: rows.collect() })
}

fn list(contexts: &Contexts, common: &Common) -> Outcome {
    show(common.output, &json(contexts)?, || {
        if contexts.contexts.is_empty() {
            return "no contexts; `phalanx context add NAME --servers HOST:PORT` makes one".to_owned();
        }
        let rows = contexts.contexts.iter().map(|(name, context)| {
            let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
            let namespace = context.namespace.clone().unwrap_or_default();
            vec![mark.to_owned(), name.clone(), context.servers.join(" "), namespace]
        });
        table(&["", "context", "servers", "namespace"], rows.collect())
    })
}
