//! The seam to the network: how a channel to one address comes about.

use phalanx_proto::channel::Channel;
use tonic::transport::Endpoint;

/// Makes channels. The default opens TCP connections; a simulation or a proxy puts its own here.
///
/// The endpoint carries the address and all settings (time limits, keepalive, windows). The channel must be *lazy*: it
/// connects when it is used, and again after its connection broke.
///
/// ```
/// use tonic::transport::Endpoint;
///
/// let connector = |endpoint: Endpoint| endpoint.connect_lazy();
/// let builder = phalanx_client::Client::builder().connector(connector);
/// # drop(builder);
/// ```
pub trait Connector: Send + Sync + 'static {
    /// A lazy channel to the endpoint's address.
    fn channel(&self, endpoint: Endpoint) -> Channel;
}

impl<F, C> Connector for F
where
    F: Fn(Endpoint) -> C + Send + Sync + 'static,
    C: Into<Channel>,
{
    fn channel(&self, endpoint: Endpoint) -> Channel {
        self(endpoint).into()
    }
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_lazy().into()
    }
}
