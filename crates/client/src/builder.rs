//! How a client is set up.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::backoff::Entropy;
use crate::channel::{ChannelSettings, EndpointHook, TlsHook, Wiring};
use crate::client::{Client, Shared};
use crate::connector::{Connector, TcpConnector};
use crate::error::Error;
use crate::limits;
use crate::metrics::Metrics;
use crate::request::Slot;
use crate::router::Router;
use crate::trace::TraceSource;

/// Time limits and the like, shared by all handles of a client.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) request_deadline: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) go_to_leader: bool,
}

/// Builds a [`Client`].
///
/// ```no_run
/// # async fn example() -> Result<(), phalanx_client::Error> {
/// use std::time::Duration;
///
/// let client = phalanx_client::Client::builder()
///     .addresses(["http://10.0.0.1:7420", "http://10.0.0.2:7420"])
///     .namespace("shop")
///     .request_deadline(Duration::from_secs(5))
///     .connect()
///     .await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct ClientBuilder {
    addresses: Vec<String>,
    namespace: String,
    settings: Settings,
    channel: ChannelSettings,
    connector: Option<Arc<dyn Connector>>,
    tls: Option<TlsHook>,
    endpoint: Option<EndpointHook>,
    seed: Option<u64>,
    metrics: Option<Arc<dyn Metrics>>,
    traceparent: Option<TraceSource>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            namespace: String::from("default"),
            settings: Settings {
                request_deadline: limits::REQUEST_DEADLINE,
                stall_timeout: limits::STALL_TIMEOUT,
                go_to_leader: true,
            },
            channel: ChannelSettings::default(),
            connector: None,
            tls: None,
            endpoint: None,
            seed: None,
            metrics: None,
            traceparent: None,
        }
    }
}

impl ClientBuilder {
    /// Nodes to start from, as `http://host:port`, `host:port`, or, with [`tls`](Self::tls), `https://host:port`; any of them will do, several survive more. Without
    /// this, the three nodes of `phalanx dev`: 127.0.0.1:7420 to 7422.
    pub fn addresses<I>(mut self, addresses: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.addresses.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Where the queues are looked for. Default: `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Setting up one connection may take this long. Default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.channel.connect_timeout = timeout;
        self
    }

    /// Pings go out every `interval`; one unanswered for `timeout` ends the connection. Default 2 s and 2 s.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.channel.keepalive_interval = interval;
        self.channel.keepalive_timeout = timeout;
        self
    }

    /// A call may take this long, retries included. Default 30 s.
    pub fn request_deadline(mut self, deadline: Duration) -> Self {
        self.settings.request_deadline = deadline;
        self
    }

    /// A node that owes an answer for this long is left for another; a call may take twice as long. Default 3 s. A leader that is silent is left
    /// sooner, when another node says who leads in its place.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.settings.stall_timeout = timeout;
        self
    }

    /// Whether to go to the leader of a queue directly (default), or to stay on the given addresses and be forwarded:
    /// for clients that must go through a load balancer.
    pub fn go_to_leader(mut self, direct: bool) -> Self {
        self.settings.go_to_leader = direct;
        self
    }

    /// All settings of the connections at once, those of [`connect_timeout`](Self::connect_timeout) and
    /// [`keepalive`](Self::keepalive) included.
    pub fn channel(mut self, settings: ChannelSettings) -> Self {
        self.channel = settings;
        self
    }

    /// Sets TLS up, for each `https://` address; without this, such an address is refused.
    ///
    /// This crate has no TLS of its own. An application that needs it depends on `tonic` with one of its TLS features and
    /// says which certificates it trusts:
    ///
    /// ```text
    /// let tls = ClientTlsConfig::new().with_enabled_roots();
    /// builder.addresses(["https://queues.example.org:7420"]).tls(move |endpoint| endpoint.tls_config(tls.clone()))
    /// ```
    ///
    /// What does not set TLS up here sends everything in the clear. When one of the addresses is https, all others must be,
    /// those that nodes advertise included; one without a scheme is taken for https then.
    pub fn tls<F>(mut self, tls: F) -> Self
    where
        F: Fn(Endpoint) -> Result<Endpoint, tonic::transport::Error> + Send + Sync + 'static,
    {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// Changes each endpoint before it is used, in what [`ChannelSettings`] does not cover. It comes with these applied, and
    /// with TLS.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let probe = Some(Duration::from_secs(30));
    /// let builder = phalanx_client::Client::builder().endpoint(move |endpoint| endpoint.tcp_keepalive(probe));
    /// # drop(builder);
    /// ```
    pub fn endpoint(mut self, change: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static) -> Self {
        self.endpoint = Some(Arc::new(change));
        self
    }

    /// How channels come about. Default: TCP. A connector of your own sees to TLS by itself.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// Who hears what the client does. Default: nobody.
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Where messages that are sent without a `traceparent` get one from: the W3C trace context of what is being done
    /// where `send` or `enqueue` is called. `None`, or what is no such context: the message goes without.
    ///
    /// It is called inside the client's `send` span, so that the span becomes the parent of whatever is done with the
    /// message. With the crate `tracing-opentelemetry`:
    ///
    /// ```text
    /// .traceparent(|| {
    ///     let context = tracing::Span::current().context(); // OpenTelemetrySpanExt
    ///     let mut carrier = HashMap::new();
    ///     TraceContextPropagator::new().inject_context(&context, &mut carrier);
    ///     carrier.remove("traceparent")
    /// })
    /// ```
    ///
    /// The other end is [`Delivery::traceparent`](crate::Delivery::traceparent).
    pub fn traceparent(mut self, source: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.traceparent = Some(Arc::new(source));
        self
    }

    /// Draws all identities and jitter from this seed, so that a simulation can be repeated. Two clients of one cluster
    /// must never share a seed: they would take each other's identities.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Connects: answers as soon as one of the addresses does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none, [`Error::Unavailable`] when no node answered in time.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.build()?;
        client.shared.probe().await?;
        Ok(client)
    }

    /// The client, without connecting: the first call does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none. Must be called inside a tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        let addresses = if self.addresses.is_empty() {
            limits::DEFAULT_ADDRESSES.iter().map(ToString::to_string).collect()
        } else {
            self.addresses
        };
        let wiring = Wiring {
            settings: self.channel,
            own_connector: self.connector.is_some(),
            connector: self.connector.unwrap_or_else(|| Arc::new(TcpConnector)),
            tls: self.tls,
            endpoint: self.endpoint,
            only_https: addresses.iter().any(|address| is_https(address)),
        };
        let router = Router::new(&addresses, self.settings.clone(), wiring)?;
        let entropy = Entropy::new(self.seed);
        let shared = Shared {
            router,
            entropy,
            settings: self.settings,
            metrics: self.metrics,
            traceparent: self.traceparent,
        };
        Ok(Client { shared: Arc::new(shared), namespace: self.namespace.into(), requests: Slot::default() })
    }
}

fn is_https(address: &str) -> bool {
    address.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}
