//! The values that Rust has, against those of the headers.

use std::collections::BTreeMap;

use super::{compile_and_run, macros, probe, source, tree, C17, PROGRAM};

/// Constants of the pcsc crate that no header of pcsc-lite has; three are Windows's.
const NOT_IN_HEADERS: [&str; 4] = [
    "ATR_BUFFER_SIZE",
    "SCARD_W_CACHE_ITEM_NOT_FOUND",
    "SCARD_W_CACHE_ITEM_STALE",
    "SCARD_W_CACHE_ITEM_TOO_BIG",
];

#[test]
fn rust_has_the_values_of_the_headers() {
    let (_folder, path) = source(&probe(&macros(&tree("include"), PROGRAM)));
    let output = compile_and_run(C17, &tree("include"), &path).expect("to compile");
    // `NAME type value`, with a type of one word or two. Values have 32 bits in Rust.
    let number = |line| {
        let mut words = str::split(line, ' ');
        let value = words.next_back()?.parse::<i64>().ok()?;
        Some((words.next()?, value as u32))
    };
    let in_c: BTreeMap<_, _> = output.lines().filter_map(number).collect();
    assert!(in_c.len() > 180, "only {} numbers", in_c.len());

    let in_rust: BTreeMap<_, _> = pcsc_constants::VALUES
        .iter()
        .chain(pcsc_constants::CODES)
        .copied()
        .filter(|(name, _)| !NOT_IN_HEADERS.contains(name))
        .collect();
    for (name, value) in &in_rust {
        assert_eq!(in_c.get(name), Some(value), "{name} in C and in Rust");
    }
    let is_ours = |name: &str| {
        name.starts_with("SCARD_")
            && !name.starts_with("SCARD_PCI_")
            && !name.contains('(')
            && name != "SCARD_AUTOALLOCATE"
    };
    let missing: Vec<_> = in_c
        .keys()
        .filter(|name| is_ours(name) && !in_rust.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "in C only: {missing:?}");
}
