//! How clients come to a server by another way than its socket.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use pcsc_process::Waker;

use crate::sync::lock;

/// Hands clients over to the thread that runs a server. The policy for users of this host does not apply to
/// them.
#[derive(Clone)]
pub struct Entrance {
    /// `None` when the server has ended.
    arrivals: Arc<Mutex<Option<Vec<Arrival>>>>,
    waker: Arc<Waker>,
    /// How many clients the server takes.
    places: usize,
}

/// A client that has come.
pub(crate) struct Arrival {
    pub stream: UnixStream,
    pub name: String,
    pub who: String,
}

impl Entrance {
    pub(crate) fn new(places: usize) -> std::io::Result<Entrance> {
        Ok(Entrance {
            arrivals: Arc::new(Mutex::new(Some(Vec::new()))),
            waker: Arc::new(Waker::new()?),
            places,
        })
    }

    /// Hands a client to the server. Its connection is closed if the server has ended.
    /// Clients of one `name` have a quarter of the places. `who` says for the log whose client it is.
    pub fn enter(&self, stream: UnixStream, name: String, who: String) {
        // The stream is dropped otherwise, which ends the connection.
        if let Some(arrivals) = &mut *lock(&self.arrivals) {
            arrivals.push(Arrival { stream, name, who });
        }
        self.waker.wake();
    }

    /// How many clients the server takes at most, with those of its socket.
    pub fn places(&self) -> usize {
        self.places
    }

    /// What becomes readable when clients have come.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The clients that have come.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        // First: a client that comes after the list was taken wakes the server again.
        self.waker.clear();
        lock(&self.arrivals)
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Ends the connections of those that come from now on.
    pub(crate) fn close(&self) {
        *lock(&self.arrivals) = None;
    }
}
