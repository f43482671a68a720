//! The keys that exist, and how an environment variable names one.

use super::rules::ConfigError;

/// Type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number, at least 0.
    Number,
    /// `true` or `false`.
    Switch,
    /// `id=peer-address/client-address[/zone]`, separated by commas. In the file: `[[peers]]`.
    Peers,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file, with dots.
    pub name: &'static str,
    /// Type of its value.
    pub kind: Kind,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// All keys.
pub const KEYS: &[Key] = &[
    key("insecure", Kind::Switch),
    key("node.id", Kind::Number),
    key("node.data_dir", Kind::Text),
    key("client.listen", Kind::Text),
    key("client.advertise", Kind::Text),
    key("peer.listen", Kind::Text),
    key("peer.advertise", Kind::Text),
    key("admin.listen", Kind::Text),
    key("peers", Kind::Peers),
    key("cluster.shards", Kind::Number),
    key("cluster.replicas", Kind::Number),
    key("wal.segment_bytes", Kind::Number),
    key("wal.budget_bytes", Kind::Number),
    key("checkpoint.engine", Kind::Text),
    key("limits.request_bytes", Kind::Number),
    key("limits.payload_memory_bytes", Kind::Number),
    key("limits.connections", Kind::Number),
    key("limits.streams", Kind::Number),
];

/// The variables that set a key: `node.data_dir` is `PHALANX_NODE_DATA_DIR` and, with the nesting made visible,
/// `PHALANX_NODE__DATA_DIR`.
#[must_use]
pub fn environment_names(key: &str) -> [String; 2] {
    let upper = key.to_uppercase();
    [format!("PHALANX_{}", upper.replace('.', "_")), format!("PHALANX_{}", upper.replace('.', "__"))]
}

/// Puts the variables that name a key over the file's values. A variable that begins like a section and names no key of it is an
/// error: it is a typing mistake. Other `PHALANX_` variables belong to other commands.
pub(super) fn overlay(
    table: &mut toml::Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with("PHALANX_")).collect();
    variables.sort();
    for (name, text) in variables {
        if let Some(key) = KEYS.iter().find(|key| environment_names(key.name).contains(&name)) {
            let value = value(key, &name, &text)?;
            set(table, key.name, value)?;
        } else if sections().any(|section| name.starts_with(&format!("PHALANX_{}_", section.to_uppercase())))
        {
            return Err(ConfigError::new(
                "environment.known",
                format!("{name} names no key of the configuration"),
            ));
        }
    }
    Ok(())
}

fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.name.split_once('.').map(|(section, _)| section))
}

fn value(key: &Key, name: &str, text: &str) -> Result<toml::Value, ConfigError> {
    let wrong = |expected: &str| {
        ConfigError::new("environment.type", format!("{name} = {text:?}: {expected} was expected"))
    };
    Ok(match key.kind {
        Kind::Text => toml::Value::String(text.to_owned()),
        Kind::Number => toml::Value::Integer(text.trim().parse().map_err(|_| wrong("a whole number"))?),
        Kind::Switch => toml::Value::Boolean(text.trim().parse().map_err(|_| wrong("true or false"))?),
        Kind::Peers => peers(text).ok_or_else(|| wrong("id=peer-address/client-address[/zone],..."))?,
    })
}

fn peers(text: &str) -> Option<toml::Value> {
    let mut list = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (id, addresses) = item.split_once('=')?;
        let mut parts = addresses.split('/');
        let (peer, client, zone) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        if parts.next().is_some() {
            return None;
        }
        let mut row = toml::Table::new();
        row.insert("id".to_owned(), toml::Value::Integer(id.trim().parse().ok()?));
        for (field, text) in [("peer", peer), ("client", client), ("zone", zone)] {
            row.insert(field.to_owned(), toml::Value::String(text.trim().to_owned()));
        }
        list.push(toml::Value::Table(row));
    }
    Some(toml::Value::Array(list))
}

fn set(table: &mut toml::Table, name: &str, value: toml::Value) -> Result<(), ConfigError> {
    let Some((section, field)) = name.split_once('.') else {
        table.insert(name.to_owned(), value);
        return Ok(());
    };
    let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let Some(section_table) = entry.as_table_mut() else {
        return Err(ConfigError::new("file.shape", format!("{section} must be a section")));
    };
    section_table.insert(field.to_owned(), value);
    Ok(())
}
