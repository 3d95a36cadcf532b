//! The connections to a reader's card: sharing, transactions, and the reset or removal that each has not
//! reported yet. Bookkeeping without I/O; the rules are pcscd's.

use std::collections::VecDeque;

use crate::error::CallError;

pub const EXCLUSIVE: u32 = pcsc_constants::SCARD_SHARE_EXCLUSIVE;
pub const SHARED: u32 = pcsc_constants::SCARD_SHARE_SHARED;
pub const DIRECT: u32 = pcsc_constants::SCARD_SHARE_DIRECT;

pub const T0: u32 = pcsc_constants::SCARD_PROTOCOL_T0;
pub const T1: u32 = pcsc_constants::SCARD_PROTOCOL_T1;
/// No protocol of the manager's: exchanges go to the driver unchecked.
pub const RAW: u32 = pcsc_constants::SCARD_PROTOCOL_RAW;

/// What old programs pass for T=0 or T=1.
pub const ANY_OLD: u32 = pcsc_constants::SCARD_PROTOCOL_ANY_OLD;

/// Which protocols of those that a connection asks for the card offers.
pub fn in_common(protocols: u32, offered: u32) -> u32 {
    let wanted = match protocols & ANY_OLD {
        0 => protocols,
        _ => T0 | T1,
    };
    wanted & offered & (T0 | T1)
}

/// A connection's number.
pub type ConnectionHandle = i32;

/// Values by the handles of connections, in the order of the handles. Most new handles are larger than
/// those before, so that an insertion is at the end. A hash map brings several kilobytes of code.
#[derive(Debug)]
pub struct ByHandle<T>(Vec<(ConnectionHandle, T)>);

impl<T> Default for ByHandle<T> {
    fn default() -> Self {
        ByHandle(Vec::new())
    }
}

impl<T> ByHandle<T> {
    fn place(&self, handle: ConnectionHandle) -> Result<usize, usize> {
        self.0.binary_search_by_key(&handle, |(handle, _)| *handle)
    }

    /// The value of a connection.
    pub fn get(&self, handle: ConnectionHandle) -> Option<&T> {
        self.place(handle).ok().map(|place| &self.0[place].1)
    }

    /// Gives a connection a value, in place of any other.
    pub fn insert(&mut self, handle: ConnectionHandle, value: T) {
        match self.place(handle) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (handle, value)),
        }
    }

    /// Takes the value of a connection.
    pub fn remove(&mut self, handle: ConnectionHandle) -> Option<T> {
        let place = self.place(handle).ok()?;
        Some(self.0.remove(place).1)
    }

    /// All connections with their values, in the order of the handles.
    pub fn into_vec(self) -> Vec<(ConnectionHandle, T)> {
        self.0
    }
}

/// What happened to the card that a connection must learn before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    None,
    Reset,
    Removed,
}

/// The connections to one reader.
#[derive(Debug, Default)]
pub struct Connections {
    handles: ByHandle<Notice>,
    is_exclusive: bool,
    owner: Option<ConnectionHandle>,
    /// How deep the owner's transactions are nested; an exclusive connection counts as one.
    depth: u32,
    waiting: VecDeque<ConnectionHandle>,
}

impl Connections {
    /// pcscd's number: -1 for an exclusive connection, else how many share.
    pub fn sharing(&self) -> i32 {
        if self.is_exclusive {
            -1
        } else {
            self.handles.0.len() as i32
        }
    }

    /// Whether there is a connection of this handle.
    pub fn has(&self, handle: ConnectionHandle) -> bool {
        self.handles.get(handle).is_some()
    }

    /// Whether there is no connection.
    pub fn is_idle(&self) -> bool {
        self.handles.0.is_empty()
    }

    /// Whether some connection is in a transaction.
    pub fn is_owned(&self) -> bool {
        self.owner.is_some()
    }

    /// Whether the only connection is exclusive.
    pub fn is_exclusive(&self) -> bool {
        self.is_exclusive
    }

    /// Whether this connection is in a transaction, or is exclusive.
    pub fn is_owner(&self, handle: ConnectionHandle) -> bool {
        self.owner == Some(handle)
    }

