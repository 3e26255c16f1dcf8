// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The engine, the modules that were compiled on it, and its clock.

use crate::abi::Abi;
use crate::error::WasmError;
use crate::exports::abi_of;
use crate::factory::WasmFactory;
use crate::instance::{Instance, Parts};
use crate::metrics::PluginMetrics;
use crate::shared_data::SharedData;
use crate::state::HostState;
use crate::{WasmLimits, calls, wasi};
use gateway_config::{WasmFilter, WasmModule};
use gateway_filter_api::{FilterError, FilterFactory, FilterProvider};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, InstancePre, Linker, OptLevel,
    PoolingAllocationConfig,
};

/// Length of an epoch; deadlines are counted in these.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// What a module is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModuleKey(String);

impl ModuleKey {
    /// The key of a plugin's module.
    #[must_use]
    pub fn of(module: &WasmModule) -> Self {
        match module {
            WasmModule::Remote { sha256, .. } => Self(format!("sha256:{sha256}")),
            WasmModule::File(path) => Self(format!("file:{path}")),
            WasmModule::Inline(bytes) => {
                let digest = Sha256::digest(bytes);
                Self(format!("sha256:{}", digest.iter().map(|b| format!("{b:02x}")).collect::<String>()))
            }
        }
    }
}

impl fmt::Display for ModuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A compiled module, linked to this host.
pub struct Module {
    pub(crate) abi: Abi,
    pub(crate) ready: InstancePre<HostState>,
    key: ModuleKey,
}

impl Module {
    pub(crate) fn engine(&self) -> &Engine {
        self.ready.module().engine()
    }

    /// What it is known by.
    #[must_use]
    pub fn key(&self) -> &ModuleKey {
        &self.key
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("key", &self.key).field("abi", &self.abi).finish_non_exhaustive()
    }
}

/// The process's host for plugins. Clones share everything.
#[derive(Clone)]
pub struct WasmHost {
    shared: Arc<Shared>,
}

/// VM id and module.
type DataKey = (Box<str>, ModuleKey);

struct Shared {
    /// Made for the first plugin: a gateway without plugins pays nothing.
    runtime: OnceLock<Runtime>,
    limits: WasmLimits,
    metrics: Arc<PluginMetrics>,
    modules: Mutex<HashMap<ModuleKey, Arc<Module>>>,
    /// Plugins of different modules never meet, whatever their VM ids.
    data: Mutex<HashMap<DataKey, Weak<SharedData>>>,
}

