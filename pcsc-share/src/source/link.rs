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
            let mut last = lock(&last);
            // The handshake is tried in the other byte order after a connection that has ended without an
            // answer. The peer would refuse that one too, and log it.
            if let Some(refusal) = last.as_ref().and_then(|_| to.refusal()) {
                return Err(io::Error::other(refusal));
            }
            let stream = to.connect()?;
            // A descriptor of its own: the context closes its own one, and `cut` must not hit another file of
            // that number.
            *last = Some(stream.try_clone()?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A daemon that closes each connection at once.
    struct Closing {
        connections: AtomicU32,
        refusal: Option<&'static str>,
    }

    impl fmt::Display for Closing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "closing, {:?}", self.refusal)
        }
    }

    impl Route for Closing {
        fn connect(&self) -> io::Result<UnixStream> {
            self.connections.fetch_add(1, Ordering::SeqCst);
            Ok(UnixStream::pair()?.0)
        }

        fn refusal(&self) -> Option<String> {
            self.refusal.map(str::to_owned)
        }
    }

    #[test]
    fn a_refusal_is_not_asked_for_a_second_time() {
        for (refusal, connections) in [(None, 2), (Some("no certificate"), 1)] {
            let route = Arc::new(Closing {
                connections: AtomicU32::new(0),
                refusal,
            });
            let as_route: Arc<dyn Route> = route.clone();
            assert!(DaemonLink::open(&as_route).is_err());
            assert_eq!(
                route.connections.load(Ordering::SeqCst),
                connections,
                "{refusal:?}"
            );
        }
    }
}
