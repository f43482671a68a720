//! A network namespace for each node. This process lives in one of its own, which routes between them: that is where links are cut, by
//! rules in front of the routing tables, and where packets for bad links are led through [`Wire`].
//!
//! All namespaces, the mounts and every process in them end with this process, however it ends: it is the first of its own
//! namespace of processes, and the kernel ends the others with it.

mod wire;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::{Bad, End};
use wire::Wire;

/// Set in the environment of a process that is inside.
const INSIDE: &str = "PHALANX_JEPSEN_INSIDE";
/// Rules that cut stand before this one, which leads to the addresses of this machine.
const PREFERENCE_LOCAL: &str = "100";
/// The rules of cuts.
const PREFERENCE_CUT: &str = "10";
/// The rules of bad links.
const PREFERENCE_BAD: &str = "20";
/// The routing table of bad links.
const TABLE_BAD: &str = "77";

/// Whether this process has namespaces of its own.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn flags() -> Vec<&'static str> {
    let mut flags = vec!["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
    if !rustix::process::geteuid().is_root() {
        flags.splice(0..0, ["--user", "--map-root-user"]);
    }
    flags
}

/// Whether a process may have namespaces of its own, and links between them: tries it.
fn probe() -> io::Result<()> {
    let words = ["ip", "link", "add", "probe", "type", "veth", "peer", "name", "other"];
    let output = std::process::Command::new("unshare").args(flags()).args(words).output();
    let output = output.map_err(|error| io::Error::other(format!("unshare: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    // Whoever is root only in a namespace of its own may still not open it.
    let tun = File::options().read(true).write(true).open(wire::TUN);
    tun.map(drop).map_err(|error| io::Error::other(format!("{}: {error}", wire::TUN)))
}

/// Why [`enter`] would not succeed.
pub fn obstacle() -> Option<String> {
    probe().err().map(|error| error.to_string())
}

/// Starts this program again inside of namespaces of its own, and becomes it. Returns only when that is not possible, with the reason.
pub fn enter() -> io::Error {
    let program = match probe().and_then(|()| std::env::current_exe()) {
        Ok(program) => program,
        Err(error) => return error,
    };
    let words = std::env::args_os().skip(1);
    std::process::Command::new("unshare").args(flags()).arg(program).args(words).env(INSIDE, "1").exec()
}

/// The namespaces of a cluster.
pub struct Namespaces {
    /// Keep the namespaces: one sleeping process each.
    holders: Vec<Child>,
    nodes: u64,
    /// What [`Namespaces::heal`] takes back.
    rules: Mutex<BTreeSet<String>>,
    wire: Wire,
}

async fn ip(lines: &str) -> io::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("ip: {} ({})", said.trim(), lines.trim().replace('\n', "; "))))
}

impl Namespaces {
    /// Makes them, with the links between them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn new(nodes: u64, seed: u64) -> io::Result<Self> {
        let wire = Wire::open("slow0", seed)?;
        let mut lines = String::from("link set lo up\nlink set slow0 up\n");
        lines += &format!("rule add pref {PREFERENCE_LOCAL} lookup local\nrule del pref 0\n");
        lines += &format!("route add default dev slow0 table {TABLE_BAD}\n");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        for name in ["all", "default", "slow0"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")?;
        }
        let mut holders = Vec::new();
        let mut inner = Vec::new();
        for node in 1..=nodes {
            let holder = Command::new("unshare")
                .args(["--net", "sleep", "infinity"])
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .process_group(0)
                .spawn()?;
            let pid = holder.id().ok_or_else(|| io::Error::other("a namespace ended at once"))?;
            holders.push(holder);
            await_namespace(pid).await?;
            lines += &format!(
                "link add n{node} type veth peer name eth0 netns {pid}\n\
                 addr add 10.77.{node}.1/30 dev n{node}\nlink set n{node} up\n"
            );
            inner.push((pid, node));
        }
        ip(&lines).await?;
        for (pid, node) in inner {
            let script = format!(
                "ip addr add 10.77.{node}.2/30 dev eth0 && ip link set eth0 up && ip link set lo up && \
                 ip route add default via 10.77.{node}.1"
            );
            let net = format!("--net=/proc/{pid}/ns/net");
            let status = Command::new("nsenter").args([&net, "sh", "-c", &script]).status().await?;
            if !status.success() {
                return Err(io::Error::other(format!("the network of node {node} cannot be set up")));
            }
        }
        Ok(Self { holders, nodes, rules: Mutex::default(), wire })
    }

    pub(super) fn wrapper(&self, node: u64) -> Vec<String> {
        let holder = self.holders.get(node as usize - 1).and_then(Child::id).unwrap_or_default();
        vec!["nsenter".to_owned(), format!("--net=/proc/{holder}/ns/net"), "--".to_owned()]
    }

    /// What a packet from one end to another comes in by, and the addresses it may go to.
    fn way(&self, from: End, to: End) -> (String, Vec<String>) {
        let device = match from {
            End::Node(node) => format!("n{node}"),
            End::Clients => "lo".to_owned(),
        };
        let addresses = match to {
            End::Node(node) => vec![format!("10.77.{node}.2")],
            End::Clients => (1..=self.nodes).map(|node| format!("10.77.{node}.1")).collect(),
        };
        (device, addresses)
    }

    async fn add(&self, preference: &str, links: &[(End, End)], action: &str) -> io::Result<()> {
        let mut lines = String::new();
        let mut known = self.rules.lock().clone();
        for (from, to) in links {
            let (device, addresses) = self.way(*from, *to);
            for address in addresses {
                let rule = format!("pref {preference} iif {device} to {address}/32 {action}");
                // Two partitions at once may cut the same link.
                if known.insert(rule.clone()) {
                    lines += &format!("rule add {rule}\n");
                }
            }
        }
        *self.rules.lock() = known;
        if lines.is_empty() { Ok(()) } else { ip(&lines).await }
    }

    pub(super) async fn cut(&self, links: &[(End, End)]) -> io::Result<()> {
        self.add(PREFERENCE_CUT, links, "blackhole").await
    }

    pub(super) async fn worsen(&self, node: u64, bad: Bad) -> io::Result<()> {
        self.wire.set(bad);
        let others = (1..=self.nodes).filter(|other| *other != node).map(End::Node);
        let links: Vec<(End, End)> =
            others.flat_map(|other| [(End::Node(node), other), (other, End::Node(node))]).collect();
        self.add(PREFERENCE_BAD, &links, &format!("lookup {TABLE_BAD}")).await
    }

    pub(super) async fn heal(&self) -> io::Result<()> {
        let rules = std::mem::take(&mut *self.rules.lock());
        let lines: String = rules.iter().map(|rule| format!("rule del {rule}\n")).collect();
        if lines.is_empty() { Ok(()) } else { ip(&lines).await }
    }
}

/// Waits until a process has a network of its own.
async fn await_namespace(pid: u32) -> io::Result<()> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    for _ in 0..200 {
        let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net"));
        if theirs.is_ok_and(|theirs| theirs != own) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Err(io::Error::other("a namespace does not come about"))
}
