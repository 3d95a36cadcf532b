//! PC/SC part 10, "IFDs with Secure PIN Entry Capabilities": what `SCardControl` can ask of a reader.
//!
//! A client asks which features there are ([`features_reply`]) and gets a control code for each; what it
//! then sends with a code is decoded here and put into the reader's words. Nothing here does I/O, and no
//! `Debug` of these types shows what a command carries: it may be a PIN.
//!
//! * [`pin`]: the structures of FEATURE_VERIFY_PIN_DIRECT and FEATURE_MODIFY_PIN_DIRECT
//! * [`secure`]: their translation to PC_to_RDR_Secure (CCID 1.1, clause 6.1.11)
//! * [`tpdu`]: what T=1 adds where the reader does not speak it itself
//! * [`properties`]: FEATURE_IFD_PIN_PROPERTIES and FEATURE_GET_TLV_PROPERTIES
//! * [`escape`]: who may send what to the reader itself
//! * [`gemalto`]: the features of Gemalto's PIN pads, and the messages on their display

pub mod escape;
pub mod gemalto;
pub mod pin;
pub mod properties;
pub mod secure;
pub mod tpdu;

use alloc::vec::Vec;

/// The control code that pcsc-lite makes of a number (`SCARD_CTL_CODE`).
pub const fn control_code(number: u32) -> u32 {
    0x4200_0000 + number
}

/// Asks for the list of features (`CM_IOCTL_GET_FEATURE_REQUEST`).
pub const GET_FEATURE_REQUEST: u32 = control_code(3400);
/// The same as Windows numbers it. Clients behind a remote desktop send this.
pub const GET_FEATURE_REQUEST_WINDOWS: u32 = 0x0031_3520;
/// Sends an Escape to the reader (`IOCTL_SMARTCARD_VENDOR_IFD_EXCHANGE`).
pub const VENDOR_IFD_EXCHANGE: u32 = control_code(1);
/// Sets or gets the NAD of T=1.
pub const NAD: u32 = control_code(3600);
/// Asks where on the bus the reader is: the kernel's name of its interface, with a final NUL.
pub const USB_PATH: u32 = control_code(3601);
/// A client must have room for this many bytes of [`features_reply`], however few there are.
pub const FEATURES_ROOM: usize = 6 * 6;

/// The features of part 10, clause 2.2, that this driver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
#[allow(missing_docs)] // The names are the specification's.
pub enum Feature {
    VerifyPinDirect = 0x06,
    ModifyPinDirect = 0x07,
    MctReaderDirect = 0x08,
    IfdPinProperties = 0x0A,
    GetTlvProperties = 0x12,
    CcidEscCommand = 0x13,
}

impl Feature {
    /// The tag in the list of features.
    pub const fn tag(self) -> u8 {
        self as u8
    }

    /// The control code that this driver gives it.
    pub const fn code(self) -> u32 {
        match self {
            Feature::CcidEscCommand => VENDOR_IFD_EXCHANGE,
            other => control_code(0x33_0000 + other as u32),
        }
    }
}

/// The meaning of a control code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlFunction {
    /// The list of features.
    Features,
    /// A PIN verified: [`pin::Verification`].
    VerifyPin,
    /// A PIN modified: [`pin::Modification`].
    ModifyPin,
    /// [`properties::pin_properties`].
    PinProperties,
    /// [`properties::tlv_properties`].
    TlvProperties,
    /// A Secoder command: [`escape::is_secoder_command`].
    ReaderDirect,
    /// An Escape: [`escape::is_allowed`].
    Escape,
    /// The NAD of T=1: [`tpdu::NadRequest`].
    Nad,
    /// Where on the bus the reader is.
    UsbPath,
}

impl ControlFunction {
    /// What a control code means, if this driver supports it.
    pub fn decode(code: u32) -> Option<ControlFunction> {
        const CODES: [(u32, ControlFunction); 10] = [
            (GET_FEATURE_REQUEST, ControlFunction::Features),
            (GET_FEATURE_REQUEST_WINDOWS, ControlFunction::Features),
            (Feature::VerifyPinDirect.code(), ControlFunction::VerifyPin),
            (Feature::ModifyPinDirect.code(), ControlFunction::ModifyPin),
            (Feature::IfdPinProperties.code(), ControlFunction::PinProperties),
            (Feature::GetTlvProperties.code(), ControlFunction::TlvProperties),
            (Feature::MctReaderDirect.code(), ControlFunction::ReaderDirect),
            (VENDOR_IFD_EXCHANGE, ControlFunction::Escape),
            (NAD, ControlFunction::Nad),
            (USB_PATH, ControlFunction::UsbPath),
        ];
        CODES
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, control)| *control)
    }
}

/// The features of a reader, in the order in which they are listed.
///
/// `pin_support` is `bPINSupport`, after quirks; `escapes` says whether the user allows Escapes.
pub fn features(pin_support: u8, reader_direct: bool, escapes: bool) -> impl Iterator<Item = Feature> {
    [
        (pin_support & 1 != 0, Feature::VerifyPinDirect),
        (pin_support & 2 != 0, Feature::ModifyPinDirect),
        (pin_support != 0, Feature::IfdPinProperties),
        (reader_direct, Feature::MctReaderDirect),
        (true, Feature::GetTlvProperties),
        (escapes, Feature::CcidEscCommand),
    ]
    .into_iter()
    .filter_map(|(has, feature)| has.then_some(feature))
}

/// The answer to GET_FEATURE_REQUEST: for each feature its tag, the length 4, and its control code, big
/// endian (part 10, clause 2.2).
pub fn features_reply(features: impl IntoIterator<Item = Feature>) -> Vec<u8> {
    let mut reply = Vec::with_capacity(FEATURES_ROOM);
    for feature in features {
        reply.extend_from_slice(&[feature.tag(), 4]);
        reply.extend_from_slice(&feature.code().to_be_bytes());
    }
    reply
}

#[cfg(test)]
mod tests;
