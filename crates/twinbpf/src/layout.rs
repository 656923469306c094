//! Types of Rust that say where their fields lie, so that a map can check them against its own types.
//!
//! Sizes alone do not tell `{ packets, bytes }` from `{ bytes, packets }`. Rust keeps no field names at run time, so a type lists them
//! once, with [`layout!`](crate::layout); the compiler checks that the list is complete.

use twinbpf_object::value::Shape;
use zerocopy::byteorder::{ByteOrder, I16, I32, I64, U16, U32, U64};

use crate::lpm::LpmKey;
use crate::map_value::PerCpu;

/// A type that says where its fields lie: numbers, arrays, and structs for which [`layout!`](crate::layout) was called.
pub trait Layout {
    /// How a value lies in memory.
    const SHAPE: &'static Shape;
}

/// Lets a struct say where its fields lie, for [`Loaded::checked_map`](crate::Loaded::checked_map). All fields are listed, with the names
/// they have in C; a struct around one number is written like one.
///
/// ```
/// use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes};
/// use twinbpf::{Engine, Object, layout};
///
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// #[repr(transparent)]
/// struct Verdict(u32);
///
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Key {
///     source: u32,
///     port: u16,
///     protocol: u16,
/// }
///
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Flow {
///     packets: u64,
///     verdict: Verdict,
///     balance: i32,
///     device: [u8; 8],
/// }
///
/// layout!(Verdict(u32));
/// layout!(Key { source, port, protocol });
/// layout!(Flow { packets, verdict, balance, device });
///
/// let object = Object::parse(&std::fs::read("../../testdata/bpf/flows.bpf.o")?)?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let error = loaded.checked_map::<Key, Flow>("flows").unwrap_err();
/// assert_eq!(
///     error.diagnosis().message,
///     "the map's value: field `Flow.verdict` is at byte 8, in `struct flow` at byte 12"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// A macro, because neither functions nor tables see the names of fields.
#[macro_export]
macro_rules! layout {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::Layout for $type {
            const SHAPE: &'static $crate::value::Shape = &$crate::value::Shape::Struct {
                name: ::core::stringify!($type),
                size: ::core::mem::size_of::<$type>(),
                fields: &[$($crate::value::Field {
                    name: ::core::stringify!($field),
                    offset: ::core::mem::offset_of!($type, $field),
                    shape: $crate::shape_of_field::<$type, _>(|whole| whole.$field),
                }),+],
            };
        }

        // A field that is not listed does not compile.
        const _: fn(&$type) = |whole| {
            let $type { $($field: _),+ } = whole;
        };
    };
    ($type:ident($number:ty)) => {
        impl $crate::Layout for $type {
            const SHAPE: &'static $crate::value::Shape = {
                assert!(::core::mem::size_of::<$type>() == ::core::mem::size_of::<$number>());
                <$number as $crate::Layout>::SHAPE
            };
        }
    };
}

/// The shape of what a function takes out of a struct; for [`layout!`](crate::layout), which cannot name the types of fields.
#[doc(hidden)]
pub const fn shape_of_field<T, F: Layout>(_: fn(T) -> F) -> &'static Shape {
    F::SHAPE
}

// A macro, because traits cannot be implemented for a list of types otherwise.
macro_rules! numbers {
    ($($number:ty),+) => {
        $(impl Layout for $number {
            const SHAPE: &'static Shape = &Shape::Number { size: size_of::<$number>() };
        })+
    };
}

numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64);

macro_rules! ordered_numbers {
    ($($number:ident),+) => {
        $(impl<O: ByteOrder> Layout for $number<O> {
            const SHAPE: &'static Shape = &Shape::Number { size: size_of::<$number<O>>() };
        })+
    };
}

ordered_numbers!(I16, I32, I64, U16, U32, U64);

impl<T: Layout, const N: usize> Layout for [T; N] {
    const SHAPE: &'static Shape = &Shape::Array {
        element: T::SHAPE,
        length: N,
    };
}

impl<const N: usize> Layout for LpmKey<N> {
    // In C the bits have whatever name and type; all that is fixed is the length in front.
    const SHAPE: &'static Shape = &Shape::Array {
        element: <u8 as Layout>::SHAPE,
        length: size_of::<Self>(),
    };
}

/// One slot's value.
impl<V: Layout> Layout for PerCpu<V> {
    const SHAPE: &'static Shape = V::SHAPE;
}
