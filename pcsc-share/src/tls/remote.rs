//! The server of another host, over TLS.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pcsc_process::socket;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};

use super::address::host;
use super::identity::{provider, Authorities, TlsError, TlsIdentity};
use super::relay::{RelayEnd, Stream};
use crate::places::Places;
use crate::source::Route;
use crate::sync::lock;

/// How long the server may take for an answer that needs no card; for the first one, with all that goes
/// before it. A look at its readers delays a client no longer, and only once.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the connection and the handshake may take. One that ends without an answer is tried a second time
/// within the limit, in the other byte order.
const HANDSHAKE: Duration = Duration::from_millis(2400);

/// How long the end of a source waits for its connections to close.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// A server like this one on another host, over TLS.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    /// `HOST:PORT`.
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    connections: Arc<Places<()>>,
    /// Why the last connection has ended that was not ended here.
    last_error: Mutex<Option<RelayEnd>>,
}

impl Remote {
    /// The server at `address`, `HOST:PORT`. It needs a certificate for HOST, a DNS name or an IP address,
    /// from one of these authorities. `identity` is the certificate that it gets.
    ///
    /// # Errors
    /// An address of another form.
    pub fn new(address: &str, identity: &TlsIdentity, servers: &Authorities) -> Result<Remote, TlsError> {
        let wrong = || TlsError::Address(address.to_owned());
        let name = ServerName::try_from(host(address)?.to_owned()).map_err(|_| wrong())?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::setup)?
            .with_root_certificates(servers.0.clone());
        let mut config = config.with_client_cert_resolver(identity.0.clone());
        config.resumption = Resumption::disabled();
        Ok(Remote(Arc::new(Inner {
            address: address.to_owned(),
            name,
            config: Arc::new(config),
            connections: Places::new().map_err(TlsError::setup)?,
            last_error: Mutex::default(),
        })))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls://{}", self.0.address)
    }
}

impl Route for Remote {
    /// Returns before there is a connection: what is sent meanwhile waits in the socket. The thread ends with
    /// the socket, or with the connection.
    fn connect(&self) -> io::Result<UnixStream> {
        let (local, theirs) = socket::pair()?;
        let inner = self.0.clone();
        // Counted and not limited: `finish` waits for them.
        let connection = inner.connections.take(&(), usize::MAX, usize::MAX);
        let builder = thread::Builder::new().name("pcsc-tls".into());
        builder.spawn(move || {
            let _connection = connection;
            inner.serve(local.into());
        })?;
        Ok(theirs.into())
    }

    /// A process that ended earlier would cut its connections, of which the server would warn.
    fn finish(&self) {
        self.0
            .connections
            .wait_until_empty(Instant::now() + SHUTDOWN_LIMIT);
    }

    fn take_error(&self) -> Option<String> {
        lock(&self.0.last_error).take().map(|end| end.to_string())
    }

    fn refusal(&self) -> Option<String> {
        match &*lock(&self.0.last_error) {
            Some(end @ RelayEnd::Tls(_)) => Some(end.to_string()),
            _ => None,
        }
    }

    fn limit(&self) -> Duration {
        LIMIT
    }
}

impl Inner {
    /// Connects and relays until one side ends.
    fn serve(&self, local: UnixStream) {
        let deadline = Instant::now() + HANDSHAKE;
        let (stream, end) = match self.open(deadline) {
            Ok(mut stream) => {
                let shaken = stream.handshake(&local, deadline);
                let end = shaken.err().unwrap_or_else(|| stream.relay(&local));
                (Some(stream), end)
            }
            Err(end) => (None, end),
        };
        match &end {
            // A client's own, which the watcher of the source does not report.
            RelayEnd::Cut | RelayEnd::System(_) if stream.is_some() => {
                log::info!("a connection with {} has ended: {end}", self.address)
            }
            end => log::debug!("a connection with {} has ended: {end}", self.address),
        }
        if !matches!(end, RelayEnd::Here) {
            // Before the other end of the socket sees the end.
            *lock(&self.last_error) = Some(end);
        }
        // Before the close, which may take seconds: the client's call ends now.
        drop(local);
        if let Some(stream) = stream {
            stream.close();
        }
    }

    fn open(&self, deadline: Instant) -> Result<Stream, RelayEnd> {
        let tls = ClientConnection::new(self.config.clone(), self.name.clone())?;
        let addresses: Vec<_> = self.address.to_socket_addrs()?.collect();
        let mut failure = RelayEnd::System(io::ErrorKind::AddrNotAvailable.into());
        for (number, address) in addresses.iter().enumerate() {
            // An address that does not answer leaves time for those behind it.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - number) as u32;
            if share.is_zero() {
                return Err(RelayEnd::Late);
            }
            match TcpStream::connect_timeout(address, share) {
                Ok(tcp) => return Ok(Stream::new(tls, tcp)?),
                Err(error) => failure = RelayEnd::System(error),
            }
        }
        Err(failure)
    }
}