impl fmt::Debug for WasmHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmHost").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl WasmHost {
    /// A host; its engine is made for the first plugin.
    #[must_use]
    pub fn new(limits: WasmLimits) -> Self {
        let shared = Shared {
            runtime: OnceLock::new(),
            limits,
            metrics: Arc::default(),
            modules: Mutex::default(),
            data: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Exports what plugins count.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.shared.metrics.clone()));
    }

    /// Whether a module is compiled already.
    #[must_use]
    pub fn has(&self, key: &ModuleKey) -> bool {
        self.shared.modules.lock().contains_key(key)
    }

    /// Compiles a module unless that was done; takes seconds for a large one, so call it apart from event loops.
    ///
    /// # Errors
    /// Where it is too large, malformed, for another ABI, or imports what is not there.
    pub fn prepare(&self, key: ModuleKey, bytes: &[u8]) -> Result<Arc<Module>, WasmError> {
        if let Some(module) = self.shared.modules.lock().get(&key) {
            return Ok(module.clone());
        }
        let (size, limit) = (bytes.len(), self.shared.limits.module_bytes);
        if size > limit {
            return Err(WasmError::TooLarge { size, limit });
        }
        let runtime = self.shared.runtime()?;
        let compiled = wasmtime::Module::from_binary(&runtime.engine, bytes);
        let compiled = compiled.map_err(|error| WasmError::Compile(error.into()))?;
        let abi = abi_of(&compiled)?;
        let ready = runtime.linker.instantiate_pre(&compiled).map_err(|e| WasmError::Import(e.into()))?;
        let module = Arc::new(Module { abi, ready, key: key.clone() });
        self.shared.modules.lock().insert(key, module.clone());
        Ok(module)
    }

    /// Starts one instance with a plugin's configuration and ends it: whether the plugin takes it. Blocks as
    /// [`Self::prepare`] does.
    ///
    /// # Errors
    /// Where the module is not there, traps, or refuses the configuration.
    pub fn try_out(&self, name: &str, plugin: &Arc<WasmFilter>) -> Result<(), WasmError> {
        Instance::start(&self.parts(name, plugin)?).map(drop)
    }

    /// Forgets the modules that are not in use; running instances keep theirs.
    pub fn retain(&self, used: impl Fn(&ModuleKey) -> bool) {
        self.shared.modules.lock().retain(|key, _| used(key));
        self.shared.data.lock().retain(|_, data| data.strong_count() > 0);
    }

    pub(crate) fn parts(&self, name: &str, plugin: &Arc<WasmFilter>) -> Result<Parts, WasmError> {
        let key = ModuleKey::of(&plugin.module);
        let module = self.shared.modules.lock().get(&key).cloned();
        let module = module.ok_or_else(|| WasmError::Missing(key.to_string()))?;
        Ok(Parts {
            shared: self.data(plugin.vm_id.clone(), key),
            module,
            plugin: plugin.clone(),
            name: name.into(),
            metrics: self.shared.metrics.clone(),
            limits: self.shared.limits,
        })
    }

    fn data(&self, vm_id: Box<str>, key: ModuleKey) -> Arc<SharedData> {
        let mut all = self.shared.data.lock();
        let kept = all.entry((vm_id, key)).or_default();
        kept.upgrade().unwrap_or_else(|| {
            let fresh = Arc::new(SharedData::new(self.shared.limits.shared_bytes));
            *kept = Arc::downgrade(&fresh);
            fresh
        })
    }
}

/// What modules run on.
struct Runtime {
    engine: Engine,
    linker: Linker<HostState>,
}

impl Shared {
    fn runtime(&self) -> Result<&Runtime, WasmError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Runtime::start(&self.limits)?;
        // Two first plugins at once: one of the engines is dropped, and its clock ends with it.
        Ok(self.runtime.get_or_init(|| runtime))
    }
}

impl Runtime {
    /// Makes the engine and starts its clock.
    fn start(limits: &WasmLimits) -> Result<Self, WasmError> {
        let engine = engine(limits).map_err(|error| WasmError::Engine(error.into()))?;
        let mut linker = Linker::new(&engine);
        calls::link(&mut linker)
            .and_then(|()| wasi::link(&mut linker))
            .map_err(|e| WasmError::Engine(e.into()))?;
        let clock = engine.weak();
        let started =
            std::thread::Builder::new().name("wasm-clock".to_owned()).spawn(move || keep_time(&clock));
        started.map_err(|error| WasmError::Engine(error.into()))?;
        Ok(Self { engine, linker })
    }
}

impl FilterProvider<WasmFilter> for WasmHost {
    fn factory(&self, name: &str, config: &Arc<WasmFilter>) -> Result<Arc<dyn FilterFactory>, FilterError> {
        Ok(Arc::new(WasmFactory::new(self.clone(), name, config.clone())))
    }
}

/// Counts epochs as long as the engine lives.
fn keep_time(clock: &EngineWeak) {
    while let Some(engine) = clock.upgrade() {
        engine.increment_epoch();
        drop(engine);
        std::thread::sleep(TICK);
    }
}

fn engine(limits: &WasmLimits) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(limits.instances)
        .total_tables(limits.instances.saturating_mul(2))
        .total_core_instances(limits.instances)
        .max_memories_per_module(1)
        .max_tables_per_module(8)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .max_core_instance_size(4 * 1024 * 1024)
        .linear_memory_keep_resident(64 * 1024);
    match Engine::new(config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool))) {
        Ok(engine) => Ok(engine),
        // The pool reserves address space, which some machines limit.
        Err(error) => {
            tracing::warn!(cause = %format!("{error:#}"), "no pool for wasm instances; they are allocated one by one");
            Engine::new(config().allocation_strategy(InstanceAllocationStrategy::OnDemand))
        }
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(512 * 1024)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false);
    config
}
