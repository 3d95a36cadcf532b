//! The response code of each error: libccid's code for the same event.

#![forbid(unsafe_code)]

use crate::abi::{self, ResponseCode};
use pcsc_ccid::reader::Error;

/// An exchange with the card, or with the reader.
pub fn exchange(error: Error) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        Error::NoCard => abi::ICC_NOT_PRESENT,
        Error::BufferTooSmall => abi::ERROR_INSUFFICIENT_BUFFER,
        Error::ProtocolUnsupported => abi::PROTOCOL_NOT_SUPPORTED,
        _ => abi::COMMUNICATION_ERROR,
    }
}

/// A control request. pcscd reports both a missing feature and an invalid structure as not supported.
pub fn control(error: Error) -> ResponseCode {
    match error {
        Error::Unsupported => abi::ERROR_NOT_SUPPORTED,
        Error::InvalidParameter => abi::NOT_SUPPORTED,
        error => exchange(error),
    }
}

/// The selection of a protocol. `reader_offers` is whether the reader supports it.
pub fn protocol(error: Error, reader_offers: bool) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        Error::ProtocolUnsupported if !reader_offers => abi::ERROR_NOT_SUPPORTED,
        Error::ProtocolUnsupported | Error::Atr(_) | Error::NotPowered => abi::PROTOCOL_NOT_SUPPORTED,
        Error::NoSuchSlot | Error::Transport(_) => abi::COMMUNICATION_ERROR,
        _ => abi::ERROR_PTS_FAILURE,
    }
}

/// Power-down. Power-up fails with [`abi::ERROR_POWER_ACTION`] whatever the reason.
pub fn power_down(error: Error) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        _ => abi::ERROR_POWER_ACTION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_ccid::message::SlotError;
    use pcsc_ccid::transport;

    const GONE: Error = Error::Transport(transport::Error::Gone);

    #[test]
    fn a_reader_that_is_gone_is_no_such_device() {
        assert_eq!(
            [exchange(GONE), control(GONE), protocol(GONE, true)],
            [abi::NO_SUCH_DEVICE; 3]
        );
        assert_eq!(power_down(GONE), abi::NO_SUCH_DEVICE);
    }

    #[test]
    fn each_event_has_its_code() {
        assert_eq!(exchange(Error::NoCard), abi::ICC_NOT_PRESENT);
        assert_eq!(exchange(Error::BufferTooSmall), abi::ERROR_INSUFFICIENT_BUFFER);
        for error in [
            Error::CardReset,
            Error::NotPowered,
            Error::TooSlow,
            Error::Slot(SlotError::Parity),
            Error::CommandTooLong { max: 5 },
        ] {
            assert_eq!(exchange(error), abi::COMMUNICATION_ERROR, "{error}");
        }
        assert_eq!(control(Error::Unsupported), abi::ERROR_NOT_SUPPORTED);
        assert_eq!(
            protocol(Error::ProtocolUnsupported, false),
            abi::ERROR_NOT_SUPPORTED
        );
        assert_eq!(
            protocol(Error::ProtocolUnsupported, true),
            abi::PROTOCOL_NOT_SUPPORTED
        );
        assert_eq!(
            protocol(Error::Slot(SlotError::Mute), true),
            abi::ERROR_PTS_FAILURE
        );
        assert_eq!(power_down(Error::TooSlow), abi::ERROR_POWER_ACTION);
    }
}
