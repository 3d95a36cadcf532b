//! The names of the features of PC/SC part 10.

/// The features of clause 2.2 by their tags, without FEATURE_.
const NAMES: [(u8, &str); 20] = [
    (0x01, "VERIFY_PIN_START"),
    (0x02, "VERIFY_PIN_FINISH"),
    (0x03, "MODIFY_PIN_START"),
    (0x04, "MODIFY_PIN_FINISH"),
    (0x05, "GET_KEY_PRESSED"),
    (0x06, "VERIFY_PIN_DIRECT"),
    (0x07, "MODIFY_PIN_DIRECT"),
    (0x08, "MCT_READER_DIRECT"),
    (0x09, "MCT_UNIVERSAL"),
    (0x0A, "IFD_PIN_PROPERTIES"),
    (0x0B, "ABORT"),
    (0x0C, "SET_SPE_MESSAGE"),
    (0x0D, "VERIFY_PIN_DIRECT_APP_ID"),
    (0x0E, "MODIFY_PIN_DIRECT_APP_ID"),
    (0x0F, "WRITE_DISPLAY"),
    (0x10, "GET_KEY"),
    (0x11, "IFD_DISPLAY_PROPERTIES"),
    (0x12, "GET_TLV_PROPERTIES"),
    (0x13, "CCID_ESC_COMMAND"),
    (0x20, "EXECUTE_PACE"),
];

/// The name of a feature.
pub fn feature_name(tag: u8) -> Option<&'static str> {
    let known = NAMES.iter().find(|(known, _)| *known == tag);
    known.map(|(_, name)| *name)
}
