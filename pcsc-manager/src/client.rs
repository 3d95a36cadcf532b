//! One client of a manager: its connections by their handles, and its release.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::connections::{ByHandle, ConnectionHandle};
use crate::error::CallError;
use crate::manager::Manager;
use crate::reader::ManagedReader;
use crate::sync::lock;
use crate::terms::{check_disposition, check_reconnection, check_terms};

/// One client of a manager, such as a PC/SC context. Its calls may come from any thread, several at a time.
///
/// Share modes, protocols, initializations and dispositions are numbers as PC/SC has them (part 5, clause
/// 3.1.3), and are checked. A `deadline` of `None` waits forever; a call that it ends fails with
/// [`CallError::Timeout`]. Calls that other connections' transactions delay wait for their end, or fail with
/// [`CallError::SharingViolation`] where the client was made so.
///
/// Dropping a client releases it.
pub struct Client {
    manager: Arc<Manager>,
    /// Whether calls wait for other connections' transactions.
    waits: bool,
    connections: Mutex<ByHandle<Arc<ManagedReader>>>,
    is_released: AtomicBool,
    is_interrupted: AtomicBool,
}

/// A connection that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// The connection's handle, for the client's other calls.
    pub handle: ConnectionHandle,
    /// The protocol in use, `SCARD_PROTOCOL_*`; 0 for a connection to the reader alone.
    pub protocol: u32,
}

/// A response of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmitted {
    /// How many bytes of the buffer it fills.
    pub length: usize,
    /// The number of the protocol used: 0 is T=0, 1 is T=1.
    pub protocol: u32,
}

impl Client {
    /// A client without connections. `waits` says whether its calls wait for other connections' transactions.
    pub fn new(manager: Arc<Manager>, waits: bool) -> Client {
        Client {
            manager,
            waits,
            connections: Mutex::default(),
            is_released: AtomicBool::new(false),
            is_interrupted: AtomicBool::new(false),
        }
    }

    /// The manager.
    pub fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// Ends the calls that wait for other connections, and those that would wait from now on: they fail with
    /// [`CallError::InvalidHandle`]. Connections stay. For a server whose client is gone, and whose thread is
    /// to release the client: this does not call a driver.
    pub fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Ends all connections, and all calls that wait. A card in a transaction is reset.
    pub fn release(&self) {
        // A connection that is being made ends itself: see `connect`.
        // The flag before the wake-up: a call that wakes up without the flag would sleep again.
        self.is_released.store(true, Ordering::SeqCst);
        self.wake();
        for (handle, reader) in std::mem::take(&mut *lock(&self.connections)).into_vec() {
            reader.abandon(handle);
        }
    }

    fn wake(&self) {
        // Two counters: a wait for events of any reader sleeps on the manager's, a call that waits for a
        // transaction on its reader's.
        self.manager.changes().post();
        for reader in &*self.manager.readers() {
            reader.wake();
        }
    }

    /// Connects to the card in a reader, or to the reader alone (`SCARD_SHARE_DIRECT`).
    ///
    /// # Errors
    /// pcscd's for `SCardConnect`. [`CallError::SharingViolation`] also where another process has the reader.
    pub fn connect(
        &self,
        reader: &[u8],
        share: u32,
        protocols: u32,
        deadline: Option<Instant>,
    ) -> Result<Connected, CallError> {
        static LAST: AtomicI32 = AtomicI32::new(0);
        check_terms(share, protocols)?;
        let reader = self.manager.find(reader).ok_or(CallError::UnknownReader)?;
        // Handles are unique in the process and not in the client alone: those of all clients are in the
        // tables of the same readers.
        let is_free =
            |handle| lock(&self.connections).get(handle).is_none() && !reader.state().connections.has(handle);
        let handle = next_handle(&LAST, is_free);
        let protocol = reader.connect(handle, share, protocols, deadline, &|| self.may_not_wait())?;
        let mut connections = lock(&self.connections);
        // The client may have been released meanwhile. A release that comes after this finds the connection.
        if self.is_released.load(Ordering::SeqCst) {
            drop(connections);
            reader.abandon(handle);
            return Err(CallError::InvalidHandle);
        }
        connections.insert(handle, reader);
        Ok(Connected { handle, protocol })
    }

    /// Gives a connection new terms. Returns the protocol in use.
    ///
    /// # Errors
    /// pcscd's for `SCardReconnect`.
    pub fn reconnect(
        &self,
        handle: ConnectionHandle,
        share: u32,
        protocols: u32,
        initialization: u32,
        deadline: Option<Instant>,
    ) -> Result<u32, CallError> {
        let reader = self.reader(handle)?;
        check_reconnection(share, protocols, initialization)?;
        self.retry(&reader, deadline, || {
            reader.reconnect(handle, share, protocols, initialization, deadline)
        })
    }

    /// Ends a connection. Waits for other connections' transactions if the card is to be reset.
    ///
    /// # Errors
    /// [`CallError::InvalidHandle`] or [`CallError::InvalidValue`].
    pub fn disconnect(&self, handle: ConnectionHandle, disposition: u32) -> Result<(), CallError> {
        let reader = self.reader(handle)?;
        check_disposition(disposition)?;
        // Before the handle is removed: if the wait for a transaction is cancelled, the connection remains,
        // and the release of the client ends it.
        reader.disconnect(handle, disposition, &|| self.may_not_wait())?;
        lock(&self.connections).remove(handle);
        Ok(())
    }

