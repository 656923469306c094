//! One run of one program: its window, stack, packet, budget; what both interpreters and all helpers work on.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use twinbpf_object::insn::{AtomicOp, Size};
use twinbpf_object::{MapKind, ProgramKind};
use twinbpf_shm::{AtomicUpdate, SharedBytes};

use crate::common::Common;
use crate::config::Executor;
use crate::context::{ContextLayout, DataFields, PacketPointer};
use crate::fault::FaultKind;
use crate::handles::FIRST_FUNCTION_HANDLE;
use crate::held::Held;
use crate::machine::{MAX_TAIL_CALLS, MAY_GOTO_LOOPS, Machine};
use crate::maps::{LiveMap, Successor};
pub(crate) use crate::packet::{Notes, Packet};
use crate::provenance::{Provenance, Tracked};
use crate::semantics::low_32;
use crate::window::{Need, Window};

/// Bytes of a function's stack frame.
pub(crate) const STACK_BYTES: u32 = 512;
/// Most functions on the stack at a time.
pub(crate) const MAX_FRAMES: usize = 8;

/// What `bpf_tail_call` answers when it did not happen.
pub(crate) const NO_TAIL_CALL: u64 = 0_u64.wrapping_sub(2);

/// Offset of the link-layer header in a packet load (`SKF_LL_OFF`, `linux/filter.h`).
const LINK_LAYER_OFFSET: i32 = -0x20_0000;
/// Offset of the network header in a packet load (`SKF_NET_OFF`, `linux/filter.h`).
const NETWORK_OFFSET: i32 = -0x10_0000;

/// The state of one run. What its worker keeps from run to run is reached through it, as if it were its own.
pub(crate) struct Run<'w> {
    pub(crate) standing: &'w mut Standing,
    pub(crate) window: &'w Window,
    pub(crate) common: &'w Common,
    /// What the program refers to.
    pub(crate) image: &'w Image,
    /// The program itself; its type is known further up.
    pub(crate) program: &'w (dyn Any + Send + Sync),
    /// How compiled code came to that program, if by a tail call.
    pub(crate) target: Option<&'w Successor>,
    /// What the context is.
    pub(crate) layout: &'static ContextLayout,
    pub(crate) packet: Option<Packet>,
}

/// What a run needs to know of its program.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) kind: ProgramKind,
    /// The maps that the program refers to.
    pub(crate) maps: Vec<LiveMap>,
    /// The functions that the program calls by name, in the order of their positions.
    pub(crate) kfuncs: Vec<Kfunc>,
}

/// What a worker keeps from run to run, so that a run starts with little to write.
///
/// INVARIANT: between runs nothing is held, looked up or tracked, and there is no fault.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What compiled code works with.
    pub(crate) machine: Machine,
    /// Runs a function or program on the same stack, packet and budget.
    pub(crate) enter: Enter,
    /// Keeps the present program alive for a callback that runs later.
    pub(crate) keep: Keep,
    /// Bytes of a type of the present program's object.
    pub(crate) type_bytes: TypeBytes,
    /// Makes another program the present one.
    pub(crate) switch: Switch,
    pub(crate) executor: Executor,
    /// The worker's number: the CPU a program sees.
    pub(crate) slot: u32,
    pub(crate) random: u64,
    pub(crate) stack: u32,
    /// Where contexts lie in the window.
    pub(crate) context: u32,
    /// Fields of a context of the host's own that say where its data are.
    pub(crate) data_fields: Option<DataFields>,
    pub(crate) abort: Arc<AtomicBool>,
    pub(crate) budget: u64,
    /// Whether the program gave the packet the key of a tunnel.
    pub(crate) has_tunnel: bool,
    /// What the program must give back.
    pub(crate) held: Held,
    /// What the checked interpreter remembers; it forgets that itself.
    pub(crate) tracked: Option<Box<Tracked>>,
    /// Where an inner function or program ended abnormally.
    pub(crate) ended_in: Option<EndedIn>,
    /// The timer whose callback runs, by address.
    pub(crate) present_timer: Option<u32>,
    /// Why compiled code has to end.
    pub(crate) fault: Option<FaultKind>,
}

impl Standing {
    /// At the start of a run.
    #[inline(always)]
    pub(crate) fn start(&mut self) {
        self.machine.start();
    }

    /// At the end of a run, while its memory cannot go away yet.
    #[inline(always)]
    pub(crate) fn end(&mut self) {
        self.held.give_back();
    }
}

