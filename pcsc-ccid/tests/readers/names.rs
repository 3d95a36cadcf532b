//! The names of the readers.

use super::*;

fn name(model: &Model) -> String {
    model.identity.base_name()
}

/// Names that pcscd gives to these readers, without the serial numbers. Only a string of the interface is in
/// brackets: a list that has its index, or nothing that is a string, does not name it.
#[test]
fn a_reader_of_the_list_is_called_what_the_real_one_is() {
    let of = |name: &str| pcsc_sim::model(name).unwrap();
    for (model, expected) in [
        ("gempc-express", "Gemalto GemPC Express"),
        ("au9540", "Alcor Micro AU9540"),
        ("scr3310", "SCM Microsystems Inc. SCR 3310 [CCID Interface]"),
        (
            "omnikey-3x21",
            "HID Global OMNIKEY 3x21 Smart Card Reader [OMNIKEY 3x21 Smart Card Reader]",
        ),
        // No bundle lists it, so it is named by its own strings.
        ("omnikey-5321", "OMNIKEY Smart Card Reader USB"),
        ("oz776", "O2 Micro Oz776"),
        ("octsim", "sysmocom - s.f.m.c. GmbH sysmoOCTSIM [CCID]"),
        ("scr331-di", "SCM Microsystems Inc. SCR 331-DI [CCID Interface]"),
        ("gempc-pinpad", "Gemalto USB GemPCPinpad SmartCard Reader"),
        ("acr1252-picc", "ACS ACR1252 Reader [ACR1252 Reader PICC]"),
        ("yubikey", "Yubico YubiKey FIDO+CCID"),
        ("ibank2key", "BIFIT iBank2Key [iBank2Key]"),
        (
            "starsign",
            "Giesecke & Devrient GmbH Star Sign Card Token 550 (ICCD)",
        ),
        ("rutoken-lite", "Aktiv Rutoken lite"),
    ] {
        assert_eq!(name(&of(model)), expected, "{model}");
    }
    let named = pcsc_sim::NAMES.map(|(name, _)| of(name));
    for model in models().iter().chain(&named) {
        let is_text = |text: &String| !text.chars().all(|c| c.is_ascii_digit() || c == '?');
        assert!(
            model.identity.interface_name.as_ref().is_none_or(is_text),
            "{}",
            name(model)
        );
    }
}
