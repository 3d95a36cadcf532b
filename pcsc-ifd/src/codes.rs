//! The response code of each error: libccid's code for the same event.

#![forbid(unsafe_code)]

use crate::abi::{self, ResponseCode};
use pcsc_ccid::reader::ReaderError;

/// An exchange with the card, or with the reader.
pub fn exchange(error: ReaderError) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        ReaderError::NoCard => abi::ICC_NOT_PRESENT,
        ReaderError::BufferTooSmall => abi::ERROR_INSUFFICIENT_BUFFER,
        ReaderError::ProtocolUnsupported => abi::PROTOCOL_NOT_SUPPORTED,
        _ => abi::COMMUNICATION_ERROR,
    }
}

/// A control request. pcscd reports both a missing feature and an invalid structure as not supported.
pub fn control(error: ReaderError) -> ResponseCode {
    match error {
        ReaderError::Unsupported => abi::ERROR_NOT_SUPPORTED,
        ReaderError::InvalidParameter => abi::NOT_SUPPORTED,
        error => exchange(error),
    }
}

/// The selection of a protocol. `reader_offers` is whether the reader supports it.
pub fn protocol(error: ReaderError, reader_offers: bool) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        ReaderError::ProtocolUnsupported if !reader_offers => abi::ERROR_NOT_SUPPORTED,
        ReaderError::ProtocolUnsupported | ReaderError::Atr(_) | ReaderError::NotPowered => {
            abi::PROTOCOL_NOT_SUPPORTED
        }
        ReaderError::NoSuchSlot | ReaderError::Transport(_) => abi::COMMUNICATION_ERROR,
        _ => abi::ERROR_PTS_FAILURE,
    }
}

/// Power-down. Power-up fails with [`abi::ERROR_POWER_ACTION`] whatever the reason.
pub fn power_down(error: ReaderError) -> ResponseCode {
    match error {
        error if error.is_gone() => abi::NO_SUCH_DEVICE,
        _ => abi::ERROR_POWER_ACTION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_ccid::message::SlotErrorCode;
    use pcsc_ccid::transport::TransportError;

    const GONE: ReaderError = ReaderError::Transport(TransportError::Gone);

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
        assert_eq!(exchange(ReaderError::NoCard), abi::ICC_NOT_PRESENT);
        assert_eq!(
            exchange(ReaderError::BufferTooSmall),
            abi::ERROR_INSUFFICIENT_BUFFER
        );
        for error in [
            ReaderError::CardReset,
            ReaderError::NotPowered,
            ReaderError::TooSlow,
            ReaderError::Slot(SlotErrorCode::Parity),
            ReaderError::CommandTooLong { max: 5 },
        ] {
            assert_eq!(exchange(error), abi::COMMUNICATION_ERROR, "{error}");
        }
        assert_eq!(control(ReaderError::Unsupported), abi::ERROR_NOT_SUPPORTED);
        assert_eq!(
            protocol(ReaderError::ProtocolUnsupported, false),
            abi::ERROR_NOT_SUPPORTED
        );
        assert_eq!(
            protocol(ReaderError::ProtocolUnsupported, true),
            abi::PROTOCOL_NOT_SUPPORTED
        );
        assert_eq!(
            protocol(ReaderError::Slot(SlotErrorCode::Mute), true),
            abi::ERROR_PTS_FAILURE
        );
        assert_eq!(power_down(ReaderError::TooSlow), abi::ERROR_POWER_ACTION);
    }
}
