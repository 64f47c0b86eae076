//! Any octets as the text and as the bits of an address and of a network.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| smtp_fallback_policy::any::check_addresses(octets));