impl Deref for Run<'_> {
    type Target = Standing;

    #[inline(always)]
    fn deref(&self) -> &Standing {
        self.standing
    }
}

impl DerefMut for Run<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Standing {
        self.standing
    }
}

/// Runs a function of the present program, or another program, with these arguments.
pub(crate) type Enter =
    for<'a> fn(&mut Run<'a>, Callee<'_>, [Returned; 5]) -> Result<Returned, FaultKind>;

/// The present program, to be kept.
pub(crate) type Keep = fn(&Run<'_>) -> Option<Arc<dyn Any + Send + Sync>>;

/// Bytes of the type with this number in the object of the present program.
pub(crate) type TypeBytes = fn(&Run<'_>, u32) -> Option<u32>;

/// Makes a program that outlives the run the present one.
pub(crate) type Switch = for<'a> fn(&mut Run<'a>, &'a (dyn Any + Send + Sync));

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Callee<'c> {
    /// The function of the present program that starts at this slot.
    Function(usize),
    /// Another program.
    Program(&'c Arc<dyn Any + Send + Sync>),
}

/// Where an inner function or program ended abnormally.
#[derive(Debug)]
pub(crate) struct EndedIn {
    /// The program, if it is not the one the run started with.
    pub(crate) program: Option<Arc<dyn Any + Send + Sync>>,
    /// The slot.
    pub(crate) at: usize,
}

/// A function that programs call by name.
#[derive(Clone)]
pub(crate) struct Kfunc {
    /// How many of the five arguments it looks at.
    pub(crate) arguments: u8,
    pub(crate) body: KfuncBody,
}

/// What a function does that programs call by name.
#[derive(Clone)]
pub(crate) enum KfuncBody {
    /// One of the vm's own, which may do anything to the run.
    Own(fn(&mut Run<'_>, &Arguments) -> Result<Returned, FaultKind>),
    /// One of the host's.
    Host(Arc<HostBody>),
}

/// What a function of the host does.
pub(crate) type HostBody =
    dyn Fn(&Run<'_>, &Arguments) -> Result<Returned, FaultKind> + Send + Sync;

impl std::fmt::Debug for Kfunc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kfunc/{}", self.arguments)
    }
}

/// The five arguments of a call. The checked interpreter also says where each comes from.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) values: [u64; 5],
    pub(crate) provenance: Option<[Provenance; 5]>,
}

pub(crate) use crate::provenance::Returned;

impl Arguments {
    /// An argument with its origin.
    pub(crate) fn get(&self, index: usize) -> Returned {
        Returned {
            value: self.values[index],
            provenance: match &self.provenance {
                Some(provenance) => provenance[index],
                None => Provenance::Number,
            },
        }
    }
}

/// The address of a memory access: the low half of the register plus the displacement.
#[inline(always)]
pub(crate) fn address(register: u64, displacement: i32) -> i64 {
    i64::from(low_32(register)) + i64::from(displacement)
}

/// The fault of an access that the window refused.
#[cold]
pub(crate) fn access_fault(address: i64, size: Size, is_write: bool) -> FaultKind {
    FaultKind::Access {
        address: address.cast_unsigned(),
        size: size.bytes(),
        is_write,
    }
}

impl<'w> Run<'w> {
    /// The frame pointer of the function at this depth.
    #[inline(always)]
    pub(crate) fn stack_top(&self, depth: usize) -> u64 {
        let frames = u64::try_from(depth).unwrap_or(0) + 1;
        u64::from(self.stack) + frames * u64::from(STACK_BYTES)
    }

    /// Makes the program that the run began with the present one again, if compiled code went over to another.
    #[inline(always)]
    pub(crate) fn come_back(&mut self, program: &'w (dyn Any + Send + Sync)) {
        if self.target.take().is_some() {
            (self.switch)(self, program);
        }
    }

    /// Pays for `insns` instructions, and looks at the abort flag now and then.
    #[inline(always)]
    pub(crate) fn charge(&mut self, insns: usize) -> Result<(), FaultKind> {
        if self.machine.pay(insns as u64) {
            return Ok(());
        }
        self.charge_rest(insns as u64)
    }

    #[cold]
    fn charge_rest(&mut self, insns: u64) -> Result<(), FaultKind> {
        if !self.machine.pay_from_rest(insns) {
            return Err(FaultKind::Budget { insns: self.budget });
        }
        if self.abort.load(Ordering::Relaxed) {
            return Err(FaultKind::Aborted);
        }
        Ok(())
    }

    /// Functions below the present one. Executors say it before they call a helper.
    #[inline(always)]
    pub(crate) fn depth(&self) -> usize {
        self.machine.depth as usize
    }

    /// Says how many functions are below the present one.
    #[inline(always)]
    pub(crate) fn set_depth(&mut self, depth: usize) {
        self.machine.depth = u32::try_from(depth).unwrap_or(u32::MAX);
    }

    /// One `may_goto`: false when its loops are used up.
    pub(crate) fn may_go_on(&mut self) -> bool {
        match self.machine.loops.checked_sub(1) {
            Some(left) => {
                self.machine.loops = left;
                true
            }
            None => false,
        }
    }

    /// Begins a function: its `may_goto`s are its own. The answer is what is left to the one before, to be put back.
    ///
    /// KERNEL: every function counts for itself, from its call on (6.18).
    pub(crate) fn enter_loops(&mut self) -> u64 {
        std::mem::replace(&mut self.machine.loops, MAY_GOTO_LOOPS)
    }

    /// An atomic operation. The answer is the old value and whether it goes into `r0`, if it goes anywhere.
    pub(crate) fn atomic(
        &self,
        op: AtomicOp,
        size: Size,
        address: i64,
        (operand, expected): (u64, u64),
    ) -> Result<Option<(bool, u64)>, FaultKind> {
        let cell = self.cell(address, size, Need::Both)?;
        let (update, fetch) = match op {
            AtomicOp::Add { fetch } => (AtomicUpdate::Add, fetch),
            AtomicOp::Or { fetch } => (AtomicUpdate::Or, fetch),
            AtomicOp::And { fetch } => (AtomicUpdate::And, fetch),
            AtomicOp::Xor { fetch } => (AtomicUpdate::Xor, fetch),
            AtomicOp::Exchange => (AtomicUpdate::Exchange, true),
            AtomicOp::CompareExchange => {
                let old = match size {
                    Size::W => cell
                        .compare_exchange_u32(0, low_32(expected), low_32(operand))
                        .map(u64::from),
                    _ => cell.compare_exchange_u64(0, expected, operand),
                };
                return old
                    .map(|old| Some((true, old)))
                    .ok_or_else(|| misaligned(address, size));
            }
        };
        let old = match size {
            Size::W => cell.update_u32(0, update, low_32(operand)).map(u64::from),
            _ => cell.update_u64(0, update, operand),
        };
        let old = old.ok_or_else(|| misaligned(address, size))?;
        Ok(fetch.then_some((false, old)))
    }

    /// A load with acquire ordering.
    pub(crate) fn load_acquire(&self, address: i64, size: Size) -> Result<u64, FaultKind> {
        aligned(address, size)?;
        let value = self
            .window
            .load(address, size)
            .ok_or_else(|| access_fault(address, size, false))?;
        fence(Ordering::Acquire);
        Ok(value)
    }

    /// A store with release ordering.
    pub(crate) fn store_release(
        &self,
        address: i64,
        size: Size,
        value: u64,
    ) -> Result<(), FaultKind> {
        aligned(address, size)?;
        fence(Ordering::Release);
        self.window
            .store(address, size, value)
            .ok_or_else(|| access_fault(address, size, true))
    }

    /// A packet load in network order; `None` if the packet has no such bytes, which ends the function with 0.
    pub(crate) fn load_packet(
        &self,
        r6: u64,
        offset: i32,
        size: Size,
    ) -> Result<Option<u64>, FaultKind> {
        let packet = self
            .packet
            .filter(|_| low_32(r6) == self.context)
            .ok_or(FaultKind::NoPacket)?;
        // KERNEL: non-negative offsets count from the data, the two negative windows from the headers, and whatever else is
        // negative fails (observed on 6.18: the program returns 0).
        let (from, offset) = match offset {
            0.. => (packet.data, i64::from(offset)),
            NETWORK_OFFSET..0 => (
                packet.network,
                i64::from(offset) - i64::from(NETWORK_OFFSET),
            ),
            LINK_LAYER_OFFSET..NETWORK_OFFSET => (
                packet.head,
                i64::from(offset) - i64::from(LINK_LAYER_OFFSET),
            ),
            _ => return Ok(None),
        };
        let start = i64::from(from) + offset;
        if start < i64::from(packet.head)
            || start + i64::from(size.bytes()) > i64::from(packet.total_end)
        {
            return Ok(None);
        }
        let value = self
            .window
            .load(start, size)
            .ok_or_else(|| access_fault(start, size, false))?;
        let [b0, b1, b2, b3, ..] = value.to_ne_bytes();
        Ok(Some(match size {
            Size::B => u64::from(b0),
            Size::H => u64::from(u16::from_be_bytes([b0, b1])),
            _ => u64::from(u32::from_be_bytes([b0, b1, b2, b3])),
        }))
    }

    /// The memory a helper's argument points to, checked for what the helper does with it.
    ///
    /// # Errors
    ///
    /// A fault if the program may not do that with all `len` bytes.
    #[inline(always)]
    pub(crate) fn memory(
        &self,
        arguments: &Arguments,
        index: usize,
        len: u32,
        need: Need,
    ) -> Result<SharedBytes, FaultKind> {
        let address = u64::from(low_32(arguments.values[index]));
        if let Some(provenance) = &arguments.provenance {
            provenance[index].check_access(address.cast_signed(), len)?;
        }
        self.memory_at(address, len, need)
    }

    /// The memory at an address that a program gave, checked for what is done with it.
    ///
    /// # Errors
    ///
    /// A fault if the program may not do that with all `len` bytes.
    #[inline(always)]
    pub(crate) fn memory_at(
        &self,
        address: u64,
        len: u32,
        need: Need,
    ) -> Result<SharedBytes, FaultKind> {
        let address = u64::from(low_32(address));
        self.window
            .range(address, len, need)
            .ok_or(FaultKind::Access {
                address,
                size: len,
                is_write: need != Need::Read,
            })
    }

    /// The map a helper's argument names.
    ///
    /// # Errors
    ///
    /// A fault if the value is not the handle of a map.
    pub(crate) fn map(&self, arguments: &Arguments, index: usize) -> Result<&LiveMap, FaultKind> {
        let value = arguments.values[index];
        let handle = u32::try_from(value).map_err(|_| FaultKind::NotAMap { value })?;
        self.image
            .maps
            .iter()
            .chain(self.held.maps())
            .find(|map| map.handle() == handle)
            .ok_or(FaultKind::NotAMap { value })
    }

    /// What kind of thing a value handed out by a helper is, for the checked interpreter.
    pub(crate) fn provenance_of_value(&self, map: &LiveMap, address: u32) -> Provenance {
        Provenance::object(address, map.value_size(), "a map value")
    }

    /// The slot at which the function starts that a helper's argument names.
    ///
    /// # Errors
    ///
    /// A fault if the value is not the handle of a function.
    pub(crate) fn function(&self, arguments: &Arguments, index: usize) -> Result<usize, FaultKind> {
        let value = arguments.values[index];
        u32::try_from(value)
            .ok()
            .and_then(|handle| handle.checked_sub(FIRST_FUNCTION_HANDLE))
            .and_then(|start| usize::try_from(start).ok())
            .ok_or(FaultKind::NotAFunction { value })
    }

    /// Calls the function at this position of the program's list.
    ///
    /// # Errors
    ///
    /// The reason of an abnormal end in it.
    pub(crate) fn call_kfunc(
        &mut self,
        position: usize,
        arguments: &Arguments,
    ) -> Result<Returned, FaultKind> {
        let kfunc = self.image.kfuncs.get(position);
        let kfunc = kfunc.ok_or(FaultKind::Unsupported("this kernel function"))?;
        match &kfunc.body {
            KfuncBody::Own(call) => call(self, arguments),
            KfuncBody::Host(call) => call(self, arguments),
        }
    }

    /// Memory of this depth of calls in which a helper can lend something to a callback.
    ///
    /// # Errors
    ///
    /// Too many nested calls.
    pub(crate) fn scratch(&self) -> Result<(u32, SharedBytes), FaultKind> {
        let depth =
            u32::try_from(self.depth().min(MAX_FRAMES - 1)).map_err(|_| FaultKind::CallDepth)?;
        let frames = u32::try_from(MAX_FRAMES).map_err(|_| FaultKind::CallDepth)?;
        let address = self.stack + (frames + depth) * STACK_BYTES;
        let place = self
            .window
            .range(u64::from(address), STACK_BYTES, Need::Both)
            .ok_or(FaultKind::CallDepth)?;
        Ok((address, place))
    }

    /// Writes the packet's place and length into the context.
    pub(crate) fn write_packet_pointers(&self) {
        let Some(packet) = self.packet else { return };
        let layout = self.layout;
        let length = layout.length.map(|offset| (offset, packet.len()));
        let pointers = layout.packet_pointers.iter().map(|(offset, pointer)| {
            let address = match pointer {
                PacketPointer::Data => packet.data,
                PacketPointer::DataEnd => packet.end,
                PacketPointer::DataMeta => packet.meta,
            };
            (*offset, address)
        });
        for (offset, value) in pointers.chain(length) {
            let address = u64::from(self.context) + u64::from(offset);
            if let Some(field) = self.window.range(address, 4, Need::Write) {
                // Four bytes were found writable just now.
                let _ = field.store_u32(0, value);
            }
        }
    }

    /// A copy of the first bytes of the packet; `None` if it is shorter, or the run has none.
    pub(crate) fn packet_bytes(&self, len: u32) -> Option<Vec<u8>> {
        let packet = self.packet?;
        if packet.len() < len {
            return None;
        }
        let view = self.window.range(u64::from(packet.data), len, Need::Read)?;
        let mut bytes = vec![0; view.len()];
        view.copy_out(0, &mut bytes)?;
        Some(bytes)
    }

    /// Holds a map from a map of maps until the run ends; the answer is the number that stands for it.
    pub(crate) fn hold_map(&mut self, map: LiveMap) -> u32 {
        let handle = map.handle();
        let is_same = |known: &LiveMap| known.handle() == handle;
        if !self.image.maps.iter().chain(self.held.maps()).any(is_same) {
            self.held.hold_map(map);
        }
        handle
    }

    /// Calls a function of the program: a callback of a helper.
    ///
    /// # Errors
    ///
    /// The reason of an abnormal end in it, or too many nested calls.
    pub(crate) fn call_function(
        &mut self,
        start: usize,
        arguments: [Returned; 5],
    ) -> Result<u64, FaultKind> {
        let depth = self.depth();
        if depth + 1 >= MAX_FRAMES {
            return Err(FaultKind::CallDepth);
        }
        self.set_depth(depth + 1);
        let loops_left = self.enter_loops();
        let result = (self.enter)(self, Callee::Function(start), arguments);
        self.machine.loops = loops_left;
        self.set_depth(depth);
        result.map(|returned| returned.value)
    }

    /// `long bpf_tail_call(context, prog_array, index)`: what the other program answered, which then is the answer of the
    /// present function too; `None` if there is no such program or there were too many.
    ///
    /// # Errors
    ///
    /// The reason of an abnormal end in the other program, or the second argument is no prog array.
    pub(crate) fn tail_call(
        &mut self,
        arguments: &Arguments,
    ) -> Result<Option<Returned>, FaultKind> {
        let [context, array, index, ..] = arguments.values;
        let map = self.map(arguments, 1)?;
        if map.spec().kind != MapKind::ProgArray {
            return Err(FaultKind::NotAMap { value: array });
        }
        let Some(program) = map.program_at(low_32(index)) else {
            return Ok(None);
        };
        if self.machine.tail_calls >= MAX_TAIL_CALLS {
            return Ok(None);
        }
        self.machine.tail_calls += 1;
        self.charge(1)?;
        let provenance = match arguments.provenance {
            Some([context, ..]) => context,
            None => Provenance::Number,
        };
        let mut handed_over = [Returned::NOTHING; 5];
        handed_over[0] = Returned {
            value: context,
            provenance,
        };
        let loops_left = self.enter_loops();
        let result = (self.enter)(self, Callee::Program(&program), handed_over);
        self.machine.loops = loops_left;
        result.map(Some)
    }

    fn cell(&self, address: i64, size: Size, need: Need) -> Result<SharedBytes, FaultKind> {
        aligned(address, size)?;
        let at = u64::try_from(address).map_err(|_| access_fault(address, size, true))?;
        self.window
            .range(at, size.bytes(), need)
            .ok_or_else(|| access_fault(address, size, true))
    }
}

fn aligned(address: i64, size: Size) -> Result<(), FaultKind> {
    if address % i64::from(size.bytes()) == 0 {
        Ok(())
    } else {
        Err(misaligned(address, size))
    }
}

fn misaligned(address: i64, size: Size) -> FaultKind {
    FaultKind::Misaligned {
        address: address.cast_unsigned(),
        size: size.bytes(),
    }
}
