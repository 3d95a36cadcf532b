//! Exclusive use of a card for a while.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use crate::card::Card;
use crate::error::Error;
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

impl<'tx> Transaction<'tx> {
    pub(crate) fn new(card: &'tx mut Card) -> Transaction<'tx> {
        Transaction {
            card,
            on_drop: Disposition::LeaveCard,
        }
    }

    /// Chooses what dropping this transaction does to the card; [`Disposition::LeaveCard`] unless told.
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
                // Holds a reference and a number: there is nothing to leak.
                let _ended = ManuallyDrop::new(self);
                Ok(())
            }
            Err(error) => Err((self, error)),
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
        // There is nobody to tell; a lost connection has ended the transaction by itself.
        let _ = self.card.end_transaction(self.on_drop);
    }
}

impl Deref for Transaction<'_> {
    type Target = Card;

    fn deref(&self) -> &Card {
        self.card
    }
}
