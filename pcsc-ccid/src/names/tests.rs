use super::*;
use alloc::vec;
use proptest::prelude::*;

fn listed(interface: Option<&'static str>, serial: Option<&'static str>) -> NameIdentity<'static> {
    NameIdentity {
        vendor: 0x08E6,
        product: 0x5503,
        manufacturer: Some("Gemalto"),
        product_name: Some("Prox-DU"),
        interface,
        serial,
    }
}

#[test]
fn a_listed_reader_is_called_what_the_list_calls_it() {
    let reader = NameIdentity {
        vendor: 0x058F,
        product: 0x9540,
        manufacturer: Some("Generic"),
        product_name: Some("EMV Smartcard Reader"),
        ..NameIdentity::default()
    };
    let names = reader.names(1, "", []).expect("a number is free");
    assert_eq!(names, ["Alcor Micro AU9540 00 00"]);
}

#[test]
fn interface_and_serial_number_follow_the_model() {
    assert_eq!(
        listed(None, None).base_name(),
        "Gemalto Prox Dual USB PC Link Reader"
    );
    assert_eq!(
        listed(Some("Prox-DU Contact"), Some("09A00795")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader [Prox-DU Contact] (09A00795)"
    );
    assert_eq!(
        listed(None, Some("1")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader (1)"
    );
    // The serial number is part of the interface's name already.
    assert_eq!(
        listed(Some("Prox-DU Contact_09A00795"), Some("09A00795")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader [Prox-DU Contact_09A00795]"
    );
}

#[test]
fn empty_strings_are_absent_ones() {
    assert_eq!(
        listed(Some(""), Some("\n")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader"
    );
    assert_eq!(
        listed(Some("a\0b"), None).base_name(),
        "Gemalto Prox Dual USB PC Link Reader [a]"
    );
}

#[test]
fn an_interface_is_named_in_ascii() {
    // Two bytes of UTF-8 make two dots.
    assert_eq!(
        listed(Some("Zür"), None).base_name(),
        "Gemalto Prox Dual USB PC Link Reader [Z..r]"
    );
    // The comparison with the serial number is made before that.
    assert_eq!(
        listed(Some("Zür"), Some("ü")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader [Z..r]"
    );
    assert_eq!(
        listed(None, Some("ü")).base_name(),
        "Gemalto Prox Dual USB PC Link Reader (ü)"
    );
}

#[test]
fn a_reader_that_nobody_lists_names_itself() {
    let mut reader = NameIdentity {
        vendor: 0xFFFF,
        product: 0xFFFF,
        ..NameIdentity::default()
    };
    assert_eq!(reader.base_name(), "USB reader FFFF:FFFF");
    reader.product_name = Some("CCID\u{1b}[2J");
    assert_eq!(reader.base_name(), "CCID.[2J");
    reader.manufacturer = Some("Example");
    reader.serial = Some("7");
    assert_eq!(reader.base_name(), "Example CCID.[2J (7)");
}

#[test]
fn a_long_name_is_cut_before_its_numbers() {
    let serial = "x".repeat(300);
    let reader = NameIdentity {
        serial: Some(&serial),
        ..listed(None, None)
    };
    let names = reader.names(2, "", []).expect("a number is free");
    assert_eq!(MAX_BASE, 121);
    for (slot, name) in names.iter().enumerate() {
        assert_eq!(name.len(), MAX_SIZE - 1);
        assert!(name.ends_with(&alloc::format!("x 00 0{slot}")), "{name}");
    }
}

#[test]
fn a_cut_takes_whole_characters() {
    // The bytes of the last character stand at 120 and 121.
    let serial = alloc::format!(
        "{}ü",
        "x".repeat(MAX_BASE - 1 - "Gemalto Prox Dual USB PC Link Reader (".len())
    );
    let reader = NameIdentity {
        serial: Some(&serial),
        ..listed(None, None)
    };
    let base = reader.base_name();
    assert_eq!(base.len(), MAX_BASE - 1);
    assert!(base.ends_with('x'));
}

#[test]
fn readers_of_all_models_share_the_numbers() {
    let mut in_use: Vec<String> = vec![];
    let add = |reader: NameIdentity, slots, in_use: &mut Vec<String>| {
        let names = reader
            .names(slots, "", in_use.iter().map(String::as_str))
            .expect("a number is free");
        in_use.extend(names.iter().cloned());
        names
    };
    let alcor = NameIdentity {
        vendor: 0x058F,
        product: 0x9540,
        ..NameIdentity::default()
    };
    assert_eq!(add(alcor, 1, &mut in_use), ["Alcor Micro AU9540 00 00"]);
    assert_eq!(
        add(listed(None, None), 1, &mut in_use),
        ["Gemalto Prox Dual USB PC Link Reader 01 00"]
    );
    assert_eq!(
        add(alcor, 2, &mut in_use),
        ["Alcor Micro AU9540 02 00", "Alcor Micro AU9540 02 01"]
    );
    in_use.retain(|name| !name.ends_with("01 00"));
    assert_eq!(add(alcor, 1, &mut in_use), ["Alcor Micro AU9540 01 00"]);
    assert_eq!(add(alcor, 1, &mut in_use), ["Alcor Micro AU9540 03 00"]);
}

#[test]
fn numbers_are_hexadecimal_and_end() {
    assert_eq!(name("R", 10, 255), "R 0A FF");
    let all: Vec<String> = (0..=254).map(|number| name("R", number, 0)).collect();
    assert_eq!(free_number(all.iter().skip(1).map(String::as_str)), Some(0));
    assert_eq!(free_number(all.iter().map(String::as_str)), None);
    assert_eq!(
        listed(None, None).names(1, "", all.iter().map(String::as_str)),
        None
    );
}

#[test]
fn an_extension_stands_before_the_numbers() {
    let names = listed(None, None)
        .names(1, " (host)", [])
        .expect("a number is free");
    assert_eq!(names, ["Gemalto Prox Dual USB PC Link Reader (host) 00 00"]);
}

#[test]
fn a_filter_hides_what_contains_one_of_its_patterns() {
    assert!(is_ignored("Gemalto Prox Dual USB PC Link Reader", "Yubi:Prox"));
    assert!(!is_ignored("Gemalto Prox Dual USB PC Link Reader", "Yubi:prox"));
    assert!(!is_ignored("Gemalto Prox Dual USB PC Link Reader", ""));
    assert!(!is_ignored("Gemalto Prox Dual USB PC Link Reader", "::"));
}

#[test]
fn the_list_is_sorted_without_doubles_and_every_name_fits() {
    let list: Vec<_> = models().collect();
    let lines = list
        .iter()
        .map(|(vendor, product, name)| alloc::format!("{vendor:04X}{product:04X} {name}\n"));
    assert_eq!(lines.collect::<String>(), include_str!("known.txt"));
    assert!(list
        .windows(2)
        .all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1)));
    for (vendor, product, text) in list {
        assert_eq!(model(vendor, product).as_deref(), Some(text.as_str()));
        assert!(
            text.is_ascii() && !text.is_empty() && text.len() <= MAX_BASE,
            "{text}"
        );
    }
    assert_eq!(model(0, 0), None);
}

proptest! {
    #[test]
    fn any_strings_make_names_that_parse(
        vendor: u16,
        product: u16,
        manufacturer: Option<String>,
        interface: Option<String>,
        serial in proptest::option::of(".{0,200}"),
        number in 0u8..255,
        slot: u8,
    ) {
        let reader = NameIdentity {
            vendor,
            product,
            manufacturer: manufacturer.as_deref(),
            product_name: None,
            interface: interface.as_deref(),
            serial: serial.as_deref(),
        };
        let base = reader.base_name();
        let name = name(&base, number, slot);
        prop_assert!(name.len() < MAX_SIZE && !name.contains('\0'));
        prop_assert_eq!(parse(&name), Some((base.as_str(), number, slot)));
    }

    #[test]
    fn any_name_parses_or_not(text: String) {
        if let Some((base, number, slot)) = parse(&text) {
            prop_assert_eq!(
                alloc::format!("{base} {number:02X} {slot:02X}").to_uppercase(),
                text.to_uppercase()
            );
        }
    }

    #[test]
    fn a_free_number_is_the_lowest(used in proptest::collection::vec(0u8..255, 0..300)) {
        let names: Vec<String> = used.iter().map(|&number| name("R", number, 0)).collect();
        let free = free_number(names.iter().map(String::as_str));
        prop_assert_eq!(free, (0..255).find(|number| !used.contains(number)));
    }
}
