//! The policy module as a plain core WebAssembly module: JSON through linear memory, for runtimes without the component model.
//!
//! `README.md` is the contract for whoever writes a host. `exports` is the border; what crosses it is kept by `places` and read by
//! `request`, in safe code. The crate is empty on every target but wasm32, so that the workspace builds natively. `cargo xtask module`
//! builds and checks it.
#![cfg(target_arch = "wasm32")]
#![deny(unsafe_code)]

// The component's: the same short life of the same small texts. Shared as a file, so that the component stays as it is, octet for octet.
#[allow(unsafe_code)]
#[path = "../../component/src/allocator.rs"]
mod allocator;
#[allow(unsafe_code)]
mod exports;
mod places;
mod request;

#[global_allocator]
static BLOCKS: allocator::Blocks = allocator::Blocks::new();
