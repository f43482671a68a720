//! One image and what must be found in it, as files, so that another process can check it; and later a person.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::image::Image;
use crate::syscalls::{Event, Mark};
use crate::workload::Kind;

/// A child that takes longer hangs. (An open takes a fraction of a second; the machine may be busy.)
const CHILD_TIME_MAX: Duration = Duration::from_secs(120);
/// Set in a child: the directory of its case.
pub const CASE_VARIABLE: &str = "PHALANX_CRASH_CASE";

/// What must be found of a replica: the acknowledged commit or the one under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub acked: u64,
    pub begun: u64,
    /// The number that the log remembers.
    pub batch: u64,
}

/// Replicas of one plan.
#[derive(Clone, Debug)]
pub struct Expectations {
    pub seed: u64,
    pub replicas: [u64; 2],
    pub expected: BTreeMap<u64, Expected>,
}

impl Expectations {
    pub fn new(seed: u64, replicas: [u64; 2]) -> Self {
        Self { seed, replicas, expected: replicas.map(|replica| (replica, Expected::default())).into() }
    }

    pub fn happen(&mut self, event: &Event) {
        match event {
            Event::Mark(Mark::Begin { replica, index }) => self.of(*replica).begun = *index,
            Event::Mark(Mark::Done { replica, index, batch }) => {
                *self.of(*replica) = Expected { acked: *index, begun: *index, batch: *batch };
            }
            _ => {}
        }
    }

    fn of(&mut self, replica: u64) -> &mut Expected {
        self.expected.get_mut(&replica).expect("marks are of these replicas")
    }

    pub fn is_under_way(&self) -> bool {
        self.expected.values().any(|expected| expected.acked < expected.begun)
    }
}

/// What the child does after it has checked the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// Commits more, closes, opens, checks.
    WorkOn,
    /// Is cut again, during the recovery or the commits after it.
    CutAgain(u64),
}

#[derive(Clone, Debug)]
pub struct Case {
    pub kind: Kind,
    pub plans: Vec<Expectations>,
    pub then: Then,
}

impl Case {
    fn encode(&self) -> String {
        let then = match self.then {
            Then::Nothing => "nothing 0".to_owned(),
            Then::WorkOn => "work-on 0".to_owned(),
            Then::CutAgain(seed) => format!("cut-again {seed}"),
        };
        let mut text = format!("{} {then}\n", self.kind.name());
        for plan in &self.plans {
            for (replica, Expected { acked, begun, batch }) in &plan.expected {
                let [one, two] = plan.replicas;
                text += &format!("{} {one} {two} {replica} {acked} {begun} {batch}\n", plan.seed);
            }
        }
        text
    }

    pub fn read(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("case")).expect("the case is there");
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().expect("a head").split(' ').collect();
        let then = match head[1] {
            "work-on" => Then::WorkOn,
            "cut-again" => Then::CutAgain(head[2].parse().unwrap()),
            _ => Then::Nothing,
        };
        let mut plans: Vec<Expectations> = Vec::new();
        for line in lines {
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [seed, one, two, replica, acked, begun, batch] = numbers[..] else { panic!("{line}") };
            if plans.last().is_none_or(|plan| plan.replicas != [one, two]) {
                plans.push(Expectations::new(seed, [one, two]));
            }
            let plan = plans.last_mut().expect("one was just pushed");
            plan.expected.insert(replica, Expected { acked, begun, batch });
        }
        Self { kind: Kind::named(head[0]), plans, then }
    }
}

fn write_files(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        fs::create_dir_all(dir.join(path).parent().expect("it is below the directory")).unwrap();
        fs::write(dir.join(path), bytes).unwrap();
    }
}

fn write_image(dir: &Path, case: &Case, image: &Image) {
    let _ = fs::remove_dir_all(dir.join("image"));
    let now = dir.join("image");
    fs::create_dir_all(&now).unwrap();
    for path in &image.dirs {
        fs::create_dir_all(now.join(path)).unwrap();
    }
    write_files(&now, &image.files);
    if matches!(case.then, Then::CutAgain(_)) {
        write_files(&dir.join("durable"), &image.durable);
    }
}

/// Has a child check an image. Answers its report, `ok` or what it found; the directory stays if that is not `ok`, as it was before the
/// child opened it.
pub fn check(dir: &Path, case: &Case, image: &Image) -> String {
    let _ = fs::remove_dir_all(dir);
    write_image(dir, case, image);
    fs::write(dir.join("case"), case.encode()).unwrap();
    let stderr = fs::File::create(dir.join("stderr")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE_VARIABLE, dir)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > CHILD_TIME_MAX {
            child.kill().unwrap();
            child.wait().unwrap();
            write_image(dir, case, image);
            return "hang".to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let report = fs::read_to_string(dir.join("report")).unwrap_or_else(|_| format!("died: {status}"));
    if report.starts_with("ok") {
        let _ = fs::remove_dir_all(dir);
    } else {
        write_image(dir, case, image);
    }
    report
}
