//! Map definitions that BTF describes: `struct { ... } name SEC(".maps")`.
//!
//! The bytes of the variable say nothing; its type says everything. A number is the length of an array that a member
//! points to, a type is what a member points to:
//!
//! ```text
//! int (*max_entries)[256];     a pointer to an array of 256           number 256
//! struct flow *key;            a pointer to a type                    key of that size, and that type
//! struct inner *values[];      an array of pointers to definitions    what the maps inside look like
//! int (*values[])(void *);     an array of pointers to functions      a prog array
//! enum { e = 1 << 32 } extra;  an enum of one value                   a number that no array can have
//! ```
//!
//! The convention is libbpf's. Two statements about one size must agree, and a member with another name is an error:
//! it is a typing slip, and the definition would not mean what its author thinks.

use std::collections::BTreeMap;

use crate::abi::{MapFlags, MapKind};
use crate::btf::{Btf, Composite, Enumeration, Linkage, Member, Type, TypeId};
use crate::diagnosis::{Code, Diagnosis, Error, Result};
use crate::order::Ordered as _;
use crate::spec::{InnerMap, MapOrigin, MapSpec, Pinning};

use super::maps_section::{MapVariable, MapsSection};

/// Members that mean something.
const FIELDS: &[&str] = &[
    "type",
    "key",
    "key_size",
    "value",
    "value_size",
    "max_entries",
    "map_flags",
    "map_extra",
    "numa_node",
    "pinning",
    "values",
];

/// Bytes of the values of maps that hold maps or programs: a file descriptor.
const DESCRIPTOR_BYTES: u32 = 4;

/// A definition, and where in its section the declared values start, if it declares any.
pub(crate) type Described = (MapSpec, Option<u64>);

/// Reads the definitions of one section, by offset.
///
/// # Errors
///
/// Code O010 naming the map and the member: unknown, of the wrong shape, contradicting another, or missing where nothing
/// works without it. Code O013 if a type leads nowhere.
pub(crate) fn parse(section: &MapsSection<'_>, btf: &Btf) -> Result<Vec<Described>> {
    let mut described = described_variables(section.name, btf);
    let mut specs = Vec::with_capacity(section.variables.len());
    for variable in &section.variables {
        let place = Place {
            section: section.name,
            variable,
            is_inner: false,
        };
        let target = described
            .remove(variable.name)
            .ok_or_else(|| place.error("BTF does not describe this variable"))?;
        let definition = Definition::of(btf, target, place)?;
        let values_at = definition.values_at();
        let spec = MapSpec {
            origin: MapOrigin::Btf {
                offset: variable.offset,
            },
            ..definition.read()?
        };
        specs.push((spec, values_at.map(|at| variable.offset.saturating_add(at))));
    }
    match described.into_keys().next() {
        None => Ok(specs),
        Some(name) => {
            let message = "BTF describes this map, but no symbol says where it is";
            Err(Diagnosis::new(Code::MAP_DEFINITION, message)
                .at(section.name, 0)
                .in_map(name)
                .into())
        }
    }
}

/// Names and types of the section's variables. Where they stand is the symbols' knowledge: BTF of a relocatable object
/// has zeros there. A map that is only declared (`extern`) is another object's, and here a name like any other.
fn described_variables<'btf>(section: &str, btf: &'btf Btf) -> BTreeMap<&'btf str, TypeId> {
    btf.iter()
        .filter_map(|(_, found)| match found {
            Type::DataSection(found) if btf.text(found.name) == section => Some(&found.variables),
            _ => None,
        })
        .flatten()
        .filter_map(|placed| match btf.get(placed.variable)? {
            Type::Variable(variable) if variable.linkage != Linkage::Extern => {
                Some((btf.text(variable.name), variable.target))
            }
            _ => None,
        })
        .in_map()
}

/// Which definition a message is about.
#[derive(Clone, Copy)]
struct Place<'a> {
    section: &'a str,
    variable: &'a MapVariable<'a>,
    is_inner: bool,
}

impl Place<'_> {
    fn error(self, message: impl Into<String>) -> Error {
        self.diagnosis(message).into()
    }

    fn diagnosis(self, message: impl Into<String>) -> Diagnosis {
        let message = message.into();
        let message = if self.is_inner {
            format!("the definition of its inner maps: {message}")
        } else {
            message
        };
        Diagnosis::new(Code::MAP_DEFINITION, message)
            .at(self.section, self.variable.offset)
            .in_map(self.variable.name)
    }
}

