//! The iroh endpoint, set up so that nothing is asked of or told to anybody that the settings do not name: no relay, no lookup, no publishing, no port mapping, and no public
//! name servers behind the system's own.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use chartmesh_identity::EndpointKey;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey, TransportAddr, Watcher,
    address_lookup::{
        AddrFilter, AddressLookup, AddressLookupBuilder, AddressLookupBuilderError, DnsAddressLookup, PkarrPublisher, PkarrPublisherBuilder, PkarrResolver,
        PkarrResolverBuilder,
    },
    dns::DnsResolver,
    endpoint::{Builder, Connection, IdleTimeout, NetReportConfig, PathStats, PortmapperConfig, QuicTransportConfig, VarInt, presets},
};
use iroh_mdns_address_lookup::MdnsAddressLookup;
use tokio::time::{sleep, timeout};

use super::{NetConfig, Path, Route, error::NetError, line::Line, window::Floor};

/// How long closed connections may take to drain. Every peer has been told by then; the rest is QUIC's politeness.
const DRAIN_WAIT: Duration = Duration::from_millis(200);
/// ALPN of links (protocol.md "Replication").
pub(crate) const ALPN: &[u8] = b"chartmesh/4";
/// Name of the service on a local network.
const MDNS_SERVICE: &str = "chartmesh";
/// Streams that a peer may have open at a time: that of the link, and its requests.
const STREAMS: u32 = 33;
/// Streams of one frame each (`link.rs`) that a peer may have open at a time.
const BESIDE: u32 = 8;
/// How long a connection lives on which nothing arrives. Longer, and a node would wait for one that an outage has broken instead of calling again; shorter, and every busy moment would break one.
const SILENCE: Duration = Duration::from_secs(7);
/// How often something is sent where there is nothing to say: often enough that some of it arrives within [`SILENCE`] on a bad line.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// What a round trip is taken for until one has been measured. With the 333 ms of RFC 9002 (section 6.2.2) a first packet that is lost is sent again after a second, and a call has several first
/// packets; on a way that is longer than this, some are sent twice.
const FIRST_TRIP: Duration = Duration::from_millis(100);
/// When a call that has not come through is made a second time beside the first: the pauses after which lost packets are sent again double.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes that a peer may send ahead of what is read, for all streams of a connection.
const WINDOW: u32 = 8 << 20;

/// Also the line to the relay, to be carried as long as the endpoint is open.
pub(super) async fn bind(config: &NetConfig, seed: &[u8; 32]) -> Result<(Endpoint, Option<Line>), NetError> {
    match bind_to(config, &config.last, seed).await {
        // Somebody else has just taken a port.
        Err(NetError::Bind(_)) if !config.last.is_empty() => bind_to(config, &[], seed).await,
        bound => bound,
    }
}

