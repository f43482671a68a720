//! One file a command.

pub mod bench;
pub mod cluster;
pub mod consume;
pub mod demo;
pub mod dev;
pub mod queue;
pub mod receive;
pub mod send;
pub mod server;

use std::time::Duration;

use phalanx_client::Client;

use crate::args::Common;
use crate::output::Failure;

/// A client for the cluster that the options name.
pub async fn connect(common: &Common) -> Result<Client, Failure> {
    Client::builder()
        .addresses(common.servers.iter().map(|server| server.trim()))
        .namespace(&common.namespace)
        .request_deadline(Duration::from_secs(common.timeout))
        .connect()
        .await
        .map_err(|error| {
            let servers = common.servers.join(", ");
            Failure::new(format!(
                "{error} (servers: {servers}; is a cluster running? `phalanx dev` starts one)"
            ))
        })
}
