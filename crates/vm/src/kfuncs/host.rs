//! Functions of the host: closures that programs call by name, with state of their own.
//!
//! What a program hands over is a claim: numbers are cut to the width of the prototype, addresses are looked up in the window by
//! [`HostCall`], and what is not there ends the run. So does a closure that panics or refuses; the host goes on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use twinbpf_object::target::{MOST_PARAMETERS, Parameter, Prototype};
use twinbpf_object::{Code, Diagnosis, Error, Result};

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// Most bytes that a host function may ask for at a time: a program says how many, and they are copied.
const MOST_BYTES: u32 = 16 << 20;

type Body = Box<dyn Fn(&mut HostCall<'_, '_>) -> std::result::Result<u64, HostFault> + Send + Sync>;

/// A function of the host that programs call by name.
pub struct HostFunction {
    name: String,
    prototype: Prototype,
    body: Body,
}

/// One call of a host function: its arguments, and the memory they point to.
pub struct HostCall<'call, 'run> {
    run: &'call Run<'run>,
    arguments: &'call Arguments,
    prototype: &'call Prototype,
}

/// Why a host function ends the run of the program that called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFault(FaultKind);

impl HostFunction {
    /// A function with a prototype, for those that take addresses.
    ///
    /// # Errors
    ///
    /// If the name is no identifier, or the prototype has more than five parameters or a number of a width that C does not have.
    pub fn new(
        name: &str,
        prototype: Prototype,
        body: impl Fn(&mut HostCall<'_, '_>) -> std::result::Result<u64, HostFault>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self> {
        check(name, &prototype)?;
        Ok(Self {
            name: name.to_owned(),
            prototype,
            body: Box::new(body),
        })
    }

    /// A function on numbers, whose prototype is that of the closure.
    ///
    /// # Errors
    ///
    /// If the name is no identifier.
    pub fn of<Parameters>(name: &str, closure: impl HostClosure<Parameters>) -> Result<Self> {
        let prototype = closure.prototype();
        Self::new(name, prototype, move |call| {
            Ok(closure.call(call.arguments.values))
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it takes and answers.
    pub fn prototype(&self) -> &Prototype {
        &self.prototype
    }

    pub(super) fn call(
        &self,
        run: &Run<'_>,
        arguments: &Arguments,
    ) -> std::result::Result<Returned, FaultKind> {
        let mut call = HostCall {
            run,
            arguments,
            prototype: &self.prototype,
        };
        let answer = catch_unwind(AssertUnwindSafe(|| (self.body)(&mut call)));
        match answer {
            Ok(Ok(_)) if self.prototype.answer.is_none() => Ok(Returned::number(0)),
            Ok(Ok(number)) => Ok(Returned::number(number)),
            Ok(Err(HostFault(FaultKind::Host { reason, .. }))) => Err(self.fault(reason)),
            Ok(Err(HostFault(other))) => Err(other),
            Err(_) => Err(self.fault("it panicked".to_owned())),
        }
    }

    fn fault(&self, reason: String) -> FaultKind {
        FaultKind::Host {
            function: self.name.clone(),
            reason,
        }
    }
}

impl fmt::Debug for HostFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunction")
            .field("name", &self.name)
            .field("prototype", &self.prototype)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HostCall<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCall")
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

impl HostCall<'_, '_> {
    /// A number, cut to its width in the prototype; addresses are numbers too.
    pub fn number(&self, index: usize) -> u64 {
        let value = self.arguments.values.get(index).copied().unwrap_or(0);
        match self.prototype.parameters.get(index) {
            Some(Parameter::Number(1)) => value & 0xff,
            Some(Parameter::Number(2)) => value & 0xffff,
            Some(Parameter::Number(4)) => u64::from(low_32(value)),
            Some(_) => value,
            None => 0,
        }
    }

    /// A copy of `len` bytes at the address that is argument `index`.
    ///
    /// # Errors
    ///
    /// If the program may not read all of them, or they are more than 16 MiB.
    pub fn read(&self, index: usize, len: u64) -> std::result::Result<Vec<u8>, HostFault> {
        let view = self.memory(index, len, Need::Read)?;
        let mut bytes = vec![0; view.len()];
        view.copy_out(0, &mut bytes)
            .ok_or_else(|| HostFault::new("its memory cannot be copied"))?;
        Ok(bytes)
    }

    /// The text at the address that is argument `index`, up to its zero byte or `most` bytes.
    ///
    /// # Errors
    ///
    /// If the program may not read a byte of it.
    pub fn text(&self, index: usize, most: u64) -> std::result::Result<Vec<u8>, HostFault> {
        let start = self.address(index);
        let mut text = Vec::new();
        for offset in 0..most.min(u64::from(MOST_BYTES)) {
            let view = self
                .run
                .memory_at(start.wrapping_add(offset), 1, Need::Read)
                .map_err(HostFault)?;
            match view.load_u8(0) {
                None | Some(0) => break,
                Some(byte) => text.push(byte),
            }
        }
        Ok(text)
    }

    /// Writes `bytes` to the address that is argument `index`.
    ///
    /// # Errors
    ///
    /// If the program may not write all of them.
    pub fn write(&self, index: usize, bytes: &[u8]) -> std::result::Result<(), HostFault> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.memory(index, len, Need::Write)?
            .copy_in(0, bytes)
            .ok_or_else(|| HostFault::new("its memory cannot be copied"))
    }

    /// Nanoseconds of the vm's clock.
    pub fn now_ns(&self) -> u64 {
        self.run.common.surroundings.now_ns()
    }

    /// The CPU number that the program sees: that of its worker.
    pub fn cpu(&self) -> u32 {
        self.run.slot
    }

    fn address(&self, index: usize) -> u64 {
        let value = self.arguments.values.get(index).copied().unwrap_or(0);
        u64::from(low_32(value))
    }

    fn memory(
        &self,
        index: usize,
        len: u64,
        need: Need,
    ) -> std::result::Result<twinbpf_shm::SharedBytes, HostFault> {
        let is_address = self.prototype.parameters.get(index) == Some(&Parameter::Pointer);
        if !is_address {
            let reason = format!("its argument {} is no address", index + 1);
            return Err(HostFault::new(&reason));
        }
        let len = u32::try_from(len).ok().filter(|len| *len <= MOST_BYTES);
        let len = len.ok_or_else(|| HostFault::new("more than 16 MiB at a time"))?;
        self.run
            .memory(self.arguments, index, len, need)
            .map_err(HostFault)
    }
}

impl HostFault {
    /// Ends the run with a reason of the host's own.
    pub fn new(reason: &str) -> Self {
        Self(FaultKind::Host {
            function: String::new(),
            reason: reason.to_owned(),
        })
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            FaultKind::Host { reason, .. } => f.write_str(reason),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for HostFault {}

/// A number that a register hands over.
pub trait HostNumber {
    /// Its width.
    const PARAMETER: Parameter;
    /// The number in a register, whose further bits mean nothing.
    fn from_register(register: u64) -> Self;
    /// The register that holds the number: signed ones are extended by their sign.
    fn into_register(self) -> u64;
}

/// What a host function answers: a number, or nothing.
pub trait Answer {
    /// Its width.
    const ANSWER: Option<Parameter>;
    /// The register that holds it.
    fn into_register(self) -> u64;
}

impl Answer for () {
    const ANSWER: Option<Parameter> = None;

    fn into_register(self) -> u64 {
        0
    }
}

/// Numbers of all widths differ in their type alone.
macro_rules! numbers {
    ($($bytes:literal: $unsigned:ident $signed:ident),* $(,)?) => {$(
        numbers!(@one $unsigned, $bytes, |register: u64| {
            let bytes = register.to_le_bytes();
            bytes.first_chunk().map_or(0, |bytes| $unsigned::from_le_bytes(*bytes))
        }, u64::from);
        numbers!(@one $signed, $bytes, |register: u64| {
            let bytes = register.to_le_bytes();
            bytes.first_chunk().map_or(0, |bytes| $signed::from_le_bytes(*bytes))
        }, |number| i64::from(number).cast_unsigned());
    )*};
    (@one $number:ident, $bytes:literal, $from:expr, $into:expr) => {
        impl HostNumber for $number {
            const PARAMETER: Parameter = Parameter::Number($bytes);

            fn from_register(register: u64) -> Self {
                let from: fn(u64) -> Self = $from;
                from(register)
            }

            fn into_register(self) -> u64 {
                let into: fn(Self) -> u64 = $into;
                into(self)
            }
        }

        impl Answer for $number {
            const ANSWER: Option<Parameter> = Some(Parameter::Number($bytes));

            fn into_register(self) -> u64 {
                HostNumber::into_register(self)
            }
        }
    };
}

numbers! { 1: u8 i8, 2: u16 i16, 4: u32 i32, 8: u64 i64 }

/// A closure on numbers that can be a host function: up to five, and an answer.
pub trait HostClosure<Parameters>: Send + Sync + 'static {
    /// What it takes and answers.
    fn prototype(&self) -> Prototype;
    /// Calls it with what the registers hold.
    fn call(&self, registers: [u64; MOST_PARAMETERS]) -> u64;
}

/// Closures of every number of parameters differ in that number alone.
macro_rules! closures {
    ($(($($parameter:ident $register:ident),*)),* $(,)?) => {$(
        impl<Closure, Given, $($parameter),*> HostClosure<($($parameter,)*)> for Closure
        where
            Closure: Fn($($parameter),*) -> Given + Send + Sync + 'static,
            Given: Answer,
            $($parameter: HostNumber,)*
        {
            fn prototype(&self) -> Prototype {
                Prototype {
                    parameters: vec![$($parameter::PARAMETER),*],
                    answer: Given::ANSWER,
                }
            }

            fn call(&self, registers: [u64; MOST_PARAMETERS]) -> u64 {
                let [$($register,)* ..] = registers;
                self($($parameter::from_register($register)),*).into_register()
            }
        }
    )*};
}

closures! {
    (),
    (A a),
    (A a, B b),
    (A a, B b, C c),
    (A a, B b, C c, D d),
    (A a, B b, C c, D d, E e),
}

fn check(name: &str, prototype: &Prototype) -> Result<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    if !starts_well || !name.bytes().all(is_word) {
        return Err(usage(format!("`{name}` is no name of a C function")));
    }
    let count = prototype.parameters.len();
    if count > MOST_PARAMETERS {
        return Err(usage(format!(
            "`{name}` has {count} parameters, a call has registers for {MOST_PARAMETERS}"
        )));
    }
    let mut all = prototype.parameters.iter().chain(&prototype.answer);
    match all
        .find(|each| matches!(each, Parameter::Number(bytes) if !matches!(bytes, 1 | 2 | 4 | 8)))
    {
        Some(wrong) => Err(usage(format!("`{name}` has {wrong}, C has 1, 2, 4 and 8"))),
        None => Ok(()),
    }
}

fn usage(message: String) -> Error {
    Diagnosis::new(Code::USAGE, message).into()
}
