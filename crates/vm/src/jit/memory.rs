//! Memory accesses in machine code: checked by the host's page tables, or compared with the window's table.
//!
//! ```text
//!  guarded    r11 = low half of base;           access [window + r11 + displacement]        a wrong page faults
//!  compared   test the entries of the first and last byte's pages; then access [window + r11]
//! ```
//!
//! Of a program that somebody vouched for, registers are addresses as they are, and nothing is compared.
//!
//! A guarded access leaves a *site* behind: where the instruction is and what it does, so that the fault handler can
//! say what happened. The window's guards are wider than any displacement, so every such access ends in the window or in them.

use twinbpf_object::insn::{AtomicOp, Operation, Register, Size};

use super::assembler::{Arith, Bits, Cond, Mem, R9, R11, RAX, RBP, RBX, RDI, RDX, RSI, Reg, Shift};
use super::emit::{Emitter, STATE, Stub, WINDOW, bits_of, field, host, status_imm};
use super::known::Fact;
use super::runtime::Callback;
use super::sites::Site;
use crate::config::Guard;
use crate::machine::{offset, status};
use crate::run::STACK_BYTES;

/// What an access does, for checks and faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// An atomic operation: both, and a fault counts as a write.
    Update,
}

/// Where a program wants to access memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) base: Register,
    pub(super) displacement: i32,
    pub(super) size: Size,
}

/// Where an access of machine code goes, and the register and displacement its window address is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    index: Reg,
    displacement: i32,
    size: Size,
    access: Access,
    can_fault: bool,
}

impl Access {
    fn status(self) -> u32 {
        match self {
            Self::Read => status::READ,
            Self::Write | Self::Update => status::WRITE,
        }
    }
}

impl Checked {
    fn mem(self) -> Mem {
        Mem::Indexed(WINDOW, self.index, self.displacement)
    }
}

