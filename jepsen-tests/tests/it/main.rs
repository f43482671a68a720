//! The program as it is called: exit codes, and what it says.

use std::io::Write as _;
use std::process::{Command, Output};

/// One message, sent, leased, acknowledged; and the queue was empty in the end.
const HISTORY: [&str; 8] = [
    r#"{:index 0, :time 0, :type :info, :process :nemesis, :f :queue, :value nil, :queue "q", :note "plain"}"#,
    r#"{:index 1, :time 10, :type :invoke, :process 0, :f :enqueue, :value 1, :queue "q"}"#,
    r#"{:index 2, :time 20, :type :ok, :process 0, :f :enqueue, :value 1, :queue "q", :sequence 1}"#,
    r#"{:index 3, :time 30, :type :invoke, :process 0, :f :dequeue, :value nil, :queue "q", :holder 1}"#,
    r#"{:index 4, :time 40, :type :ok, :process 0, :f :dequeue, :value 1, :queue "q", :holder 1, :sequence 1, :token 1, :attempt 1, :left-ms 60000}"#,
    r#"{:index 5, :time 50, :type :invoke, :process 0, :f :ack, :value 1, :queue "q", :token 1}"#,
    r#"{:index 6, :time 60, :type :ok, :process 0, :f :ack, :value 1, :queue "q", :token 1}"#,
    r#"{:index 7, :time 70, :type :ok, :process :nemesis, :f :drain, :value nil, :queue "q", :took-ms 5}"#,
];

fn jepsen(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jepsen")).args(words).output().expect("the program starts")
}

/// Judges these lines; exit code and all that was said.
fn judge(lines: &[&str]) -> (Option<i32>, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.join("\n").as_bytes()).expect("it is written");
    let output = jepsen(&["check", &file.path().to_string_lossy()]);
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn exit_codes_tell_valid_from_invalid_from_unknown() {
    let (code, said) = judge(&HISTORY);
    assert_eq!(code, Some(0), "{said}");
    // The lease and its settlement are gone: the message never came out.
    let lost: Vec<&str> = [&HISTORY[..3], &HISTORY[7..]].concat();
    let (code, said) = judge(&lost);
    assert!(code == Some(1) && said.contains("INVALID  total-queue"), "{code:?} {said}");
    let (code, said) = judge(&HISTORY[..1]);
    assert!(code == Some(2) && said.contains("nothing was confirmed"), "{code:?} {said}");
    let (code, said) = judge(&["{:index 0, :time"]);
    assert!(
        code == Some(2) && said.starts_with("jepsen: line 1") && said.lines().count() == 1,
        "{code:?} {said}"
    );
}

#[test]
fn what_cannot_be_run_says_why_and_ends_with_2() {
    let cases: [(&[&str], &str); 4] = [
        (&["check", "/nowhere/history.edn"], "/nowhere/history.edn"),
        (&["run", "--workload", "quueue"], "no workload \"quueue\""),
        (&["run", "--nemesis", "meteor"], "no nemesis \"meteor\""),
        (&["run", "--proxies", "--nemesis", "kill", "--binary", "/nowhere/phalanx"], "build it"),
    ];
    for (words, told) in cases {
        let output = jepsen(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?} {said}");
        assert!(said.contains(told) && said.lines().count() == 1, "{words:?} {said}");
    }
}

#[test]
fn all_workloads_and_nemeses_are_listed() {
    let output = jepsen(&["list"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for (name, _) in phalanx_jepsen::workload::ALL {
        assert!(said.contains(name), "{name} is not in {said}");
    }
    for (_, name, _) in phalanx_jepsen::nemesis::Fault::ALL {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}
