//! Transactions: exclusive use of a card.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::card::Card;
use crate::context::deadline;
use crate::error::{Error, Failure};
use crate::values::{Disposition, Protocols, ShareMode};

/// A transaction: no other connection reaches the card while it lives. It is used as the [`Card`] is.
///
/// Dropping it ends the transaction and leaves the card as it is ([`Disposition::LeaveCard`]), unless
/// [`Transaction::set_drop_disposition`] chose otherwise.
#[derive(Debug)]
pub struct Transaction<'tx> {
    card: &'tx mut Card,
    on_drop: Disposition,
}

impl Card {
    /// Begins a transaction: no other connection reaches the card until it ends. Blocks while another
    /// connection has one.
    ///
    /// # Errors
    /// Among others [`Error::ResetCard`] and [`Error::RemovedCard`].
    pub fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        Ok(self.try_transaction()?)
    }

    /// [`Card::transaction`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::transaction`].
    pub fn try_transaction(&mut self) -> Result<Transaction<'_>, Failure> {
        self.begin(None)?;
        Ok(Transaction::new(self))
    }

    /// [`Card::transaction`], which returns the card if it fails.
    ///
    /// # Errors
    /// As [`Card::transaction`], with the card.
    pub fn transaction2(&mut self) -> Result<Transaction<'_>, (&mut Self, Error)> {
        match self.begin(None) {
            Ok(()) => Ok(Transaction::new(self)),
            Err(failure) => Err((self, failure.into())),
        }
    }

    /// [`Card::transaction`] within `timeout`.
    ///
    /// # Errors
    /// As [`Card::transaction`]; [`Error::Timeout`] when the time is over; the connection stays usable.
    pub fn transaction_timeout(&mut self, timeout: Duration) -> Result<Transaction<'_>, Failure> {
        self.begin(deadline(timeout))?;
        Ok(Transaction::new(self))
    }

    fn begin(&self, deadline: Option<Instant>) -> Result<(), Failure> {
        self.context().session().begin_transaction(self.number, deadline)
    }

    fn end_transaction(&self, disposition: Disposition) -> Result<(), Failure> {
        let session = self.context().session();
        session.end_transaction(self.number, disposition as u32)
    }
}

impl<'tx> Transaction<'tx> {
    fn new(card: &'tx mut Card) -> Transaction<'tx> {
        Transaction {
            card,
            on_drop: Disposition::LeaveCard,
        }
    }

    /// What dropping this transaction does to the card. [`Card::drop_disposition`] is what dropping the
    /// connection does.
    pub fn drop_disposition(&self) -> Disposition {
        self.on_drop
    }

    /// Chooses what dropping this transaction does to the card; [`Disposition::LeaveCard`] by default.
    pub fn set_drop_disposition(&mut self, disposition: Disposition) {
        self.on_drop = disposition;
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// Gives the transaction back with the error.
    pub fn end(self, disposition: Disposition) -> Result<(), (Transaction<'tx>, Error)> {
        match self.card.end_transaction(disposition) {
            Ok(()) => {
                // Not dropped, since that would end the transaction again. It has nothing to free.
                let _ended = ManuallyDrop::new(self);
                Ok(())
            }
            Err(failure) => Err((self, failure.into())),
        }
    }

    /// See [`Card::reconnect`].
    ///
    /// # Errors
    /// As [`Card::reconnect`].
    pub fn reconnect(
        &mut self,
        share_mode: ShareMode,
        preferred_protocols: Protocols,
        initialization: Disposition,
    ) -> Result<(), Error> {
        self.card
            .reconnect(share_mode, preferred_protocols, initialization)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // The error has no receiver. A lost connection has ended the transaction by itself.
        let _ = self.card.end_transaction(self.on_drop);
    }
}

impl Deref for Transaction<'_> {
    type Target = Card;

    fn deref(&self) -> &Card {
        self.card
    }
}
