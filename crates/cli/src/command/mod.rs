//! One file a command.

pub mod apply;
pub mod bench;
pub mod binding;
pub mod check;
pub mod cluster;
pub mod consume;
pub mod context;
pub mod demo;
pub mod dev;
pub mod look;
pub mod man;
pub mod queue;
pub mod read_log;
pub mod receive;
pub mod request;
pub mod send;
pub mod server;
pub mod subscribe;
pub mod top;
pub mod topic;

use phalanx_client::Client;

use crate::args::Common;
use crate::context::Destination;
use crate::output::Failure;

/// A client for the cluster that the options, the environment or a context name.
pub async fn connect(common: &Common) -> Result<Client, Failure> {
    let to = Destination::of(common)?;
    let client = Client::builder()
        .addresses(to.servers.iter().cloned())
        .namespace(&to.namespace)
        .request_deadline(to.timeout)
        .connect()
        .await;
    client.map_err(|error| {
        let from = to.context.map_or(String::new(), |name| format!(" of context {name}"));
        let servers = to.servers.join(", ");
        Failure::new(format!(
            "{error} (servers{from}: {servers}; is a cluster running? `phalanx dev` starts one)"
        ))
    })
}