    /// Refuses to make a connection exclusive that is not the only one.
    pub fn check_alone(&self, handle: ConnectionHandle, share: u32) -> Result<(), CallError> {
        let has_others = self.handles.0.iter().any(|(other, _)| *other != handle);
        if share == EXCLUSIVE && has_others {
            return Err(CallError::SharingViolation);
        }
        Ok(())
    }

    /// Adds a connection.
    pub fn connect(&mut self, handle: ConnectionHandle, share: u32) -> Result<(), CallError> {
        if self.is_exclusive {
            return Err(CallError::SharingViolation);
        }
        self.check_alone(handle, share)?;
        if share == EXCLUSIVE {
            self.is_exclusive = true;
            self.owner = Some(handle);
            self.depth = 1;
        }
        self.handles.insert(handle, Notice::None);
        Ok(())
    }

    /// Gives a connection another share mode. It has no reset or removal to report any more.
    pub fn reconnect(&mut self, handle: ConnectionHandle, share: u32) -> Result<(), CallError> {
        if self.handles.get(handle).is_none() {
            return Err(CallError::InvalidHandle);
        }
        self.check_alone(handle, share)?;
        if share == EXCLUSIVE {
            if !self.is_exclusive {
                self.is_exclusive = true;
                // pcscd's way: an exclusive connection is in a transaction that only its disconnection or
                // another share mode ends.
                self.owner = Some(handle);
                self.depth += 1;
            }
        } else if self.is_exclusive {
            self.is_exclusive = false;
            self.leave();
        }
        self.handles.insert(handle, Notice::None);
        Ok(())
    }

    /// Removes a connection, with the transactions that it holds.
    pub fn disconnect(&mut self, handle: ConnectionHandle) {
        if self.handles.remove(handle).is_none() {
            return;
        }
        if self.owner == Some(handle) {
            self.owner = None;
            self.depth = 0;
        }
        // An exclusive connection is the only one, so it is the one that ends here.
        self.is_exclusive = false;
        self.waiting.retain(|other| *other != handle);
    }

    /// Whether this connection may use the card now, as far as transactions go.
    pub fn may_use(&self, handle: ConnectionHandle) -> bool {
        self.owner.is_none_or(|owner| owner == handle)
    }

    /// What a connection must learn first. It learns it again until it reconnects.
    pub fn notice(&self, handle: ConnectionHandle) -> Result<(), CallError> {
        match self.handles.get(handle) {
            None => Err(CallError::InvalidHandle),
            Some(Notice::None) => Ok(()),
            Some(Notice::Reset) => Err(CallError::ResetCard),
            Some(Notice::Removed) => Err(CallError::RemovedCard),
        }
    }

    /// Adds a connection at the end of the queue for a transaction.
    pub fn queue(&mut self, handle: ConnectionHandle) {
        // A caller comes here at each wake-up, and keeps its place.
        if !self.waiting.contains(&handle) {
            self.waiting.push_back(handle);
        }
    }

