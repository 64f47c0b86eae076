//! Any octets as a record: read, shown, written, and used in decisions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|octets: &[u8]| {
    smtp_fallback_policy::any::check_record(octets, |text| serde_json::from_str::<IgnoredAny>(text).is_ok());
});
