//! A context with another daemon that can be cut.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use pcsc_client::internals::{Connector, DaemonContext, Outcome, SessionOptions};

use super::route::Route;
use crate::sync::lock;

/// A context with a daemon, and its socket, by which another thread can end its calls.
pub struct DaemonLink {
    pub context: Arc<DaemonContext>,
    socket: UnixStream,
}

impl DaemonLink {
    /// Connects, and establishes a context.
    pub fn open(route: &Arc<dyn Route>) -> Outcome<DaemonLink> {
        let socket = Arc::new(Mutex::new(None));
        let (last, to) = (socket.clone(), route.clone());
        // A handshake may take several connections; the last one stays.
        let connector = Connector::new(move || -> io::Result<OwnedFd> {
            let stream = to.connect()?;
            // A descriptor of its own: the context closes its own one, and `cut` must not hit another file of
            // that number.
            *lock(&last) = Some(stream.try_clone()?);
            Ok(stream.into())
        });
        let context = DaemonContext::establish(&SessionOptions {
            socket: Some(route.to_string().into()),
            connector: Some(connector),
            // This server answers with a sharing violation at once, and its own client waits.
            waits: Some(false),
            limit: route.limit(),
            ..SessionOptions::default()
        })?;
        let socket = lock(&socket).take().ok_or(pcsc_client::Error::InternalError)?;
        let context = Arc::new(context);
        Ok(DaemonLink { context, socket })
    }

    /// Ends the calls in progress and all later ones.
    pub fn cut(&self) {
        // Fails if the daemon has cut it.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
