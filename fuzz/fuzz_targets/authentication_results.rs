//! Any header fields as Authentication-Results, one behind each octet 255.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| smtp_fallback_policy::any::check_authentication_results(octets));