    /// Begins a transaction, in the order in which connections asked for one.
    ///
    /// # Errors
    /// pcscd's for `SCardBeginTransaction`.
    pub fn begin_transaction(
        &self,
        handle: ConnectionHandle,
        deadline: Option<Instant>,
    ) -> Result<(), CallError> {
        let reader = self.reader(handle)?;
        reader.begin(handle, deadline, &|| self.may_not_wait())
    }

    /// Ends a transaction.
    ///
    /// # Errors
    /// pcscd's for `SCardEndTransaction`.
    pub fn end_transaction(&self, handle: ConnectionHandle, disposition: u32) -> Result<(), CallError> {
        let reader = self.reader(handle)?;
        check_disposition(disposition)?;
        reader.end_transaction(handle, disposition)
    }

    /// Whether a connection can be used.
    ///
    /// # Errors
    /// pcscd's for `SCardStatus`.
    pub fn status(&self, handle: ConnectionHandle) -> Result<(), CallError> {
        let reader = self.reader(handle)?;
        // SCardStatus has no deadline, and pcscd's clients too repeat it until the transaction is over.
        self.retry(&reader, None, || reader.check(handle))
    }

    /// Exchanges an APDU over a protocol, `SCARD_PROTOCOL_*`, which has to be the one in use.
    ///
    /// # Errors
    /// pcscd's for `SCardTransmit`. [`CallError::InsufficientBuffer`] leaves `response` as it was, though the
    /// card has carried out the command. [`CallError::Timeout`] resets the card if the command had begun.
    pub fn transmit(
        &self,
        handle: ConnectionHandle,
        protocol: u32,
        command: &[u8],
        response: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<Transmitted, CallError> {
        let reader = self.reader(handle)?;
        let room = response.len();
        let (length, protocol) = self.retry(&reader, deadline, || {
            reader.transmit(handle, protocol, command, response, deadline)
        })?;
        check_room(length, room)?;
        Ok(Transmitted { length, protocol })
    }

    /// Uses a function of a reader's own. Returns the answer's length.
    ///
    /// # Errors
    /// pcscd's for `SCardControl`.
    pub fn control(
        &self,
        handle: ConnectionHandle,
        code: u32,
        data: &[u8],
        answer: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, CallError> {
        let reader = self.reader(handle)?;
        let room = answer.len();
        let length = reader.control(handle, code, data, answer, deadline)?;
        check_room(length, room)?;
        Ok(length)
    }

    /// Gets an attribute. Returns its length.
    ///
    /// # Errors
    /// pcscd's for `SCardGetAttrib`.
    pub fn get_attribute(
        &self,
        handle: ConnectionHandle,
        id: u32,
        value: &mut [u8],
    ) -> Result<usize, CallError> {
        self.reader(handle)?.get_attribute(handle, id, value)
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// pcscd's for `SCardSetAttrib`.
    pub fn set_attribute(&self, handle: ConnectionHandle, id: u32, value: &[u8]) -> Result<(), CallError> {
        self.reader(handle)?.set_attribute(handle, id, value)
    }

    fn may_not_wait(&self) -> bool {
        let flags = [&self.is_released, &self.is_interrupted];
        flags.iter().any(|flag| flag.load(Ordering::SeqCst))
    }

    fn reader(&self, handle: ConnectionHandle) -> Result<Arc<ManagedReader>, CallError> {
        let connections = lock(&self.connections);
        connections.get(handle).cloned().ok_or(CallError::InvalidHandle)
    }

    /// Makes a call, and makes it again as long as it meets a sharing violation, if the client waits.
    fn retry<T>(
        &self,
        reader: &ManagedReader,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        loop {
            // Before the call: a transaction that ends between the refusal and the sleep moves the counter,
            // and the sleep returns at once.
            let seen = reader.changed().changes();
            match call() {
                Err(CallError::SharingViolation) if self.waits => (),
                done => return done,
            }
            if self.may_not_wait() {
                return Err(CallError::InvalidHandle);
            }
            if !reader.changed().wait(seen, deadline) {
                return Err(CallError::Timeout);
            }
        }
    }
}

/// The next handle that is free, from 1 on. A connection that lives while the others count through all
/// numbers keeps its handle.
fn next_handle(last: &AtomicI32, is_free: impl Fn(ConnectionHandle) -> bool) -> ConnectionHandle {
    loop {
        // `Relaxed`: each caller gets a number of its own, and nothing else is passed on with it. Handles are
        // positive, since protocol and C interface have them with and without a sign.
        let handle = last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
        if handle != 0 && is_free(handle) {
            return handle;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.release();
    }
}

fn check_room(length: usize, room: usize) -> Result<(), CallError> {
    if length > room {
        return Err(CallError::InsufficientBuffer { needed: length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_in_use_is_not_given_again() {
        let last = AtomicI32::new(i32::MAX - 1);
        let handles = [(); 4].map(|()| next_handle(&last, |handle| handle != 1 && handle != 3));
        assert_eq!(handles, [i32::MAX, 2, 4, 5]);
    }
}
