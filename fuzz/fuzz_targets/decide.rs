//! Any sessions under any policy, with the records of earlier ones, sound or damaged.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| smtp_fallback_policy::any::check_decide(octets, true, |_| {}));
