//! Refuses other hosts: this program was built without TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use pcsc_share::{Entrance, Source};

use crate::args::Tls;
use crate::problem::{Exit, Problem};

/// No hosts.
pub struct Hosts;

impl Hosts {
    pub fn new(arguments: &Tls) -> Result<Hosts, Problem> {
        if arguments.listen_tls.is_empty() {
            Ok(Hosts)
        } else {
            Err(missing())
        }
    }

    pub fn source(&self, _name: &str, _address: &str) -> Result<Arc<dyn Source>, Problem> {
        Err(missing())
    }

    pub fn listen(self, _entrance: Entrance) -> Result<Option<Infallible>, Problem> {
        Ok(None)
    }
}

pub fn addresses(listener: &Infallible) -> &[SocketAddr] {
    match *listener {}
}

fn missing() -> Problem {
    Problem::new(
        Exit::Usage,
        "This pcsc was built without TLS (the feature tls of pcsc-cli).",
    )
}
