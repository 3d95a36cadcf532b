//! The status of a connection.

use std::ffi::CString;

use crate::backend::ConnectionStatus;
use crate::card::Card;
use crate::context::ReaderNames;
use crate::error::{Error, Failure};
use crate::ffi::DWORD;
use crate::values::{Protocol, Status};

/// The methods that both forms of a status have.
macro_rules! status_and_protocol {
    () => {
        /// The card's status.
        pub fn status(&self) -> Status {
            self.status
        }

        /// The protocol in use; `None` for a direct connection.
        pub fn protocol2(&self) -> Option<Protocol> {
            self.protocol
        }

        /// The protocol in use.
        ///
        /// # Panics
        /// For a direct connection; [`Self::protocol2`] does not.
        pub fn protocol(&self) -> Protocol {
            self.protocol
                .expect("a direct connection has no protocol; use protocol2()")
        }
    };
}

/// The result of [`Card::status2`].
#[derive(Clone, Debug)]
pub struct CardStatus<'names_buf, 'atr_buf> {
    reader_names: ReaderNames<'names_buf>,
    status: Status,
    protocol: Option<Protocol>,
    atr: &'atr_buf [u8],
}

impl<'names_buf, 'atr_buf> CardStatus<'names_buf, 'atr_buf> {
    /// The reader's names; PC/SC Lite has one.
    pub fn reader_names(&self) -> ReaderNames<'names_buf> {
        self.reader_names.clone()
    }

    status_and_protocol!();

    /// The card's ATR.
    pub fn atr(&self) -> &'atr_buf [u8] {
        self.atr
    }
}

/// The result of [`Card::status2_owned`].
#[derive(Clone, Debug)]
pub struct CardStatusOwned {
    reader_names: Vec<CString>,
    status: Status,
    protocol: Option<Protocol>,
    atr: Vec<u8>,
}

impl CardStatusOwned {
    /// The reader's names; PC/SC Lite has one.
    pub fn reader_names(&self) -> &[CString] {
        &self.reader_names
    }

    status_and_protocol!();

    /// The card's ATR.
    pub fn atr(&self) -> &[u8] {
        &self.atr
    }
}

impl Card {
    /// The card's status and protocol.
    ///
    /// # Errors
    /// As [`Card::status2`]; [`Error::ProtoMismatch`] for a direct connection.
    #[deprecated(since = "0.1.0", note = "Use status2() or status2_owned() instead.")]
    pub fn status(&self) -> Result<(Status, Protocol), Error> {
        let now = self.status_now()?;
        let protocol = Protocol::from_raw(now.protocol).ok_or(Error::ProtoMismatch)?;
        Ok((status_bits(&now), protocol))
    }

    /// The reader's name, and the card's status, protocol and ATR.
    ///
    /// # Errors
    /// [`Error::InsufficientBuffer`]; [`Error::ResetCard`], [`Error::RemovedCard`],
    /// [`Error::ReaderUnavailable`].
    pub fn status2<'names_buf, 'atr_buf>(
        &self,
        names_buffer: &'names_buf mut [u8],
        atr_buffer: &'atr_buf mut [u8],
    ) -> Result<CardStatus<'names_buf, 'atr_buf>, Error> {
        let now = self.status_now()?;
        let name = self.reader.to_bytes_with_nul();
        let names = names_buffer
            .get_mut(..name.len())
            .ok_or(Error::InsufficientBuffer)?;
        names.copy_from_slice(name);
        let atr = atr_buffer
            .get_mut(..now.atr.len())
            .ok_or(Error::InsufficientBuffer)?;
        atr.copy_from_slice(&now.atr);
        Ok(CardStatus {
            reader_names: ReaderNames::new(names),
            status: status_bits(&now),
            protocol: Protocol::from_raw(now.protocol),
            atr,
        })
    }

    /// The sizes in bytes of the buffers that [`Card::status2`] needs.
    ///
    /// # Errors
    /// As [`Card::status2`].
    pub fn status2_len(&self) -> Result<(usize, usize), Error> {
        Ok((
            self.reader.to_bytes_with_nul().len(),
            self.status_now()?.atr.len(),
        ))
    }

    /// The reader's name, and the card's status, protocol and ATR.
    ///
    /// # Errors
    /// As [`Card::status2`].
    pub fn status2_owned(&self) -> Result<CardStatusOwned, Error> {
        Ok(self.try_status()?)
    }

    /// [`Card::status2_owned`] with the cause of a failure.
    ///
    /// # Errors
    /// As [`Card::status2`].
    pub fn try_status(&self) -> Result<CardStatusOwned, Failure> {
        let now = self.status_now()?;
        Ok(CardStatusOwned {
            reader_names: vec![self.reader.to_owned()],
            status: status_bits(&now),
            protocol: Protocol::from_raw(now.protocol),
            atr: now.atr.to_vec(),
        })
    }

    fn status_now(&self) -> Result<ConnectionStatus, Failure> {
        let session = self.context().session();
        session.status(self.number, self.reader.to_bytes())
    }
}

fn status_bits(now: &ConnectionStatus) -> Status {
    Status::from_bits_truncate(DWORD::from(now.state))
}
