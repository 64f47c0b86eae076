//! The yardstick: a component call that does nothing, under the same engine settings as the policy's.

use std::hint::black_box;

use wasmtime::component::{Component, Linker, TypedFunc};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

const EMPTY: &str = r#"
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func (export "f") (canon lift (core func $i "f"))))
"#;

/// One instance of it.
pub(crate) struct Empty {
    store: Store<()>,
    function: TypedFunc<(), ()>,
}

impl Empty {
    pub(crate) fn new() -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default()));
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, EMPTY)?;
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        let function = instance.get_typed_func(&mut store, "f")?;
        Ok(Empty { store, function })
    }

    pub(crate) fn call(&mut self) {
        self.store.set_epoch_deadline(1);
        black_box(self.function.call(&mut self.store, ()).is_ok());
    }
}
