//! Configuration: every rule, the environment, and the page that describes the keys.

use phalanx_server::config::{self, EngineKind, KEYS, environment_names};

const GOOD: &str = r#"
[node]
id = 2
data_dir = "/tmp/none"
[[peers]]
id = 1
peer = "127.0.0.1:7521"
client = "127.0.0.1:7421"
[[peers]]
id = 2
peer = "127.0.0.1:7522"
client = "127.0.0.1:7422"
[[peers]]
id = 3
peer = "127.0.0.1:7523"
client = "127.0.0.1:7423"
"#;

/// `GOOD` with some variables over it.
fn with(variables: &[(&str, &str)]) -> Result<config::NodeConfig, config::ConfigError> {
    config::load(GOOD, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn refused(variables: &[(&str, &str)], rule: &str) {
    let error = with(variables).expect_err(rule);
    assert_eq!(error.rule, rule, "{error}");
    assert!(error.to_string().contains(rule), "the message names the rule: {error}");
}

#[test]
fn complete_file_is_accepted_with_documented_defaults() {
    let config = with(&[]).unwrap();
    assert_eq!(config.client.listen, "127.0.0.1:7420");
    assert_eq!(config.peer.listen, "127.0.0.1:7520");
    assert_eq!(config.admin.listen, "127.0.0.1:7620");
    assert_eq!(config.client_address(), "127.0.0.1:7422");
    assert_eq!(config.peer_address(), "127.0.0.1:7522");
    assert_eq!((config.cluster.shards, config.replicas()), (8, 3));
    assert_eq!(config.checkpoint.engine, EngineKind::Sled);
}

#[test]
fn single_node_needs_only_an_id_and_a_directory() {
    let config = config::load("node = { id = 1, data_dir = \"x\" }", []).unwrap();
    assert_eq!(config.replicas(), 1);
    assert_eq!(config.members().len(), 1);
    assert_eq!(config.members()[0].client, "127.0.0.1:7420");
}

#[test]
fn environment_overrides_the_file_in_both_spellings() {
    let config = with(&[
        ("PHALANX_NODE_ID", "3"),
        ("PHALANX_NODE__DATA_DIR", "/tmp/other"),
        ("PHALANX_CHECKPOINT__ENGINE", "redb"),
        ("PHALANX_CLUSTER_SHARDS", "4"),
        ("PHALANX_ENDPOINT", "belongs to the client commands"),
    ])
    .unwrap();
    assert_eq!(config.node.id, 3);
    assert_eq!(config.node.data_dir.to_str(), Some("/tmp/other"));
    assert_eq!(config.checkpoint.engine, EngineKind::Redb);
    assert_eq!(config.cluster.shards, 4);
}

#[test]
fn peers_come_from_the_environment_too() {
    let config = with(&[("PHALANX_PEERS", "2=b:1/b:2/zone-b, 5=c:1/c:2")]).unwrap();
    assert_eq!(config.members().iter().map(|peer| peer.id).collect::<Vec<_>>(), [2, 5]);
    assert_eq!(config.members()[0].zone, "zone-b");
    refused(&[("PHALANX_PEERS", "2=b:1")], "environment.type");
}

#[test]
fn mistyped_variables_and_keys_are_refused() {
    refused(&[("PHALANX_NODE_IDD", "1")], "environment.known");
    refused(&[("PHALANX_NODE_ID", "one")], "environment.type");
    refused(&[("PHALANX_INSECURE", "yes")], "environment.type");
    let error = config::load("nodes = 3", []).expect_err("unknown key");
    assert_eq!(error.rule, "file.shape");
    assert_eq!(with(&[("PHALANX_CHECKPOINT_ENGINE", "rocks")]).expect_err("engine").rule, "file.shape");
}

#[test]
fn each_rule_refuses_what_it_is_for() {
    refused(&[("PHALANX_NODE_ID", "0")], "node.id.range");
    refused(&[("PHALANX_NODE_ID", "65536")], "node.id.range");
    refused(&[("PHALANX_NODE_DATA_DIR", "")], "node.data_dir.set");
    refused(&[("PHALANX_CLIENT_LISTEN", "7420")], "listen.address");
    refused(&[("PHALANX_CLIENT_LISTEN", "0.0.0.0:7420")], "listen.insecure");
    refused(&[("PHALANX_PEER_LISTEN", "[::]:7520")], "listen.insecure");
    refused(&[("PHALANX_ADMIN_LISTEN", "10.0.0.1:7620")], "listen.insecure");
    refused(&[("PHALANX_CLIENT_ADVERTISE", "no-port")], "advertise.address");
    refused(&[("PHALANX_CLIENT_ADVERTISE", "127.0.0.1:9")], "peers.advertise");
    refused(&[("PHALANX_PEERS", "2=0.0.0.0:1/b:2")], "advertise.address");
    refused(&[("PHALANX_PEERS", "1=a:1/a:2,3=c:1/c:2")], "peers.self");
    refused(&[("PHALANX_PEERS", "2=a:1/a:2,2=c:1/c:2")], "peers.id");
    refused(&[("PHALANX_PEERS", "2=a:1/a:2,0=c:1/c:2")], "peers.id");
    refused(&[("PHALANX_PEERS", "2=a:1/a:2,3=a:1/c:2")], "peers.address");
    let eight: Vec<_> = (1..=8).map(|id| format!("{id}=n{id}:1/n{id}:2")).collect();
    refused(&[("PHALANX_PEERS", &eight.join(","))], "peers.count");
    refused(&[("PHALANX_CLUSTER_SHARDS", "0")], "cluster.shards");
    refused(&[("PHALANX_CLUSTER_SHARDS", "257")], "cluster.shards");
    refused(&[("PHALANX_CLUSTER_REPLICAS", "2")], "cluster.replicas");
    refused(&[("PHALANX_CLUSTER_REPLICAS", "5")], "cluster.replicas");
    refused(&[("PHALANX_WAL_SEGMENT_BYTES", "1048577")], "wal.segment_bytes");
    refused(&[("PHALANX_WAL_SEGMENT_BYTES", "1048576")], "wal.segment_bytes");
    refused(&[("PHALANX_WAL_BUDGET_BYTES", "67108864")], "wal.budget_bytes");
    refused(&[("PHALANX_LIMITS_REQUEST_BYTES", "1")], "limits.request_bytes");
    refused(&[("PHALANX_LIMITS_CONNECTIONS", "0")], "limits.connections");
    refused(&[("PHALANX_LIMITS_STREAMS", "0")], "limits.streams");
}

#[test]
fn insecure_allows_listeners_off_loopback() {
    let config = with(&[("PHALANX_INSECURE", "true"), ("PHALANX_CLIENT_LISTEN", "0.0.0.0:7420")]).unwrap();
    assert_eq!(config.client_address(), "127.0.0.1:7422");
}

#[test]
fn every_key_is_described_and_the_example_of_the_page_is_valid() {
    let page = include_str!("../../../../docs/operating/configuration.md");
    for key in KEYS {
        assert!(page.contains(&format!("| `{}` |", key.name)), "{} is not in the page's table", key.name);
        assert!(environment_names(key.name)[0].starts_with("PHALANX_"));
    }
    let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = config::load(example, []).unwrap();
    assert_eq!(config.members().len(), 3);
}
