//! Runs a function on the executor that the vm was told to use; the way back in for helpers with callbacks and for tail calls.
//!
//! Functions that helpers call back are entered in machine code as the program is; one that is the main function itself is
//! interpreted, since compiled code expects nothing but a context there.

use std::any::Any;
use std::sync::Arc;

use twinbpf_object::btf::TypeId;

use crate::checked;
use crate::config::Executor;
use crate::fault::{Ended, FaultKind};
use crate::interpret::interpret;
use crate::program::Program;
use crate::run::{Callee, EndedIn, Returned, Run};

/// Runs the function of `program` that starts at `start`.
///
/// # Errors
///
/// The instruction and the reason of an abnormal end.
pub(crate) fn execute(
    run: &mut Run<'_>,
    program: &Program,
    start: usize,
    arguments: [Returned; 5],
) -> Result<Returned, Ended> {
    let values = arguments.map(|argument| argument.value);
    let compiled = match run.executor {
        Executor::Checked => return checked::interpret(run, program, start, arguments),
        Executor::Jit => program.compiled(),
        Executor::Interpreter => None,
    };
    let result = compiled.and_then(|compiled| match (start, values) {
        (0, [context, 0, 0, 0, 0]) => Some(compiled.run(run, context)),
        _ => compiled.run_function(run, start, values),
    });
    match result {
        Some(result) => result.map(Returned::number).map_err(|ended| *ended),
        None => interpret(run, program, start, values).map(Returned::number),
    }
}

/// What a program answers: an exception ends all its functions, and its handler answers instead; without one, the value thrown.
///
/// KERNEL: a program that was tail-called ends its exceptions itself, and its caller's caller goes on (6.18).
///
/// # Errors
///
/// The instruction and the reason of an abnormal end, also in the handler.
#[inline(always)]
pub(crate) fn caught(
    run: &mut Run<'_>,
    program: &Program,
    result: Result<Returned, Ended>,
) -> Result<Returned, Ended> {
    match result {
        Err((_, FaultKind::Thrown { cookie })) => handle(run, program, cookie),
        result => result,
    }
}

/// The same for compiled code, which may have gone over to another program before that threw.
///
/// # Errors
///
/// The instruction and the reason of an abnormal end in the handler.
#[cold]
pub(crate) fn caught_outside(
    run: &mut Run<'_>,
    program: &Program,
    cookie: u64,
) -> Result<Returned, Ended> {
    let thrower = run.ended_in.take().and_then(|ended| ended.program);
    let callee = thrower.as_ref().and_then(|it| it.downcast_ref::<Program>());
    let (Some(thrower), Some(callee)) = (&thrower, callee) else {
        return handle(run, program, cookie);
    };
    let mut inner = Run {
        standing: &mut *run.standing,
        image: &callee.image,
        program: callee,
        target: None,
        ..*run
    };
    let result = handle(&mut inner, callee, cookie);
    run.packet = inner.packet;
    result.map_err(|(at, kind)| {
        let ended_in = run.ended_in.get_or_insert(EndedIn { program: None, at });
        ended_in.program.get_or_insert_with(|| Arc::clone(thrower));
        (at, kind)
    })
}

#[cold]
fn handle(run: &mut Run<'_>, program: &Program, cookie: u64) -> Result<Returned, Ended> {
    run.ended_in = None;
    let Some(start) = program.exception_handler() else {
        return Ok(Returned::number(cookie));
    };
    let mut arguments = [Returned::NOTHING; 5];
    arguments[0] = Returned::number(cookie);
    let length = program.function_len(start);
    run.charge(length).map_err(|kind| (start, kind))?;
    execute(run, program, start, arguments)
}

/// Runs a function of the run's program, or another program in its place.
///
/// # Errors
///
/// The reason of an abnormal end; where it happened is in [`Run::ended_in`].
pub(crate) fn enter(
    run: &mut Run<'_>,
    callee: Callee<'_>,
    arguments: [Returned; 5],
) -> Result<Returned, FaultKind> {
    let depth = run.depth();
    let result = match callee {
        Callee::Function(start) => {
            let program: &Program = run
                .program
                .downcast_ref()
                .ok_or(FaultKind::Unsupported("this callback"))?;
            if !program.is_function(start) {
                return Err(FaultKind::Unsupported("a callback that is no function"));
            }
            run.charge(program.function_len(start))?;
            execute(run, program, start, arguments).map_err(|(at, kind)| {
                run.ended_in.get_or_insert(EndedIn { program: None, at });
                kind
            })
        }
        Callee::Program(program) => replace(run, program, arguments),
    };
    run.set_depth(depth);
    result
}

/// The run's program, to be kept for a callback that runs later.
pub(crate) fn keep(run: &Run<'_>) -> Option<Arc<dyn Any + Send + Sync>> {
    let program: &Program = run.program.downcast_ref()?;
    let program = program.itself.upgrade()?;
    Some(program)
}

/// Bytes of the type with this number in the object of the run's program.
pub(crate) fn type_bytes(run: &Run<'_>, number: u32) -> Option<u32> {
    let program: &Program = run.program.downcast_ref()?;
    let bytes = program.types()?.size_of(TypeId(number)).ok()?;
    u32::try_from(bytes).ok()
}

/// Makes a program that compiled code went over to the present one: its maps and functions are what calls mean from here on.
pub(crate) fn switch<'w>(run: &mut Run<'w>, program: &'w (dyn Any + Send + Sync)) {
    if let Some(callee) = program.downcast_ref::<Program>() {
        run.image = &callee.image;
        run.program = program;
    }
}

/// Runs another program on the present function's frame.
fn replace(
    run: &mut Run<'_>,
    program: &Arc<dyn Any + Send + Sync>,
    arguments: [Returned; 5],
) -> Result<Returned, FaultKind> {
    let callee: &Program = program
        .downcast_ref()
        .ok_or(FaultKind::Unsupported("this program"))?;
    let outer_end = run.ended_in.take();
    let mut inner = Run {
        standing: &mut *run.standing,
        image: &callee.image,
        program: callee,
        target: None,
        ..*run
    };
    let depth = inner.depth();
    let result = execute(&mut inner, callee, 0, arguments);
    inner.set_depth(depth);
    let result = caught(&mut inner, callee, result);
    run.packet = inner.packet;
    result.map_err(|(at, kind)| {
        let innermost = run.ended_in.take();
        let mut ended_in = innermost.unwrap_or(EndedIn { program: None, at });
        ended_in.program.get_or_insert_with(|| Arc::clone(program));
        run.ended_in = outer_end.or(Some(ended_in));
        kind
    })
}