    /// Removes a connection from the queue. Returns whether it was there.
    pub fn leave_queue(&mut self, handle: ConnectionHandle) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|other| *other != handle);
        self.waiting.len() < before
    }

    /// Begins a transaction if the card is free and no other connection waited longer. Returns whether it
    /// did. Under pcscd the order is not defined: its clients ask again and again. Here callers sleep until
    /// the state changes, which wakes all of them, and without a queue one of them could starve.
    pub fn try_begin(&mut self, handle: ConnectionHandle) -> bool {
        let is_turn = self.owner == Some(handle)
            || (self.owner.is_none() && self.waiting.front().is_none_or(|first| *first == handle));
        if is_turn {
            self.owner = Some(handle);
            self.depth += 1;
            self.leave_queue(handle);
        }
        is_turn
    }

    /// Ends a transaction.
    pub fn end(&mut self, handle: ConnectionHandle) -> Result<(), CallError> {
        if !self.may_use(handle) {
            return Err(CallError::SharingViolation);
        }
        // The transaction that the share mode stands for cannot be ended by its owner.
        let least = u32::from(self.is_exclusive);
        if self.depth <= least {
            return Err(CallError::NotTransacted);
        }
        self.leave();
        Ok(())
    }

    /// Ends the innermost transaction of the owner.
    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.owner = None;
        }
    }

    /// Gives a connection exclusive use of the card for a reset, on top of its transactions, until
    /// [`Connections::let_go`] or [`Connections::disconnect`].
    pub fn hold(&mut self, handle: ConnectionHandle) -> Result<(), CallError> {
        if self.handles.get(handle).is_none() {
            return Err(CallError::InvalidHandle);
        }
        if !self.may_use(handle) {
            return Err(CallError::SharingViolation);
        }
        self.owner = Some(handle);
        self.depth += 1;
        Ok(())
    }

    /// Ends what [`Connections::hold`] has begun.
    pub fn let_go(&mut self, handle: ConnectionHandle) {
        // The card's removal may have ended it.
        if self.owner == Some(handle) {
            self.leave();
        }
    }

    fn note(&mut self, notice: Notice) {
        self.handles.0.iter_mut().for_each(|(_, noted)| *noted = notice);
    }

    /// Notes that the card was reset, which each connection reports until it reconnects. So does the one that
    /// asked for the reset: it reconnects or ends, and pcscd reports a reset at the end of a transaction to
    /// its own connection too.
    pub fn notify_reset(&mut self) {
        self.note(Notice::Reset);
    }

    /// Notes that the card was removed, which each connection reports until it reconnects. It ends all
    /// transactions.
    pub fn notify_removed(&mut self) {
        self.note(Notice::Removed);
        // The card that they were for is gone, and pcscd too gives up its lock.
        self.owner = None;
        self.depth = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_sharing() -> Connections {
        let mut connections = Connections::default();
        connections.connect(1, SHARED).unwrap();
        connections.connect(2, SHARED).unwrap();
        connections
    }

    #[test]
    fn exclusive_means_alone() {
        let mut connections = two_sharing();
        assert_eq!(connections.sharing(), 2);
        assert_eq!(
            connections.connect(3, EXCLUSIVE),
            Err(CallError::SharingViolation)
        );
        assert_eq!(
            connections.reconnect(1, EXCLUSIVE),
            Err(CallError::SharingViolation)
        );
        connections.disconnect(2);
        connections.reconnect(1, EXCLUSIVE).unwrap();
        assert_eq!(connections.sharing(), -1);
        assert!(connections.is_exclusive());
        assert_eq!(connections.end(1), Err(CallError::NotTransacted));
        assert!(connections.try_begin(1));
        assert_eq!(connections.end(1), Ok(()));
        connections.reconnect(1, SHARED).unwrap();
        assert_eq!(connections.sharing(), 1);
        assert!(!connections.is_owned());
        // From the beginning, too.
        connections.disconnect(1);
        connections.connect(4, EXCLUSIVE).unwrap();
        assert!(connections.is_owner(4) && !connections.may_use(5));
        connections.disconnect(4);
        assert!(!connections.is_owned() && !connections.is_exclusive());
    }

    #[test]
    fn transactions_nest_and_follow_the_queue() {
        let mut connections = two_sharing();
        connections.connect(3, SHARED).unwrap();
        assert!(connections.try_begin(1) && connections.try_begin(1));
        connections.queue(2);
        connections.queue(3);
        assert!(!connections.try_begin(2) && !connections.may_use(2));
        assert_eq!(connections.end(2), Err(CallError::SharingViolation));
        connections.end(1).unwrap();
        assert!(!connections.try_begin(2));
        connections.end(1).unwrap();
        assert!(!connections.try_begin(3), "2 came first");
        assert!(connections.try_begin(2));
        connections.disconnect(2);
        assert!(connections.try_begin(3));
        assert_eq!(connections.end(1), Err(CallError::SharingViolation));
    }

    #[test]
    fn connections_report_a_reset_until_they_reconnect() {
        let mut connections = two_sharing();
        connections.notify_reset();
        connections.reconnect(1, SHARED).unwrap();
        assert_eq!(connections.notice(1), Ok(()));
        assert_eq!(connections.notice(2), Err(CallError::ResetCard));
        assert_eq!(connections.notice(2), Err(CallError::ResetCard));
        connections.reconnect(2, SHARED).unwrap();
        assert_eq!(connections.notice(2), Ok(()));
        assert!(connections.try_begin(1));
        connections.notify_removed();
        assert!(!connections.is_owned());
        assert_eq!(connections.notice(1), Err(CallError::RemovedCard));
        assert_eq!(connections.notice(9), Err(CallError::InvalidHandle));
    }
}
