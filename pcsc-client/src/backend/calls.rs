//! The calls of a context, which each backend implements.

use std::time::{Duration, Instant};

use super::bytes::AttributeValue;
use super::choice::BackendKind;
use super::status_change::Watched;
use super::values::{Connected, ConnectionStatus, Pci, Transmitted};
use crate::error::Outcome;
use pcsc_wire::{Endian, ReaderStateRecord};

/// Passes the calls that [`Session`](super::Session) forwards to `$callback`.
macro_rules! for_each_forwarded_call {
    ($callback:ident) => {
        $callback! {
            /// Ends the context. Cancels waits in progress, and waits for other calls in progress.
            fn release() -> ();
            /// Whether calls can still succeed.
            fn check_alive() -> ();
            /// Calls `look` with each reader.
            fn each_reader(look: &mut dyn FnMut(ReaderStateRecord<'_>)) -> ();
            /// Connects to the card in a reader, or to the reader. The detail of a failure is the protocol.
            fn connect(reader: &[u8], share: u32, protocols: u32, deadline: Option<Instant>) -> Connected;
            /// Changes share mode and protocol of a connection, and returns the protocol in use. Waits while
            /// another connection holds the card. The detail of a failure is the protocol.
            fn reconnect(
                card: i32, share: u32, protocols: u32, initialization: u32, deadline: Option<Instant>
            ) -> u32;
            /// Ends a connection.
            fn disconnect(card: i32, disposition: u32) -> ();
            /// Begins a transaction. Always waits while another connection holds the card.
            fn begin_transaction(card: i32, deadline: Option<Instant>) -> ();
            /// Ends a transaction.
            fn end_transaction(card: i32, disposition: u32) -> ();
            /// The status of a connection to the reader called `reader`, if the card is still there and was
            /// not reset. Waits while another connection holds the card.
            fn status(card: i32, reader: &[u8]) -> ConnectionStatus;
            /// Sends a command to the card. The response goes to the front of `response`. Waits while another
            /// connection holds the card. The detail of a failure is the response's length.
            fn transmit(
                card: i32,
                send: Pci,
                receive: Pci,
                command: &[u8],
                response: &mut [u8],
                deadline: Option<Instant>
            ) -> Transmitted;
            /// Calls a function of the reader itself. The answer goes to the front of `answer`, and its
            /// length is returned. The detail of a failure is the answer's length.
            fn control(
                card: i32,
                code: u32,
                data: &[u8],
                answer: &mut [u8],
                deadline: Option<Instant>
            ) -> usize;
            /// Sets an attribute's value, at most 264 bytes.
            fn set_attribute(card: i32, id: u32, data: &[u8]) -> ();
            /// Waits until a state differs from the one that the caller knows, at most `timeout`; `None`
            /// waits forever.
            ///
            /// A cancel ends the wait if it comes after the call's beginning or, where `sticky`, after the
            /// last cancel that ended a wait.
            fn status_change(timeout: Option<Duration>, watched: &mut [Watched<'_>], sticky: bool) -> ();
        }
    };
}
pub(super) use for_each_forwarded_call;

macro_rules! declare {
    ($($(#[$doc:meta])* fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty;)+) => {
        /// The calls of a context. Numbers are those of the C interface.
        pub trait Calls: Send + Sync {
            $(
                $(#[$doc])*
                #[allow(clippy::too_many_arguments)]
                fn $name(&self, $($parameter: $type),*) -> Outcome<$result>;
            )+

            /// Cancels the waits in progress. Safe in a signal handler: takes no lock and allocates nothing,
            /// also where it fails. Not so with the library of the system.
            fn cancel(&self) -> Outcome<()>;

            /// An attribute's value.
            fn get_attribute(&self, card: i32, id: u32) -> Outcome<AttributeValue>;

            /// The backend.
            fn kind(&self) -> BackendKind;

            /// The byte order of the machine that the drivers run on.
            fn endian(&self) -> Endian {
                Endian::NATIVE
            }

            /// The manager of the readers, if it is in this process.
            #[cfg(feature = "standalone")]
            fn manager(&self) -> Option<&pcsc_manager::Manager> {
                None
            }
        }
    };
}
for_each_forwarded_call!(declare);
