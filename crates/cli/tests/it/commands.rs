//! The command line against a real cluster, as a user or a script runs it: results, one-line errors, exit statuses.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use phalanx_testkit::{LocalCluster, Options};
use serde_json::Value;

/// A fault shows within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that was run.
struct Ran {
    line: String,
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "phalanx {}: {}{}", self.line, self.out, self.err);
        self.out
    }

    /// It failed with this status and one line that says all these.
    #[track_caller]
    fn fails(self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "phalanx {}: {}{}", self.line, self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "phalanx {}: more than a line: {}", self.line, self.err);
        for word in words {
            assert!(self.err.contains(word), "phalanx {}: {word:?} is not in {}", self.line, self.err);
        }
    }
}

struct Shell {
    servers: String,
    contexts: PathBuf,
}

impl Shell {
    /// Runs `phalanx LINE`, words apart by spaces, with this on standard input.
    fn feed(&self, line: &str, input: &str) -> Ran {
        self.with(line, input, &[("PHALANX_SERVERS", self.servers.as_str())])
    }

    fn run(&self, line: &str) -> Ran {
        self.feed(line, "")
    }

    fn with(&self, line: &str, input: &str, variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_phalanx"));
        for name in ["PHALANX_SERVERS", "PHALANX_CONTEXT", "PHALANX_NAMESPACE"] {
            command.env_remove(name);
        }
        command.env("PHALANX_CONTEXTS", &self.contexts).envs(variables.iter().copied());
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary is built");
        // A command need not read its input.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        Ran {
            line: line.to_owned(),
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        let out = self.run(&format!("{line} --output json")).ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("phalanx {line}: {error}: {out}"))
    }
}

async fn start(dir: &Path, nodes: usize) -> (LocalCluster, Shell) {
    let mut options = Options::new(env!("CARGO_BIN_EXE_phalanx"), dir);
    (options.nodes, options.shards) = (nodes, 2);
    let cluster = LocalCluster::start(&options).await.expect("free nodes become a cluster");
    let servers = cluster.addresses().join(",");
    (cluster, Shell { servers, contexts: dir.join("contexts.toml") })
}

const DECLARED: &str =
    "[[queue]]\nname = 'orders'\nlease = '45s'\n[[queue]]\nname = 'audit'\nstrict = true\n";

