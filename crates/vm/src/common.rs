//! What all runs of a vm have in common.

use std::sync::Arc;

use crate::objects::Objects;
use crate::surroundings::Surroundings;
use crate::timers::Timers;

/// What all runs of a vm have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) surroundings: Surroundings,
    pub(crate) timers: Timers,
    pub(crate) objects: Arc<Objects>,
}