impl Emitter<'_> {
    /// Prepares an access. The answer goes to [`Emitter::operand`] right before the instruction that accesses.
    pub(super) fn checked(&mut self, at: usize, place: Place, access: Access) -> Checked {
        let Place {
            base,
            displacement,
            size,
        } = place;
        if let Some(displacement) = self.in_frame(place) {
            return Checked {
                index: RBP,
                displacement,
                size,
                access,
                can_fault: false,
            };
        }
        let (index, displacement) = match self.options.guard {
            _ if self.source.is_vouched => (host(base), displacement),
            Guard::Compare => {
                self.compare_permissions(at, place, access);
                (R11, 0)
            }
            Guard::Pages if self.facts.is_short(base) => (host(base), displacement),
            Guard::Pages => {
                self.cut(base);
                (R11, displacement)
            }
        };
        Checked {
            index,
            displacement,
            size,
            access,
            can_fault: self.options.guard == Guard::Pages,
        }
    }

    /// The operand of the next instruction, which is noted as one that can fault.
    pub(super) fn operand(&mut self, at: usize, checked: Checked) -> Mem {
        if checked.can_fault {
            self.sites.push(Site {
                offset: u32::try_from(self.assembler.len()).unwrap_or(u32::MAX),
                insn: u32::try_from(at).unwrap_or(u32::MAX),
                displacement: checked.displacement,
                register: checked.index.0,
                size: checked.size.bytes(),
                status: checked.access.status(),
            });
        }
        checked.mem()
    }

    /// Distance from the frame pointer, for a place that is known to lie in the frame: always mapped, `r10` cannot be written.
    fn in_frame(&self, place: Place) -> Option<i32> {
        let Fact::Frame(offset) = self.facts.of(place.base) else {
            return None;
        };
        let start = offset.checked_add(place.displacement)?;
        let bytes = i32::try_from(place.size.bytes()).ok()?;
        let frame_bytes = i32::try_from(STACK_BYTES).ok()?;
        (start >= -frame_bytes && start + bytes <= 0).then_some(start)
    }

    /// `r11 = low half of base`, unless it already is.
    fn cut(&mut self, base: Register) {
        if self.cut_register != Some(base) {
            self.assembler.mov(Bits::B32, R11, host(base));
            self.cut_register = Some(base);
        }
    }

    /// `r11 = low half of base + displacement`, all 64 bits: it can lie outside the window on either side.
    fn address(&mut self, base: Register, displacement: i32) {
        self.forget_address();
        self.assembler.mov(Bits::B32, R11, host(base));
        if displacement != 0 {
            self.assembler
                .arith_imm(Arith::Add, Bits::B64, R11, displacement);
        }
    }

    /// Leaves the address in `r11`.
    fn compare_permissions(&mut self, at: usize, place: Place, access: Access) {
        let stub = self.stub(
            at,
            Stub {
                status: Some(access.status()),
                size: place.size,
                address: Some((place.base, place.displacement)),
            },
        );
        let last = i32::try_from(place.size.bytes()).unwrap_or(8) - 1;
        let needed: &[u8] = match access {
            Access::Read => &[crate::window::READ],
            Access::Write => &[crate::window::WRITE],
            Access::Update => &[crate::window::READ, crate::window::WRITE],
        };
        let ends = [0, last];
        for end in &ends[..if last == 0 { 1 } else { 2 }] {
            self.address(place.base, place.displacement + end);
            let a = &mut self.assembler;
            let [shift, ..] = crate::window::PAGE_SHIFT.to_le_bytes();
            a.shift_imm(Shift::Arithmetic, Bits::B64, R11, shift);
            a.arith_mem(Arith::Add, Bits::B64, R11, field(offset::PERMISSIONS));
            for permission in needed {
                a.test_byte(Mem::Base(R11, 0), *permission);
                a.jump_if(Cond::Equal, stub);
            }
        }
        self.address(place.base, place.displacement);
    }

    pub(super) fn check_alignment(&mut self, at: usize, place: Place) {
        let bytes = i32::try_from(place.size.bytes()).unwrap_or(8);
        let is_aligned = self.in_frame(place).is_some_and(|start| start % bytes == 0);
        if bytes == 1 || is_aligned {
            return;
        }
        let stub = self.stub(
            at,
            Stub {
                status: Some(status::MISALIGNED),
                size: place.size,
                address: Some((place.base, place.displacement)),
            },
        );
        self.address(place.base, place.displacement);
        self.assembler.test_imm(Bits::B32, R11, bytes - 1);
        self.assembler.jump_if(Cond::NotEqual, stub);
    }

    pub(super) fn atomic(&mut self, at: usize, operation: Operation) -> Option<()> {
        let Operation::Atomic {
            op,
            base,
            offset: displacement,
            src,
            size,
        } = operation
        else {
            return None;
        };
        let place = Place {
            base,
            displacement: i32::from(displacement),
            size,
        };
        self.check_alignment(at, place);
        let checked = self.checked(at, place, Access::Update);
        let bits = bits_of(size);
        let arith = match op {
            AtomicOp::Add { fetch: true } => {
                let mem = self.operand(at, checked);
                self.assembler.locked_exchange_add(bits, mem, host(src));
                return Some(());
            }
            AtomicOp::Exchange => {
                let mem = self.operand(at, checked);
                self.assembler.exchange(bits, mem, host(src));
                return Some(());
            }
            AtomicOp::CompareExchange => {
                let mem = self.operand(at, checked);
                self.assembler.locked_compare_exchange(bits, mem, host(src));
                if bits == Bits::B32 {
                    // Where it succeeds, the upper half is left alone.
                    self.assembler.mov(Bits::B32, RAX, RAX);
                }
                return Some(());
            }
            AtomicOp::Or { fetch } => (Arith::Or, fetch),
            AtomicOp::And { fetch } => (Arith::And, fetch),
            AtomicOp::Xor { fetch } => (Arith::Xor, fetch),
            AtomicOp::Add { fetch: false } => (Arith::Add, false),
        };
        match arith {
            (arith, false) => {
                let mem = self.operand(at, checked);
                self.assembler.locked_arith(arith, bits, mem, host(src));
            }
            (arith, true) => self.fetch_and_change(at, (arith, bits), checked, host(src)),
        }
        Some(())
    }

    /// Tries until nobody interferes. `rax` is needed for the old value, `r9` for the new one.
    fn fetch_and_change(
        &mut self,
        at: usize,
        (arith, bits): (Arith, Bits),
        checked: Checked,
        src: Reg,
    ) {
        // An address in a register that is changed below must be taken out of it first.
        let checked = if checked.index == RAX {
            self.forget_address();
            self.assembler.mov(Bits::B64, R11, RAX);
            Checked {
                index: R11,
                ..checked
            }
        } else {
            checked
        };
        self.assembler.store(Bits::B64, field(offset::SLICE), R9);
        self.assembler.store(Bits::B64, field(offset::R0), RAX);
        let mem = self.operand(at, checked);
        self.assembler.load(bits, RAX, mem);
        let again = self.assembler.label();
        self.assembler.bind(again);
        self.assembler.mov(bits, R9, RAX);
        if src == RAX {
            self.assembler.arith_mem(arith, bits, R9, field(offset::R0));
        } else {
            self.assembler.arith(arith, bits, R9, src);
        }
        let mem = self.operand(at, checked);
        self.assembler.locked_compare_exchange(bits, mem, R9);
        self.assembler.jump_if(Cond::NotEqual, again);
        if src == RAX {
            // The old value stays where it is; cut, since the last exchange may have left the upper half alone.
            self.assembler.mov(bits, RAX, RAX);
        } else {
            self.assembler.mov(bits, src, RAX);
            self.assembler.load(Bits::B64, RAX, field(offset::R0));
        }
        self.assembler.load(Bits::B64, R9, field(offset::SLICE));
    }

    pub(super) fn load_packet(
        &mut self,
        at: usize,
        size: Size,
        index: Option<Register>,
        displacement: i32,
    ) {
        self.forget_address();
        let a = &mut self.assembler;
        match index {
            Some(index) => {
                a.mov(Bits::B32, RSI, host(index));
                a.arith_imm(Arith::Add, Bits::B32, RSI, displacement);
            }
            None => a.mov_imm(RSI, u64::from(displacement.cast_unsigned())),
        }
        a.mov(Bits::B64, RDI, RBX);
        a.mov_imm(RDX, u64::from(size.bytes()));
        self.call_back(Callback::LoadPacket);
        self.leave_if_told(at);
        self.clear_arguments();
    }

    /// After a call back that can end the function: returns with what it answered, faults, or goes on.
    pub(super) fn leave_if_told(&mut self, at: usize) {
        let goes_on = self.assembler.label();
        let stub = self.stub(
            at,
            Stub {
                status: None,
                size: Size::B,
                address: None,
            },
        );
        let status_is = |status| {
            (
                Bits::B32,
                Mem::Base(STATE, offset::STATUS),
                status_imm(status),
            )
        };
        let (bits, mem, running) = status_is(status::RUNNING);
        let (_, _, leave) = status_is(status::LEAVE);
        self.assembler.arith_mem_imm(Arith::Cmp, bits, mem, running);
        self.assembler.jump_if(Cond::Equal, goes_on);
        self.assembler.arith_mem_imm(Arith::Cmp, bits, mem, leave);
        self.assembler.jump_if(Cond::NotEqual, stub);
        self.assembler.store_imm(bits, mem, running);
        self.clear_arguments();
        self.return_from(at);
        self.assembler.bind(goes_on);
    }
}
