//! What the parts of one vm share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use twinbpf_object::btf::Btf;

use crate::common::Common;
use crate::config::{Randomness, VmConfig};
use crate::handles::Handles;
use crate::kfuncs::HostFunctions;
use crate::window::Window;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) window: Arc<Window>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) common: Common,
    pub(crate) config: VmConfig,
    /// Functions of the host that programs can call by name.
    pub(crate) host_functions: HostFunctions,
    /// The host kernel's types, read when first needed.
    pub(crate) types: OnceLock<Option<Arc<Btf>>>,
    /// Which worker slots are taken.
    pub(crate) slots: Mutex<Vec<bool>>,
}

impl Shared {
    /// The start of a worker's random numbers.
    pub(crate) fn random_start(&self, slot: u32) -> u64 {
        match self.config.randomness {
            Randomness::Seed(seed) => seed ^ u64::from(slot) << 32,
            Randomness::Host => {
                use std::hash::BuildHasher;
                std::hash::RandomState::new().hash_one(slot)
            }
        }
    }

    /// Takes the lowest free CPU slot.
    pub(crate) fn take_slot(&self) -> Option<u32> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = slots.iter().position(|is_taken| !is_taken)?;
        slots[index] = true;
        u32::try_from(index).ok()
    }

    /// Gives a CPU slot back.
    pub(crate) fn free_slot(&self, slot: u32) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_taken) = slots.get_mut(slot as usize) {
            *is_taken = false;
        }
    }
}
