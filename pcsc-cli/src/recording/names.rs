//! The names of the numbers in a recording.

use pcsc_ccid::part10::{GET_FEATURE_REQUEST, VENDOR_IFD_EXCHANGE};
use pcsc_constants::{CODES, VALUES};
use serde_json::Value;

use crate::feature_names::feature_name;

/// A field's value, for people.
pub fn shown(function: &str, field: &str, value: &Value) -> String {
    let number = number(value);
    match (field, number) {
        ("scope", Some(scope)) => name(scope, "SCARD_SCOPE_"),
        ("share_mode", Some(mode)) => name(mode, "SCARD_SHARE_"),
        ("protocol" | "protocols", Some(protocols)) => flags(protocols, "SCARD_PROTOCOL_"),
        ("disposition" | "initialization", Some(what)) => name(what, "").replace("_card", ""),
        ("current_state" | "event_state", Some(state)) => {
            with_count(state, |bits| flags(bits, "SCARD_STATE_"))
        }
        ("state", Some(state)) if function == "SCardStatus" => {
            with_count(state, |bits| flags(bits, "SCARD_"))
        }
        ("attribute", Some(attribute)) => name(attribute, "SCARD_ATTR_"),
        ("control_code", Some(code)) => control_code(code),
        ("timeout", Some(milliseconds)) => format!("{milliseconds}ms"),
        ("timeout", None) => "none".into(),
        _ => match value {
            Value::Null => "NULL".into(),
            Value::String(text) if field == "room" => text.clone(),
            value => value.to_string(),
        },
    }
}

/// A number, or one in hexadecimal digits.
pub fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(digits) => u32::from_str_radix(digits.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

/// The name of a return code, with the text of an error.
pub fn result(digits: &str) -> String {
    let code = number(&Value::String(digits.into()));
    // Of two names the later one: SCARD_E_UNSUPPORTED_FEATURE, not SCARD_E_UNEXPECTED.
    let known = CODES.iter().rev().find(|(_, value)| Some(*value) == code);
    match (known, code.and_then(pcsc_constants::text)) {
        (Some((name, 0)), _) => (*name).into(),
        (Some((name, _)), Some(text)) => format!("{name} ({})", text.to_string_lossy().trim_end_matches('.')),
        _ => digits.into(),
    }
}

/// The part of a constant's name after this prefix; digits for a number without one.
fn name(number: u32, prefix: &str) -> String {
    let known = VALUES.iter().find(|(name, value)| {
        let is_disposition = name.ends_with("_CARD");
        *value == number && name.starts_with(prefix) && (!prefix.is_empty() || is_disposition)
    });
    let stripped = known.map(|(name, _)| name.trim_start_matches(prefix).trim_start_matches("SCARD_"));
    stripped.map_or_else(|| format!("{number:#X}"), str::to_lowercase)
}

/// The names of the bits that are set, and digits for the rest.
fn flags(number: u32, prefix: &str) -> String {
    let is_bit = |name: &str, value: u32| {
        let rest = name.strip_prefix(prefix);
        // The bits of a card's status have no prefix of their own.
        let is_of_status = prefix != "SCARD_" || STATUS.contains(&name);
        value.is_power_of_two() && value & number != 0 && rest.is_some() && is_of_status
    };
    let known = VALUES.iter().filter(|(name, value)| is_bit(name, *value));
    let mut rest = number;
    let mut parts: Vec<String> = Vec::new();
    for (name, value) in known {
        rest &= !value;
        parts.push(name.trim_start_matches(prefix).to_lowercase());
    }
    if number == 0 {
        return name(0, prefix);
    }
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    parts.join("|")
}

const STATUS: [&str; 7] = [
    "SCARD_UNKNOWN",
    "SCARD_ABSENT",
    "SCARD_PRESENT",
    "SCARD_SWALLOWED",
    "SCARD_POWERED",
    "SCARD_NEGOTIABLE",
    "SCARD_SPECIFIC",
];

/// A state, whose upper half counts the events of the reader.
fn with_count(state: u32, shown: impl Fn(u32) -> String) -> String {
    match (state >> 16, state & 0xFFFF) {
        (0, bits) => shown(bits),
        (count, bits) => format!("{} (event {count})", shown(bits)),
    }
}

/// What drivers add to the tag of a feature for its control code.
const FEATURES: u32 = pcsc_constants::control_code(0x33_0000);

fn control_code(code: u32) -> String {
    let feature = code.checked_sub(FEATURES).and_then(|tag| tag.try_into().ok());
    match (code, feature.and_then(feature_name)) {
        (GET_FEATURE_REQUEST, _) => "get_feature_request".into(),
        (VENDOR_IFD_EXCHANGE, _) => "escape".into(),
        (_, Some(name)) => name.to_lowercase(),
        (_, None) => format!("{code:#010X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_winscard_h() {
        for (function, field, value, expected) in [
            ("SCardEstablishContext", "scope", Value::from(2), "system"),
            ("SCardConnect", "share_mode", Value::from(3), "direct"),
            ("SCardConnect", "share_mode", Value::from(9), "0x9"),
            ("SCardConnect", "protocols", Value::from(3), "t0|t1"),
            ("SCardConnect", "protocols", Value::from(0), "undefined"),
            ("SCardConnect", "protocols", Value::from(0x12), "t1|0x10"),
            ("SCardDisconnect", "disposition", Value::from(0), "leave"),
            ("SCardDisconnect", "disposition", Value::from(2), "unpower"),
            (
                "SCardStatus",
                "state",
                "0x00010034".into(),
                "present|powered|negotiable (event 1)",
            ),
            (
                "SCardGetStatusChange",
                "current_state",
                "0x00000022".into(),
                "changed|present",
            ),
            (
                "SCardGetStatusChange",
                "current_state",
                "0x00000000".into(),
                "unaware",
            ),
            ("SCardGetAttrib", "attribute", "0x00090303".into(), "atr_string"),
            (
                "SCardControl",
                "control_code",
                "0x42000D48".into(),
                "get_feature_request",
            ),
            ("SCardControl", "control_code", "0x42000D49".into(), "0x42000D49"),
            ("SCardControl", "control_code", "0x42000001".into(), "escape"),
            (
                "SCardControl",
                "control_code",
                "0x42330006".into(),
                "verify_pin_direct",
            ),
            ("SCardControl", "control_code", "0x42330099".into(), "0x42330099"),
            ("SCardControl", "control_code", "0x42330106".into(), "0x42330106"),
            ("SCardGetStatusChange", "timeout", Value::Null, "none"),
            ("SCardConnect", "reader", Value::Null, "NULL"),
            ("SCardConnect", "reader", "a\"b".into(), "\"a\\\"b\""),
            ("SCardListReaders", "room", "allocate".into(), "allocate"),
        ] {
            assert_eq!(
                shown(function, field, &value),
                expected,
                "{function} {field} {value}"
            );
        }
        assert_eq!(result("0x00000000"), "SCARD_S_SUCCESS");
        assert_eq!(result("0x8010000A"), "SCARD_E_TIMEOUT (Command timeout)");
        assert_eq!(
            result("0x8010001F"),
            "SCARD_E_UNSUPPORTED_FEATURE (Feature not supported)"
        );
        assert_eq!(result("0x12345678"), "0x12345678");
    }
}