async fn bind_to(config: &NetConfig, last: &[SocketAddr], seed: &[u8; 32]) -> Result<(Endpoint, Option<Line>), NetError> {
    let mut transport = QuicTransportConfig::builder();
    transport = transport.max_concurrent_bidi_streams(VarInt::from_u32(STREAMS)).max_concurrent_uni_streams(VarInt::from_u32(BESIDE));
    transport = transport.receive_window(VarInt::from_u32(WINDOW)).datagram_receive_buffer_size(None);
    let silence = IdleTimeout::try_from(SILENCE).map_err(|error| NetError::Config(error.to_string()))?;
    transport = transport.max_idle_timeout(Some(silence)).default_path_max_idle_timeout(SILENCE);
    transport = transport.keep_alive_interval(SIGN_OF_LIFE).default_path_keep_alive_interval(SIGN_OF_LIFE);
    transport = transport.initial_rtt(FIRST_TRIP).congestion_controller_factory(Arc::new(Floor::default()));
    // The captive portal check is an HTTP request, which a relay should not be asked in clear text; the probes only go to the relay of the settings.
    let mut report = NetReportConfig::minimal();
    report.https_probes = true;
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(seed))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(transport.build())
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(report)
        .dns_resolver(DnsResolver::builder().with_system_defaults().disable_fallback().build());
    builder = lookup(builder, config)?;
    if let Some(address) = config.listen {
        builder = builder.clear_ip_transports().bind_addr(address).map_err(|error| NetError::Config(error.to_string()))?;
    } else {
        for address in last.iter().filter(|address| address.ip().is_unspecified() && UdpSocket::bind(address).is_ok()) {
            builder = builder.bind_addr(*address).map_err(|error| NetError::Config(error.to_string()))?;
        }
    }
    let relay = config.relay.as_deref().map(parse_relay).transpose()?;
    let mut line = None;
    if let Some(relay) = &relay {
        let failed = |error: std::io::Error| NetError::Bind(error.to_string());
        let opened = Line::open(relay).await.map_err(failed)?;
        let url = opened.url().map_err(failed)?;
        builder = builder.proxy_url(url.parse().map_err(|_| NetError::Bind(format!("`{url}` is not a URL")))?);
        line = Some(opened);
    }
    builder = builder.relay_mode(relay.map_or(RelayMode::Disabled, |url| RelayMode::custom([url])));
    let endpoint = builder.bind().await.map_err(|error| NetError::Bind(format!("{error:#}")))?;
    if config.mdns {
        announce(&endpoint);
    }
    Ok((endpoint, line))
}

/// Where addresses are looked up, and published if that is wanted: a pkarr server if it is a URL, else a DNS origin.
fn lookup(builder: Builder, config: &NetConfig) -> Result<Builder, NetError> {
    let Some(origin) = config.dns.as_deref() else {
        return if config.publish { Err(NetError::Config("to publish addresses, say where (`dns`)".into())) } else { Ok(builder) };
    };
    if !origin.contains("://") {
        if config.publish {
            return Err(NetError::Config("addresses are published to the URL of a pkarr server, not to a DNS origin".into()));
        }
        return Ok(builder.address_lookup(DnsAddressLookup::builder(origin.to_owned())));
    }
    let url = || origin.parse().map_err(|_| NetError::Config(format!("`{origin}` is not a URL")));
    let builder = builder.address_lookup(Direct(PkarrResolver::builder(url()?)));
    if !config.publish {
        return Ok(builder);
    }
    // With a relay, that is all the world needs to know; without one it would be no use.
    let filter = if config.relay.is_some() { AddrFilter::relay_only() } else { AddrFilter::unfiltered() };
    Ok(builder.address_lookup(Direct(PkarrPublisher::builder(url()?).addr_filter(filter))))
}

/// A pkarr server that is asked without a proxy: the one that iroh is told of, the line, leads to the relay alone.
#[derive(Debug)]
struct Direct<T>(T);

impl AddressLookupBuilder for Direct<PkarrResolverBuilder> {
    fn into_address_lookup(self, endpoint: &Endpoint) -> Result<impl AddressLookup, AddressLookupBuilderError> {
        Ok(self.0.dns_resolver(endpoint.dns_resolver()?.clone()).build(endpoint.tls_config().clone()))
    }
}

impl AddressLookupBuilder for Direct<PkarrPublisherBuilder> {
    fn into_address_lookup(self, endpoint: &Endpoint) -> Result<impl AddressLookup, AddressLookupBuilderError> {
        Ok(self.0.dns_resolver(endpoint.dns_resolver()?.clone()).build(endpoint.secret_key().clone(), endpoint.tls_config().clone()))
    }
}

fn announce(endpoint: &Endpoint) {
    let started = MdnsAddressLookup::builder().service_name(MDNS_SERVICE).build(endpoint.id()).map_err(|error| format!("{error:#}"));
    let added = started.and_then(|mdns| endpoint.address_lookup().map(|services| services.add(mdns)).map_err(|error| error.to_string()));
    if let Err(reason) = added {
        tracing::warn!(%reason, "finding nodes on the local network (mDNS) does not work here");
    }
}