/// A definition while it is read.
struct Definition<'a> {
    btf: &'a Btf,
    place: Place<'a>,
    whole: &'a Composite,
    kind: Option<MapKind>,
    /// Size of a key and the member that said so; likewise for values.
    key: Option<Stated<'a>>,
    value: Option<Stated<'a>>,
    inner: Option<InnerMap>,
    holds_functions: bool,
}

/// A number and the member that stated it.
#[derive(Clone, Copy)]
struct Stated<'a> {
    number: u32,
    by: &'a str,
}

impl<'a> Definition<'a> {
    fn of(btf: &'a Btf, target: TypeId, place: Place<'a>) -> Result<Self> {
        let (id, found) = btf
            .resolve(target)
            .map_err(|error| error.map(|it| it.in_map(place.variable.name)))?;
        let whole = match found {
            Type::Struct(whole) => whole,
            // clang gives an array of definitions no type at all.
            Type::Array(_) | Type::Void => {
                let message = "several definitions under one name, as an array, are not a map";
                return Err(place
                    .diagnosis(message)
                    .help("define each map as a variable of its own")
                    .into());
            }
            other => {
                let message = format!(
                    "a map is defined by a struct, not by the {} {id}",
                    other.kind_word()
                );
                return Err(place.error(message));
            }
        };
        let has = place.variable.size;
        if !place.is_inner && has < u64::from(whole.size) {
            let message = format!(
                "the variable has {has} bytes but its type needs {}",
                whole.size
            );
            return Err(place.error(message));
        }
        Ok(Self {
            btf,
            place,
            whole,
            kind: None,
            key: None,
            value: None,
            inner: None,
            holds_functions: false,
        })
    }

    /// Where the declared values start in the struct, bytes.
    fn values_at(&self) -> Option<u64> {
        let mut members = self.whole.members.iter();
        let values = members.find(|member| self.btf.text(member.name) == "values")?;
        Some(u64::from(values.offset_bits / 8))
    }

    fn read(mut self) -> Result<MapSpec> {
        let name = if self.place.is_inner {
            format!("{}.inner", self.place.variable.name)
        } else {
            self.place.variable.name.to_owned()
        };
        let mut spec = MapSpec::new(&name, MapKind::Other(0), 0, 0, 0);
        for member in &self.whole.members {
            self.member(member, &mut spec)?;
        }
        let Some(kind) = self.kind else {
            return Err(self.place.error("the definition has no `type`"));
        };
        spec.kind = kind;
        self.check_contents(kind)?;
        spec.key_size = self.key.map_or(0, |key| key.number);
        spec.value_size = self.value.map_or(0, |value| value.number);
        spec.inner = self.inner;
        Ok(spec)
    }

    fn member(&mut self, member: &Member, spec: &mut MapSpec) -> Result<()> {
        let field = self.btf.text(member.name);
        match field {
            "type" => self.kind = Some(MapKind::from_number(self.small_number(member)?)),
            "max_entries" => spec.max_entries = self.small_number(member)?,
            "map_flags" => spec.flags = MapFlags(self.small_number(member)?),
            "map_extra" => spec.extra = self.number(member)?,
            "numa_node" => spec.numa_node = Some(self.small_number(member)?),
            "pinning" => spec.pinning = self.pinning(member)?,
            "key_size" => self.key = self.stated(self.key, self.small_number(member)?, field)?,
            "value_size" => {
                self.value = self.stated(self.value, self.small_number(member)?, field)?
            }
            "key" => {
                let (target, size) = self.pointee(member)?;
                self.key = self.stated(self.key, size, field)?;
                spec.types.key = target;
            }
            "value" => {
                let (target, size) = self.pointee(member)?;
                self.value = self.stated(self.value, size, field)?;
                spec.types.value = target;
            }
            "values" => self.values(member)?,
            _ => {
                let message = format!("`{field}` is no attribute of a map");
                let known = FIELDS.join("`, `");
                let help = format!("attributes are `{known}`");
                return Err(self.place.diagnosis(message).help(help).into());
            }
        }
        Ok(())
    }

