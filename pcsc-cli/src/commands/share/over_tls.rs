//! Clients and sources on other hosts.

use std::net::SocketAddr;
use std::sync::Arc;

use pcsc_share::tls::{self, Acceptor, Authorities, Listener, Remote, TlsError, TlsIdentity};
use pcsc_share::{DaemonSource, Entrance, Source};

use crate::args::Tls;
use crate::problem::{sentence, Exit, Problem};

const CERTIFICATES: &str = "docs/hosts.md shows how certificates are made and used.";

/// The certificates of this host, and whom it trusts.
pub struct Hosts<'a> {
    addresses: &'a [String],
    identity: Option<TlsIdentity>,
    servers: Option<Authorities>,
    acceptor: Option<Acceptor>,
}

impl Hosts<'_> {
    /// Reads the files that the arguments name.
    pub fn new(arguments: &Tls) -> Result<Hosts<'_>, Problem> {
        for address in &arguments.listen_tls {
            tls::check_address(address).map_err(|error| Problem::new(Exit::Usage, sentence(error)))?;
        }
        let files = arguments.cert.as_ref().zip(arguments.key.as_ref());
        let identity = files.map(|(certificate, key)| TlsIdentity::load(certificate, key));
        let identity = identity.transpose().map_err(unusable)?;
        let servers = arguments.server_ca.as_deref().map(Authorities::load);
        let clients = arguments.client_ca.as_deref().map(Authorities::load);
        let clients = clients.transpose().map_err(unusable)?;
        let acceptor = identity
            .clone()
            .zip(clients)
            .map(|(identity, clients)| Acceptor::new(identity, &clients, &arguments.allow_cert));
        Ok(Hosts {
            addresses: &arguments.listen_tls,
            identity,
            servers: servers.transpose().map_err(unusable)?,
            acceptor: acceptor.transpose().map_err(unusable)?,
        })
    }

    /// The source of this name at an address, `HOST:PORT`.
    pub fn source(&self, name: &str, address: &str) -> Result<Arc<dyn Source>, Problem> {
        let (Some(identity), Some(servers)) = (&self.identity, &self.servers) else {
            let text = format!("{name} needs --cert, --key and --server-ca.");
            return Err(Problem::new(Exit::Usage, text).advise(CERTIFICATES));
        };
        let remote = Remote::new(address, identity, servers).map_err(unusable)?;
        let source = DaemonSource::remote(remote).map_err(|error| {
            Problem::because(Exit::Failed, format_args!("{name} cannot be watched"), error)
        })?;
        Ok(Arc::new(source))
    }

    /// Listens for clients, where the arguments say so.
    pub fn listen(self, entrance: Entrance) -> Result<Option<Listener>, Problem> {
        let Some(acceptor) = self.acceptor else {
            return Ok(None);
        };
        let listener = Listener::start(self.addresses, acceptor, entrance);
        listener.map(Some).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::AddrInUse => Exit::InUse,
                _ => Exit::Failed,
            };
            Problem::because(exit, "Cannot listen", error)
        })
    }
}

/// Where a listener listens.
pub fn addresses(listener: &Listener) -> &[SocketAddr] {
    listener.addresses()
}

fn unusable(error: TlsError) -> Problem {
    Problem::new(Exit::Usage, sentence(error)).advise(CERTIFICATES)
}
