//! Any sessions under any policy, decided natively and by the shipped component.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    smtp_fallback_tests::check_component(octets, true);
});
