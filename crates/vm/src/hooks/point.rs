//! Hook points of the host application: BPF as its plug-in language.
//!
//! ```text
//!  host's struct --> context in the window --r1--> program --> r0
//!  host's bytes  --> data in the window; two fields of the context say where they start and end
//!  afterwards only what programs may write comes back
//! ```
//!
//! A program belongs to a hook point by its section's name, which the host chooses. It is loaded as a program of type `syscall`, the
//! kernel's type for contexts of the caller's own, so that nothing of the kernel's packets applies to it.

use twinbpf_object::{Code, Diagnosis, Error, Object, ProgramKind, Result};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::context::{BYTES, DataFields};
use crate::program::VmProgram;
use crate::run::Packet;
use crate::vm::Vm;
use crate::worker::{HEADROOM_BYTES, PACKET_BYTES, Worker};

/// Most bytes of a context.
const MOST_CONTEXT_BYTES: usize = 4096;
/// Bytes of an address in a context.
const POINTER_BYTES: usize = 8;

/// A place in the host application where programs run: what their context looks like.
///
/// ```
/// use twinbpf_vm::hooks::point::{HookData, HookField, HookPoint};
/// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// // In C: struct request { __u32 client; __u32 verdict; const __u8 *body, *body_end; };
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Request {
///     client: u32,
///     verdict: u32,
///     body: u64,
///     body_end: u64,
/// }
///
/// let point = HookPoint {
///     section: "request".to_owned(),
///     context_bytes: size_of::<Request>(),
///     writable: vec![HookField { offset: 4, bytes: 4 }],
///     data: Some(HookData { start: 8, end: 16, is_writable: false }),
/// };
/// # let _ = point;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPoint {
    /// Programs whose section has this name, or begins with it and a slash, are for this hook point.
    pub section: String,
    /// Bytes of the context.
    pub context_bytes: usize,
    /// The parts of the context that programs may change. Changes elsewhere are forgotten when the program ends.
    pub writable: Vec<HookField>,
    /// Where the context says which bytes come with it, if any do.
    pub data: Option<HookData>,
}

/// A part of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookField {
    /// Where it starts.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
}

impl HookField {
    fn end(self) -> usize {
        self.offset.saturating_add(self.bytes)
    }
}

/// The fields of a context, addresses of 8 bytes, that say where its data start and end. The hook point fills them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookData {
    /// Offset of the field with the address of the first byte.
    pub start: usize,
    /// Offset of the field with the address behind the last byte.
    pub end: usize,
    /// Whether what programs change in the data comes back.
    pub is_writable: bool,
}

