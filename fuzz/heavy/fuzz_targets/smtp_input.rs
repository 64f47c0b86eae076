//! Any octets as what an SMTP client sends: commands, messages after DATA, chunks after BDAT.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| smtp_fallback_smtpd::any::check_input(octets));
