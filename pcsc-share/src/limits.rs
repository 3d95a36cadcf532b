//! What one client, and all of them, may use.

use std::time::Duration;

/// The limits of a server, which are options of `pcsc share`. The longest message is given by the protocol:
/// 65,548 bytes of an APDU.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// How many clients are served at a time, 2,000 by default. A context of a program is one client. Users
    /// other than root and that of the server, and clients whose certificates have the same first DNS name,
    /// have a quarter of them each. Further ones are closed at once.
    pub clients: usize,
    /// How many connections to cards a client has, 200 by default as in pcscd. Further ones get
    /// `SCARD_E_NO_MEMORY`.
    pub cards: usize,
    /// How long the rest of a message that has begun, or room for an answer, may take: 30 seconds by default.
    /// A client that is slower is closed.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients: 2000,
            cards: 200,
            patience: Duration::from_secs(30),
        }
    }
}