impl HookPoint {
    /// Makes the programs of an object that are for this hook point loadable; how many there are.
    pub fn adopt(&self, object: &mut Object) -> usize {
        let is_ours = |section: &str| {
            let section = section.trim_start_matches('?');
            let rest = section.strip_prefix(self.section.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut count = 0;
        for program in &mut object.programs {
            if is_ours(&program.section) {
                program.kind = Some(ProgramKind::Syscall);
                count += 1;
            }
        }
        count
    }

    /// A program with a worker of its own, to be run at this hook point.
    ///
    /// # Errors
    ///
    /// If the program is of another type, the fields do not lie in the context, or the vm has no free CPU slot.
    pub fn runner(&self, vm: &Vm, program: &VmProgram) -> Result<HookRunner> {
        let fields = self.check(program)?;
        let mut worker = vm.worker()?;
        worker.standing.data_fields = fields;
        Ok(HookRunner {
            point: self.clone(),
            worker,
            program: program.clone(),
        })
    }

    fn check(&self, program: &VmProgram) -> Result<Option<DataFields>> {
        let kind = program.kind();
        if kind != ProgramKind::Syscall {
            let message = format!(
                "programs of hook point `{}` are loaded as type syscall, this one is {kind}",
                self.section
            );
            let diagnosis = Diagnosis::new(Code::USAGE, message).in_program(program.name());
            return Err(diagnosis
                .help("call `HookPoint::adopt` on the object before it is linked")
                .into());
        }
        if self.context_bytes > MOST_CONTEXT_BYTES {
            let bytes = self.context_bytes;
            return Err(self.usage(&format!(
                "a context has at most {MOST_CONTEXT_BYTES} bytes, not {bytes}"
            )));
        }
        for field in &self.writable {
            self.inside(*field)?;
        }
        let Some(data) = self.data else {
            return Ok(None);
        };
        let field = |offset: usize| {
            self.inside(HookField {
                offset,
                bytes: POINTER_BYTES,
            })
        };
        Ok(Some(DataFields {
            start: field(data.start)?,
            end: field(data.end)?,
        }))
    }

    /// The offset of a field, which must lie in the context.
    fn inside(&self, field: HookField) -> Result<u32> {
        let offset = u32::try_from(field.offset).ok();
        let inside = offset.filter(|_| field.end() <= self.context_bytes);
        inside.ok_or_else(|| {
            self.usage(&format!(
                "bytes {} to {} do not lie in the context, which has {}",
                field.offset,
                field.end(),
                self.context_bytes
            ))
        })
    }

    fn usage(&self, message: &str) -> Error {
        Diagnosis::new(
            Code::USAGE,
            format!("hook point `{}`: {message}", self.section),
        )
        .into()
    }
}

/// A program at a hook point, with a worker of its own.
#[derive(Debug)]
pub struct HookRunner {
    point: HookPoint,
    worker: Worker,
    program: VmProgram,
}

impl HookRunner {
    /// Runs the program on a context; its answer.
    ///
    /// # Errors
    ///
    /// If the context has another size than the hook point says, or the run ends abnormally.
    pub fn run<Context>(&mut self, context: &mut Context) -> Result<u64>
    where
        Context: FromBytes + IntoBytes + KnownLayout + ?Sized,
    {
        self.run_bytes(context.as_mut_bytes(), None)
    }

    /// Runs the program on a context and the data that come with it; its answer.
    ///
    /// # Errors
    ///
    /// If the context has another size than the hook point says, it has no fields for data, the data are longer than 76 KiB,
    /// or the run ends abnormally.
    pub fn run_with_data<Context>(&mut self, context: &mut Context, data: &mut [u8]) -> Result<u64>
    where
        Context: FromBytes + IntoBytes + KnownLayout + ?Sized,
    {
        self.run_bytes(context.as_mut_bytes(), Some(data))
    }

    /// The worker, for its handle that aborts a run.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    fn run_bytes(&mut self, context: &mut [u8], data: Option<&mut [u8]>) -> Result<u64> {
        if context.len() != self.point.context_bytes {
            let message = format!(
                "the context has {} bytes, this one {}",
                self.point.context_bytes,
                context.len()
            );
            return Err(self.point.usage(&message));
        }
        let packet = self.lay_out(context, data.as_deref())?;
        let len = u32::try_from(context.len()).unwrap_or(0);
        let outcome = self.worker.execute(&self.program, (&BYTES, len), packet)?;
        self.read_back(context, data);
        Ok(outcome.value)
    }

    /// Writes context and data into the window. Of a hook point without data the fields do not exist; without data for this
    /// run both say the same address.
    fn lay_out(&self, context: &[u8], data: Option<&[u8]>) -> Result<Option<Packet>> {
        let area = self.worker.context.host();
        // The context fits: its size was checked when the hook point was.
        let _ = area.copy_in(0, context);
        let Some(fields) = self.worker.standing.data_fields else {
            return match data {
                Some(_) => Err(self.point.usage("its context has no fields for data")),
                None => Ok(None),
            };
        };
        let data = data.unwrap_or_default();
        let len = u32::try_from(data.len())
            .ok()
            .filter(|len| *len <= PACKET_BYTES);
        let len = len.ok_or_else(|| {
            let message = format!("data have at most {PACKET_BYTES} bytes, not {}", data.len());
            self.point.usage(&message)
        })?;
        let packet = &self.worker.packet;
        // The room behind the headroom was measured in the line above.
        let _ = packet.host().copy_in(HEADROOM_BYTES as usize, data);
        let start = packet.start() + HEADROOM_BYTES;
        for (offset, address) in [(fields.start, start), (fields.end, start + len)] {
            // The fields lie in the context, which fits.
            let _ = area.copy_in(offset as usize, &u64::from(address).to_ne_bytes());
        }
        Ok(Some(Packet::fixed(start, start, start, start + len)))
    }

    /// Takes back what programs may change.
    fn read_back(&self, context: &mut [u8], data: Option<&mut [u8]>) {
        let area = self.worker.context.host();
        for field in &self.point.writable {
            if let Some(part) = context.get_mut(field.offset..field.end()) {
                // The part lies in the context, which fits.
                let _ = area.copy_out(field.offset, part);
            }
        }
        let is_writable = self.point.data.is_some_and(|data| data.is_writable);
        if let Some(data) = data.filter(|_| is_writable) {
            // The data were laid out there before the run.
            let _ = self
                .worker
                .packet
                .host()
                .copy_out(HEADROOM_BYTES as usize, data);
        }
    }
}
