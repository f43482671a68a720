//! Channels: every setting of a connection, applied in one place.

use std::sync::Arc;
use std::time::Duration;

use phalanx_proto::channel::Channel;
use tonic::transport::Endpoint;

use crate::connector::Connector;
use crate::error::Error;
use crate::limits;

/// The settings of the connections to nodes: of each address there is one connection, which all handles of a client share.
///
/// ```
/// use phalanx_client::{ChannelSettings, Client};
///
/// let mut settings = ChannelSettings::default();
/// settings.user_agent = format!("billing/2.1 {}", settings.user_agent);
/// settings.connection_window_bytes = 64 * 1024 * 1024; // a long way to the cluster
/// let builder = Client::builder().channel(settings);
/// # drop(builder);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSettings {
    /// Setting up one connection may take this long. Default 2 s.
    pub connect_timeout: Duration,
    /// A ping goes out this often, also while nothing else does. Default 2 s.
    pub keepalive_interval: Duration,
    /// A ping unanswered for this long ends the connection. Default 2 s.
    pub keepalive_timeout: Duration,
    /// HTTP/2 window of one stream, bytes: what a node may send ahead of its reader. Default 4 MiB.
    pub stream_window_bytes: u32,
    /// HTTP/2 window of one connection, bytes. Default 16 MiB.
    pub connection_window_bytes: u32,
    /// Largest answer or frame that is accepted, bytes. Default 64 MiB: more than a server sends. What is sent is bounded by
    /// the limits of batches and messages, before it gets to a connection.
    pub decode_bytes_max: usize,
    /// Name and version for the logs of servers and proxies, before those of the transport. Default `phalanx-rust/` and
    /// the version of this crate.
    pub user_agent: String,
}

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            keepalive_interval: limits::KEEPALIVE_INTERVAL,
            keepalive_timeout: limits::KEEPALIVE_TIMEOUT,
            stream_window_bytes: limits::STREAM_WINDOW_BYTES,
            connection_window_bytes: limits::CONNECTION_WINDOW_BYTES,
            decode_bytes_max: limits::DECODE_BYTES_MAX,
            user_agent: format!("phalanx-rust/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl ChannelSettings {
    fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        let invalid = || Error::Invalid {
            message: format!("user agent {:?}: use printable ASCII characters only", self.user_agent),
        };
        Ok(endpoint
            .user_agent(self.user_agent.as_str())
            .map_err(|_| invalid())?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(self.stream_window_bytes)
            .initial_connection_window_size(self.connection_window_bytes))
    }
}

/// Changes an endpoint before it is used.
pub(crate) type EndpointHook = Arc<dyn Fn(Endpoint) -> Endpoint + Send + Sync>;
/// Sets TLS up for an endpoint.
pub(crate) type TlsHook = Arc<dyn Fn(Endpoint) -> Result<Endpoint, tonic::transport::Error> + Send + Sync>;

/// Makes channels of addresses.
pub(crate) struct Wiring {
    pub(crate) settings: ChannelSettings,
    pub(crate) connector: Arc<dyn Connector>,
    /// The connector is the application's, and so is TLS then.
    pub(crate) own_connector: bool,
    pub(crate) tls: Option<TlsHook>,
    pub(crate) endpoint: Option<EndpointHook>,
    /// The addresses that were given are https: no other is gone to.
    pub(crate) only_https: bool,
}

impl Wiring {
    /// The address as a URI; one without a scheme has that of those that were given.
    pub(crate) fn uri(&self, address: &str) -> String {
        let scheme = if self.only_https { "https" } else { "http" };
        if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") }
    }

    /// A lazy channel to the address.
    pub(crate) fn channel(&self, uri: &str) -> Result<Channel, Error> {
        let invalid = |why: &str| Error::Invalid { message: format!("address {uri:?}: {why}") };
        let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| invalid(&error.to_string()))?;
        if endpoint.uri().authority().is_none() {
            return Err(invalid("use http://host:port"));
        }
        let is_https = match endpoint.uri().scheme_str() {
            Some("https") => true,
            Some("http") if !self.only_https => false,
            Some("http") => return Err(invalid("the other addresses are https: use https for all or none")),
            _ => return Err(invalid("use http://host:port")),
        };
        let mut endpoint = self.settings.apply(endpoint)?;
        if is_https {
            endpoint = match &self.tls {
                Some(tls) => tls(endpoint).map_err(|error| invalid(&format!("TLS: {error:?}")))?,
                None if self.own_connector => endpoint,
                None => {
                    return Err(invalid(
                        "https needs TLS, and none is set up: give ClientBuilder::tls what calls tonic's tls_config, \
                         with one of tonic's TLS features, or use http://",
                    ));
                }
            };
        }
        let endpoint = self.endpoint.iter().fold(endpoint, |endpoint, hook| hook(endpoint));
        Ok(self.connector.channel(endpoint))
    }
}
