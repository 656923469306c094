//! Whether this build has the vm.
//!
//! Every handle of the vm has a [`Presence`] in it. In a build without the feature `engine` there is no value of that type, so there
//! are no handles either: whoever matches on them compiles as ever, the branches are unreachable, and the linker leaves the vm out.

use twinbpf_object::Result;

/// Proof that the vm is there.
#[cfg(feature = "engine")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presence(());

/// Nothing proves it.
#[cfg(not(feature = "engine"))]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presence {}

/// The proof, from which all others are copied.
#[cfg(feature = "engine")]
#[expect(clippy::unnecessary_wraps, reason = "a build without the vm refuses")]
pub(crate) fn presence() -> Result<Presence> {
    Ok(Presence(()))
}

/// Refuses, and says how to build it in.
#[cfg(not(feature = "engine"))]
pub(crate) fn presence() -> Result<Presence> {
    use twinbpf_object::{Code, Diagnosis};

    let message = "this program was built without the vm";
    let help = "build it with the feature `vm` of the crate `twinbpf`, which is on by default";
    Err(Diagnosis::new(Code::USAGE, message).help(help).into())
}

#[cfg(all(test, not(feature = "engine")))]
mod tests {
    use crate::{Vm, VmConfig};

    #[test]
    fn a_build_without_the_vm_refuses_by_name_and_says_how_to_have_it() {
        let refusal = Vm::new(VmConfig::default()).expect_err("there is no vm");
        let diagnosis = refusal.diagnosis();
        assert_eq!(diagnosis.message, "this program was built without the vm");
        assert!(format!("{diagnosis:?}").contains("feature `vm`"));
    }
}