    /// Two members may state the same size, if they agree.
    fn stated(
        &self,
        before: Option<Stated<'a>>,
        number: u32,
        by: &'a str,
    ) -> Result<Option<Stated<'a>>> {
        match before {
            Some(other) if other.number != number => {
                let message = format!(
                    "`{by}` says {number} bytes but `{}` says {}",
                    other.by, other.number
                );
                Err(self.place.error(message))
            }
            _ => Ok(Some(Stated { number, by })),
        }
    }

    fn pinning(&self, member: &Member) -> Result<Pinning> {
        if self.place.is_inner {
            let message = "`pinning` is not possible inside another map";
            return Err(self.place.error(message));
        }
        Ok(match self.small_number(member)? {
            0 => Pinning::None,
            1 => Pinning::ByName,
            // Cilium's objects have 16 here. What it means is its loader's affair.
            other => Pinning::Custom(other),
        })
    }

    /// What the maps inside look like, or that programs are inside.
    fn values(&mut self, member: &Member) -> Result<()> {
        if self.place.is_inner {
            return Err(self.place.error("`values` is not possible two levels deep"));
        }
        let shape =
            "`values` is an array without length of pointers to a map's struct or to a function";
        let (_, Type::Array(array)) = self.resolve(member.target)? else {
            return Err(self.place.error(shape));
        };
        let (_, Type::Pointer(target)) = self.resolve(array.element)? else {
            return Err(self.place.error(shape));
        };
        match self.resolve(*target)? {
            (_, Type::FunctionPrototype(_)) => self.holds_functions = true,
            (id, Type::Struct(_)) => {
                let place = Place {
                    is_inner: true,
                    ..self.place
                };
                let inner = Definition::of(self.btf, id, place)?.read()?;
                self.inner = Some(InnerMap::Spec(Box::new(inner)));
            }
            _ => return Err(self.place.error(shape)),
        }
        let before = self.value;
        self.value = self.stated(before, DESCRIPTOR_BYTES, "values")?;
        Ok(())
    }

    /// What is inside must be what the type holds; known only when all members are read.
    fn check_contents(&mut self, kind: MapKind) -> Result<()> {
        let holds_maps = matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps);
        if self.inner.is_some() && !holds_maps {
            let message = format!("`values` describes maps, but a map of type {kind} holds none");
            return Err(self.place.error(message));
        }
        if self.holds_functions && kind != MapKind::ProgArray {
            let message =
                format!("`values` describes functions, but a map of type {kind} holds none");
            return Err(self.place.error(message));
        }
        Ok(())
    }

    fn pointee(&self, member: &Member) -> Result<(TypeId, u32)> {
        let field = self.btf.text(member.name);
        let (_, found) = self.resolve(member.target)?;
        let Type::Pointer(target) = found else {
            let message = format!(
                "`{field}` is a pointer to a type, not a member of kind {}",
                found.kind_word()
            );
            return Err(self.place.error(message));
        };
        let size = self
            .btf
            .size_of(*target)
            .map_err(|error| self.about(error, field))?;
        let size = u32::try_from(size).map_err(|_| {
            self.place.error(format!(
                "`{field}` has {size} bytes, more than 32 bits can say"
            ))
        })?;
        Ok((*target, size))
    }

    fn small_number(&self, member: &Member) -> Result<u32> {
        let number = self.number(member)?;
        u32::try_from(number).map_err(|_| {
            let field = self.btf.text(member.name);
            self.place.error(format!(
                "`{field}` is {number:#x}, more than 32 bits can say"
            ))
        })
    }

    /// A pointer to an array of that length, or an enum with that one value.
    fn number(&self, member: &Member) -> Result<u64> {
        match self.resolve(member.target)? {
            (_, Type::Pointer(target)) => {
                if let (_, Type::Array(array)) = self.resolve(*target)? {
                    return Ok(u64::from(array.length));
                }
            }
            (_, Type::Enumeration(Enumeration { enumerators, .. })) => {
                if let [only] = enumerators[..] {
                    return Ok(only.value);
                }
            }
            _ => {}
        }
        let field = self.btf.text(member.name);
        let message = format!(
            "`{field}` is a number: a pointer to an array of that length, or an enum with that one value"
        );
        Err(self
            .place
            .diagnosis(message)
            .help(format!(
                "write `int (*{field})[NUMBER]`, or `__uint({field}, NUMBER)` with libbpf's macro"
            ))
            .into())
    }

    fn resolve(&self, id: TypeId) -> Result<(TypeId, &'a Type)> {
        self.btf
            .resolve(id)
            .map_err(|error| self.about(error, "the definition"))
    }

    fn about(&self, error: Error, what: &str) -> Error {
        error
            .map(|diagnosis| diagnosis.in_map(self.place.variable.name))
            .while_doing(format!("reading `{what}`"))
    }
}
