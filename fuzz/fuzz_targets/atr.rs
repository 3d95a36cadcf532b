//! ATRs: whatever the bytes, no panic and sane results.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::atr::Atr;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(atr) = Atr::parse(bytes) {
        assert!(!atr.protocols().is_empty() && atr.historical.len() <= 15);
        if let Some(speed) = atr.speed() {
            assert!(speed.bits_per_second(speed.max_clock_hz) > 0);
        }
        atr.specific_mode();
    }
});