const TOPICS: &str = "[[queue]]
name = 'kept'
[[topic]]
name = 'events'
retain = '1h'
length_max = 7
[[topic.subscription]]
name = 'eu'
pattern = '*.eu'
lease = '5s'
[[topic.subscription]]
name = 'all'
[[topic.binding]]
name = 'kept'
to = 'kept'
filter = 'exists(keep)'
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_declares_queues_and_an_export_declares_them_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut cluster, shell) = start(dir.path(), 1).await;
    let file = dir.path().join("queues.toml");
    fs::write(&file, DECLARED).expect("a file");
    let apply = format!("apply -f {}", file.display());

    let dry = shell.run(&format!("{apply} --dry-run")).ok();
    assert!(dry.contains("+ queue orders") && dry.contains("nothing was changed"), "{dry}");
    assert_eq!(shell.json("queue list"), serde_json::json!([]));
    shell.run(&apply).ok();
    assert!(shell.run(&apply).ok().contains("0 to change, 2 as declared"));
    let exported = shell.run("export").ok();
    assert!(
        shell.feed("apply -f - --prune", &exported).ok().contains("0 to change, 2 as declared"),
        "{exported}"
    );
    let exported = shell.run("export -o json").ok();
    assert!(shell.feed("apply -f -", &exported).ok().contains("0 to change, 2 as declared"), "{exported}");

    fs::write(&file, "[[queue]]\nname = 'orders'\nlease = '1m'\n").expect("a file");
    let plan = shell.json(&format!("{apply} --dry-run --prune"));
    let changes = serde_json::json!([{ "setting": "lease", "from": "45s", "to": "1m" }]);
    assert_eq!(plan["steps"][0]["changes"], changes);
    let deletion = serde_json::json!({ "action": "delete", "kind": "queue", "name": "audit", "changes": [] });
    assert_eq!(plan["steps"][1], deletion);
    shell.run(&format!("{apply} --prune --yes")).ok();
    assert_eq!(shell.json("queue info orders")["settings"]["lease_ms"], 60_000);
    shell.run("queue info audit").fails(1, &["queue not found", "audit"]);

    let made = shell.feed("apply -f -", TOPICS).ok();
    assert!(made.contains("+ topic events") && made.contains("+ binding events/kept"), "{made}");
    assert!(shell.feed("apply -f -", TOPICS).ok().contains("0 to change, 5 as declared"));
    let exported = shell.run("export").ok();
    assert!(shell.feed("apply -f - --prune", &exported).ok().contains("0 to change"), "{exported}");
    let changed = shell.feed("apply -f -", &TOPICS.replace("*.eu", "*.us")).ok();
    assert!(
        changed.contains("~ subscription events/eu") && changed.contains("pattern: *.eu -> *.us"),
        "{changed}"
    );
    shell.feed("apply -f -", &TOPICS.replace("to = 'kept'", "to = 'orders'")).fails(1, &["to cannot change"]);
    shell.feed("apply -f - --prune --yes", "[[queue]]\nname = 'orders'\n").ok();
    assert_eq!(shell.json("topic list"), serde_json::json!([]));

    shell.feed("apply -f -", "[[queue]]\nname = 'orders'\nstrict = true").fails(1, &["strict cannot change"]);
    shell.feed("apply -f -", "\n[[queue]]\nnam = 'x'").fails(1, &["standard input", "line 3", "nam"]);
    shell.run("apply -f /nowhere.toml").fails(1, &["/nowhere.toml"]);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_can_be_looked_at_moved_and_described_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut cluster, shell) = start(dir.path(), 1).await;
    for queue in ["orders", "copy"] {
        shell.run(&format!("queue create {queue}")).ok();
    }
    let lines = concat!(
        r#"{"body":"one","group":"ann","headers":{"tenant":"acme","raw_base64":"/w=="}}"#,
        "\n",
        r#"{"body_base64":"AP8=","group":"bob","deduplication_id":"d1"}"#,
        "\n",
    );
    shell.feed("send orders --json --header tenant=other --header via=cli", lines).ok();
    shell.run("send orders three --group ann --correlation-id c --reply-to answers").ok();
    let seen = shell.run("queue peek orders --json-is-not-an-option");
    seen.fails(2, &["unexpected argument", "--help"]);

    let seen = shell.run("queue peek orders --headers").ok();
    assert!(seen.contains("#1  ready  group ann  one\n") && seen.contains("    tenant: acme\n"), "{seen}");
    assert!(seen.contains("    correlation_id: c\n") && seen.contains("    via: cli\n"), "{seen}");
    let rare = shell.run("queue peek orders --group ann --from 2 -o raw").ok();
    assert_eq!(rare, "three\n");
    let groups = shell.json("queue groups orders --sort key");
    let told: Vec<_> = groups["groups"].as_array().expect("a list").iter().collect();
    assert_eq!((told.len(), &told[0]["key"], &told[0]["messages"]), (2, &"ann".into(), &2.into()));

    let moved = shell.run("consume orders --json").ok();
    assert_eq!(moved.lines().count(), 3);
    shell.feed("send copy --json", &moved).ok();
    let strip = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
        let lines = lines.map(|mut line| {
            for own in ["sequence", "token", "attempt", "enqueued_ms"] {
                assert!(line.as_object_mut().expect("an object").remove(own).is_some());
            }
            line
        });
        lines.collect()
    };
    let copied = shell.run("receive copy -n 9 --wait 5s --json").ok();
    assert_eq!(strip(&copied), strip(&moved));
    shell
        .feed("send copy --json", "{\"body\":\"good\"}\n{}\n")
        .fails(1, &["line 2 is no message", "the first line was sent"]);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_name_clusters() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut cluster, shell) = start(dir.path(), 1).await;
    let bare = |line: &str| shell.with(line, "", &[]);
    bare("queue list --context prod").fails(2, &["no context \"prod\"", "context add prod"]);
    bare("context add prod").fails(2, &["--servers"]);
    bare(&format!("context add prod --servers {} --namespace shop", shell.servers)).ok();
    bare("queue create orders --context prod").ok();
    bare("context use prod").ok();
    bare("send orders hello").ok();
    assert!(bare("context list").ok().contains("prod"));
    let info = bare("queue info orders -o json").ok();
    assert!(info.contains("\"namespace\":\"shop\"") && info.contains("\"ready\":1"), "{info}");
    bare("queue info orders --namespace default").fails(1, &["queue not found"]);
    bare("context remove prod").ok();
    bare("queue list --timeout 1 --context prod").fails(2, &["no context"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(&shell.contexts).expect("it is there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&shell.contexts, "current = 3").expect("a file");
    bare("queue list").fails(1, &["contexts.toml", "correct the file"]);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_top_tell_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut cluster, shell) = start(dir.path(), 3).await;
    shell.run("queue create orders").ok();
    let calm = shell.run("check");
    assert!(calm.out.starts_with("PHALANX OK: 3 of 3 nodes, 3 of 3 groups led | nodes=3"), "{}", calm.out);
    assert_eq!(calm.status, 0);
    shell.feed("send orders --lines", "1\n2\n3\n").ok();
    let full = shell.run("check queue orders --ready-warning 1 --ready-critical 2");
    assert_eq!((full.status, full.err.as_str()), (2, ""));
    assert!(
        full.out.starts_with("PHALANX CRITICAL: queue orders: 3 messages wait | ready=3"),
        "{}",
        full.out
    );
    assert_eq!(shell.run("check queue orders --ready-warning 2").status, 1);
    assert_eq!(shell.run("check queue orders --ready-warning 3").status, 0);
    assert_eq!(shell.run("check queue orders --consumers-min 1").status, 2);
    assert_eq!(shell.run("check queue nothing").status, 2);
    assert_eq!(shell.run("check --no-such-option").status, 3);
    assert_eq!(shell.run("check --context nowhere --servers").status, 3);

    let top = shell.run("top --once --interval 200ms").ok();
    assert!(top.contains("3 of 3 nodes") && top.contains("orders"), "{top}");
    shell.run("top").fails(2, &["not a terminal", "--once"]);

    cluster.node(3).kill().await.expect("node 3 is running");
    // Its shards get other leaders, and its peers notice within a few heartbeats.
    let begin = std::time::Instant::now();
    let hurt = loop {
        let hurt = shell.run("check");
        if (hurt.status == 1 && hurt.out.contains("node 3")) || begin.elapsed() > PATIENCE {
            break hurt;
        }
    };
    assert!(hurt.out.starts_with("PHALANX WARNING: node 3 does not answer"), "{}", hurt.out);
    cluster.node(2).kill().await.expect("node 2 is running");
    cluster.node(1).kill().await.expect("node 1 is running");
    let dead = shell.run("check --timeout 2");
    assert_eq!(dead.status, 2);
    assert!(dead.out.starts_with("PHALANX CRITICAL"), "{}", dead.out);
}

/// Every field that `--output json` has, by command: nothing that a script reads goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_output_keeps_every_field() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut cluster, shell) = start(dir.path(), 1).await;
    let mut fields = BTreeSet::new();
    let mut note = |name: &str, line: &str| collect(name, "", &shell.json(line), &mut fields);
    note(
        "queue create",
        "queue create orders --lease 30s --length-max 9 --bytes-max 1GiB --dedup-window 1m --resume 5s --body-bytes-max 2MiB",
    );
    note("queue list", "queue list");
    note("queue update", "queue update orders --lease 31s");
    note("send", "send orders first --group g");
    shell.run("receive orders --no-ack").ok();
    note("queue info", "queue info orders");
    note("queue consumers", "queue consumers orders");
    note("queue groups", "queue groups orders");
    note("queue peek", "queue peek orders --count 1");
    note("queue purge", "queue purge orders --yes");
    shell.feed("send orders --json", r#"{"body":"b","group":"g","headers":{"h":"1"},"content_type":"t","deduplication_id":"d","correlation_id":"c","reply_to":"r","traceparent":"t"}"#).ok();
    note("receive", "receive orders");
    note("cluster status", "cluster status");
    note("check", "check queue orders");
    note("top", "top --once --interval 200ms");
    note("export", "export");
    note("context list", "context list");
    fs::write(dir.path().join("f.toml"), "[[queue]]\nname = 'orders'\nlease = '1m'\n").expect("a file");
    note("apply", &format!("apply --dry-run -f {}", dir.path().join("f.toml").display()));
    note("queue delete", "queue delete orders --yes");
    note("topic create", "topic create news --length-max 9 --dedup-window 1m");
    note("subscription create", "subscription create news eu --pattern *.eu --filter exists(n) --lease 5s");
    note("subscription list", "subscription list news");
    note("subscription update", "subscription update news eu --filter not(exists(n))");
    shell.run("send news hello --routing-key a.eu --mandatory").ok();
    note("topic info", "topic info news");
    note("topic list", "topic list");
    note("topic update", "topic update news --length-max 10");
    note("queue create", "queue create copies");
    note("binding create", "binding create news copy --to copies --pattern *.eu");
    note("binding list", "binding list news");
    note("binding info", "binding info news copy");
    note("binding update", "binding update news copy --filter exists(n)");
    note("binding delete", "binding delete news copy --yes");
    note("subscription delete", "subscription delete news eu --yes");
    note("topic delete", "topic delete news --yes");

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/json.txt");
    let golden: BTreeSet<String> =
        fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
    let gone: Vec<_> = golden.difference(&fields).collect();
    assert!(gone.is_empty(), "scripts may read these fields, which are gone: {gone:?}");
    if std::env::var_os("PHALANX_GOLDEN").is_some_and(|value| value == "add") {
        fs::write(&path, fields.iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("a golden file");
    } else {
        let new: Vec<_> = fields.difference(&golden).collect();
        assert!(new.is_empty(), "not in tests/golden/json.txt (PHALANX_GOLDEN=add adds them): {new:?}");
    }
    cluster.stop().await.expect("a clean end");
}

/// Adds `command: .path.to.field` for each field.
fn collect(command: &str, path: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, below) in object {
                let path = format!("{path}.{name}");
                into.insert(format!("{command}: {path}"));
                collect(command, &path, below, into);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| collect(command, &format!("{path}[]"), item, into))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_command_has_a_manual_page_and_help() {
    let dir = tempfile::tempdir().expect("a directory");
    let shell = Shell { servers: String::new(), contexts: dir.path().join("contexts.toml") };
    shell.run(&format!("man {}", dir.path().join("man").display())).ok();
    for page in ["phalanx.1", "phalanx-queue-peek.1", "phalanx-top.1"] {
        let text = fs::read_to_string(dir.path().join("man").join(page)).expect("a page");
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    for line in ["--help", "queue --help", "queue peek --help", "check queue --help", "apply --help"] {
        assert!(shell.run(line).ok().contains("Usage: phalanx"), "{line}");
    }
}
