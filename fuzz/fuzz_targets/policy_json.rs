//! Any text as a policy, with serde_json as the second reader of JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|octets: &[u8]| {
    smtp_fallback_policy::any::check_policy(octets, |text| serde_json::from_str::<IgnoredAny>(text).is_ok());
});
