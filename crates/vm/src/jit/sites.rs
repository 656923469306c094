//! Where compiled code may fault, and what each such instruction does.

/// One machine instruction that accesses the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    /// Its offset in the code.
    pub(super) offset: u32,
    /// The BPF instruction it belongs to.
    pub(super) insn: u32,
    /// Added to the low half of the register: together the window address.
    pub(super) displacement: i32,
    /// Hardware number of that register.
    pub(super) register: u8,
    /// Bytes accessed.
    pub(super) size: u32,
    /// What a fault here means, as in [`status`](crate::machine::status).
    pub(super) status: u32,
}

/// All sites of one program, in order, and where its code goes on after a fault.
#[derive(Debug)]
pub(super) struct Sites {
    /// INVARIANT: ascending by offset.
    pub(super) sites: Box<[Site]>,
    /// Offset of the stub that notes a fault and leaves.
    pub(super) trapped: u32,
}

impl Sites {
    /// The site at this offset.
    pub(super) fn at(&self, offset: usize) -> Option<&Site> {
        let offset = u32::try_from(offset).ok()?;
        let index = self
            .sites
            .binary_search_by_key(&offset, |site| site.offset)
            .ok()?;
        self.sites.get(index)
    }
}
