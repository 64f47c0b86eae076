//! The plain core module under two runtimes, as a host without the component model has it: bindings/module/README.md states the border.

use std::path::PathBuf;

use crate::ByJson;

/// The shipped core module: the file that `cargo xtask module` wrote.
pub fn module_path() -> PathBuf {
    crate::built("SMTP_FALLBACK_MODULE", "smtp-fallback-module.wasm", "module")
}

/// The border of one instance. An error is a trap, in the runtime's words.
pub trait CoreModule {
    /// A place of so many octets; 0 where there is none.
    fn allocate(&mut self, octets: u32) -> Result<u32, String>;
    /// Gives it back.
    fn free(&mut self, address: u32, octets: u32) -> Result<(), String>;
    /// Makes the call that stands there: 0 where it was answered.
    fn call(&mut self, address: u32, octets: u32) -> Result<u32, String>;
    /// Where the answer is.
    fn answer(&mut self) -> Result<u32, String>;
    /// How long it is.
    fn answer_octets(&mut self) -> Result<u32, String>;
    /// Linear memory.
    fn memory(&self) -> &[u8];
    /// Linear memory, to write to.
    fn memory_mut(&mut self) -> &mut [u8];

    /// The answer of the last call.
    fn text(&mut self) -> Result<String, String> {
        let (start, octets) = (self.answer()? as usize, self.answer_octets()? as usize);
        let text = self.memory().get(start..start + octets).ok_or("an answer outside of memory")?;
        String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
    }

    /// Writes to a place.
    fn write(&mut self, address: u32, octets: &[u8]) -> Result<(), String> {
        let start = address as usize;
        let place = self.memory_mut().get_mut(start..start + octets.len()).ok_or("a place outside of memory")?;
        place.copy_from_slice(octets);
        Ok(())
    }
}

/// A host that keeps one place for its requests.
#[derive(Debug)]
pub struct Host<T> {
    module: T,
    /// Address and size.
    place: (u32, u32),
}

impl<T: CoreModule> Host<T> {
    /// The host of this instance.
    pub fn new(module: T) -> Self {
        Host { module, place: (0, 0) }
    }

    fn reserve(&mut self, octets: u32) -> Result<u32, String> {
        let (address, size) = self.place;
        if octets <= size {
            return Ok(address);
        }
        self.module.free(address, size)?;
        self.place = (self.module.allocate(octets)?, octets);
        if self.place.0 == 0 { Err(format!("no memory for a request of {octets} octets")) } else { Ok(self.place.0) }
    }
}

impl<T: CoreModule> ByJson for Host<T> {
    fn call(&mut self, function: &str, arguments: &str) -> Result<String, String> {
        let request = format!(r#"{{"call":"{function}","input":{arguments}}}"#);
        let octets = request.len() as u32;
        let address = self.reserve(octets)?;
        self.module.write(address, request.as_bytes())?;
        let status = self.module.call(address, octets)?;
        let text = self.module.text()?;
        if status == 0 { Ok(text) } else { Err(text) }
    }
}

/// A compiled module, and its instances: both runtimes have the same interface, but for a few names.
macro_rules! runtime {
    ($about:literal, $runtime:ident, $instance:ident, $crate_name:ident, $instantiate:ident) => {
        #[doc = concat!("The module, compiled by ", $about, ".")]
        #[derive(Debug)]
        pub struct $runtime($crate_name::Module);

        #[doc = concat!("An instance of the module in ", $about, ".")]
        pub struct $instance {
            store: $crate_name::Store<$crate_name::StoreLimits>,
            memory: $crate_name::Memory,
            allocate: $crate_name::TypedFunc<u32, u32>,
            free: $crate_name::TypedFunc<(u32, u32), ()>,
            call: $crate_name::TypedFunc<(u32, u32), u32>,
            answer: $crate_name::TypedFunc<(), u32>,
            answer_octets: $crate_name::TypedFunc<(), u32>,
        }

        impl $runtime {
            /// Compiles a module.
            pub fn compile(wasm: &[u8]) -> Result<Self, String> {
                let module = $crate_name::Module::new(&$crate_name::Engine::default(), wasm);
                module.map($runtime).map_err(|error| format!("{error:?}"))
            }

            /// The shipped module, compiled.
            pub fn shipped() -> Self {
                let path = module_path();
                let wasm = std::fs::read(&path).map_err(|error| error.to_string());
                wasm.and_then(|wasm| $runtime::compile(&wasm)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            }

            /// A new instance, whose memory grows to so many octets at most.
            pub fn instance(&self, memory: usize) -> Result<$instance, String> {
                let limits = $crate_name::StoreLimitsBuilder::new().memory_size(memory).build();
                let mut store = $crate_name::Store::new(self.0.engine(), limits);
                store.limiter(|limits| limits);
                // No imports, so there is nothing to link.
                let linker = $crate_name::Linker::new(self.0.engine());
                let instance = linker.$instantiate(&mut store, &self.0).map_err(|error| format!("{error:?}"))?;
                let unknown = |error: $crate_name::Error| format!("{error:?}");
                Ok($instance {
                    memory: instance.get_memory(&mut store, "memory").ok_or("no memory")?,
                    allocate: instance.get_typed_func(&mut store, "allocate").map_err(unknown)?,
                    free: instance.get_typed_func(&mut store, "free").map_err(unknown)?,
                    call: instance.get_typed_func(&mut store, "call").map_err(unknown)?,
                    answer: instance.get_typed_func(&mut store, "answer").map_err(unknown)?,
                    answer_octets: instance.get_typed_func(&mut store, "answer_octets").map_err(unknown)?,
                    store,
                })
            }
        }

        impl CoreModule for $instance {
            fn allocate(&mut self, octets: u32) -> Result<u32, String> {
                self.allocate.call(&mut self.store, octets).map_err(|error| format!("{error:?}"))
            }

            fn free(&mut self, address: u32, octets: u32) -> Result<(), String> {
                self.free.call(&mut self.store, (address, octets)).map_err(|error| format!("{error:?}"))
            }

            fn call(&mut self, address: u32, octets: u32) -> Result<u32, String> {
                self.call.call(&mut self.store, (address, octets)).map_err(|error| format!("{error:?}"))
            }

            fn answer(&mut self) -> Result<u32, String> {
                self.answer.call(&mut self.store, ()).map_err(|error| format!("{error:?}"))
            }

            fn answer_octets(&mut self) -> Result<u32, String> {
                self.answer_octets.call(&mut self.store, ()).map_err(|error| format!("{error:?}"))
            }

            fn memory(&self) -> &[u8] {
                self.memory.data(&self.store)
            }

            fn memory_mut(&mut self) -> &mut [u8] {
                self.memory.data_mut(&mut self.store)
            }
        }
    };
}

runtime!("wasmtime", Wasmtime, WasmtimeInstance, wasmtime, instantiate);
runtime!("wasmi", Wasmi, WasmiInstance, wasmi, instantiate_and_start);
