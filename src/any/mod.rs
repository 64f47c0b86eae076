//! The module's functions on any octets, for fuzzing: what must hold whatever they are given.
//!
//! Each function panics where something does not hold that a host relies on. The targets in `fuzz/` call them, and the tests below run them
//! over `tests/corpus`, so that what was found once is seen again. Nothing else calls them, so none of it is in the component.

mod addresses;
mod authentication_results;
mod decide;
mod fields;
mod octets;
mod policy;
mod records;
mod sound;

pub use addresses::check_addresses;
pub use authentication_results::check_authentication_results;
pub use decide::{Asked, check_decide};
pub use policy::check_policy;
pub use records::check_record;

#[cfg(test)]
mod tests;