fn parse_relay(url: &str) -> Result<RelayUrl, NetError> {
    url.parse().map_err(|_| NetError::Config(format!("`{url}` is not the URL of a relay")))
}

/// Where others can reach the endpoint: bound addresses, with the interfaces' own in place of "any".
pub(super) fn addresses(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let bound = endpoint.bound_sockets();
    let mut usable: BTreeSet<SocketAddr> = bound.iter().filter(|address| !address.ip().is_unspecified()).copied().collect();
    if bound.iter().any(|address| address.ip().is_unspecified()) {
        usable.extend(endpoint.addr().ip_addrs().filter(|address| !is_link_local(address)).copied());
    }
    usable.into_iter().collect()
}

/// Waits until [`addresses`] are others than these.
pub(super) async fn moved(endpoint: &Endpoint, from: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut changes = endpoint.watch_addr();
    loop {
        let now = addresses(endpoint);
        if now != from {
            return now;
        }
        if changes.updated().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Of no use to others without the name of an interface.
fn is_link_local(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local())
}

/// Calls a peer; fails with [`NetError::Unreachable`] within `wait`.
pub(super) async fn connect(endpoint: &Endpoint, route: &Route, wait: Duration) -> Result<Connection, NetError> {
    let unreachable = |reason: String| NetError::Unreachable { endpoint: route.endpoint, reason };
    let id = EndpointId::from_bytes(route.endpoint.as_bytes()).map_err(|_| unreachable("its endpoint id is not a key".into()))?;
    let mut address = EndpointAddr::new(id);
    for hint in &route.addresses {
        address = address.with_ip_addr(*hint);
    }
    // A relay that cannot be read is one hint fewer.
    if let Some(relay) = route.relay.as_deref().and_then(|url| url.parse::<RelayUrl>().ok()) {
        address = address.with_relay_url(relay);
    }
    let again = async {
        sleep(AGAIN).await;
        endpoint.connect(address.clone(), ALPN).await
    };
    let connected = async {
        tokio::select! {
            connected = endpoint.connect(address.clone(), ALPN) => connected,
            Ok(connection) = again => Ok(connection),
        }
    };
    match timeout(wait, connected).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(_)) if route.addresses.is_empty() && route.relay.is_none() => Err(unreachable("no address of it is known, and it was not found nearby".into())),
        Ok(Err(error)) => Err(unreachable(innermost(&error))),
        Err(_) => Err(unreachable(format!("no answer within {} s", wait.as_secs_f32().round().max(1.0)))),
    }
}

/// What went wrong in the end, without the layers that only pass it on.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How a connection's packets travel at this time.
pub(super) fn path(connection: &Connection) -> Option<Path> {
    let (address, stats) = way(connection)?;
    let relayed = address.is_relay();
    let address = match address {
        TransportAddr::Ip(address) => address.to_string(),
        TransportAddr::Relay(url) => url.to_string(),
        other => format!("{other:?}"),
    };
    Some(Path { relayed, rtt: stats.rtt, address })
}

/// Where a connection's packets go at this time, and what was counted there.
pub(super) fn way(connection: &Connection) -> Option<(TransportAddr, PathStats)> {
    let paths = connection.paths();
    let chosen = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?;
    Some((chosen.remote_addr().clone(), chosen.stats()))
}

pub(super) fn remote(connection: &Connection) -> EndpointKey {
    EndpointKey::new(*connection.remote_id().as_bytes())
}

/// Closes the endpoint: peers are told, for as long as a link's close may take.
pub(super) async fn close(endpoint: &Endpoint) {
    if timeout(DRAIN_WAIT, endpoint.close()).await.is_err() {
        tracing::debug!("the endpoint did not close in time");
    }
}
