//! Keys and values of one map, as its types say: text and JSON, and back to bytes.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::SerializeMap;
use twinbpf::btf::{Btf, TypeId};
use twinbpf::value::{self, Types, Value};
use twinbpf::{Code, Diagnosis, PlainValue, RawMap, Result};

use crate::typed::Typed;

/// Whether it is about keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Key,
    Value,
}

/// Keys, or values, of a map.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) side: Side,
    /// Bytes of one; of one CPU's for values per CPU.
    pub(super) size: usize,
    map: String,
    types: Option<Arc<Btf>>,
    id: TypeId,
}

/// A map with what its keys and values are.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) map: RawMap,
    pub(super) key: Part,
    pub(super) value: Part,
}

impl Entries {
    pub(super) fn new(map: RawMap) -> Result<Self> {
        let info = map.info()?;
        // Types that cannot be read leave plain bytes.
        let types = map.types().ok().flatten();
        let part = |side, size: u32, id: TypeId| {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let fits = |types: &Arc<Btf>| {
                types
                    .size_of(id)
                    .ok()
                    .and_then(|of| usize::try_from(of).ok())
                    == Some(size)
            };
            Part {
                side,
                size,
                map: info.name.clone(),
                types: types
                    .clone()
                    .filter(|types| id != TypeId::VOID && fits(types)),
                id,
            }
        };
        let key = part(Side::Key, info.key_size, info.types.key);
        let value = part(Side::Value, info.value_size, info.types.value);
        Ok(Self { map, key, value })
    }

    /// The values of all CPUs, or the only one.
    pub(super) fn slots<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        let size = self.value.size;
        let stride = match self.map.spec().kind.is_per_cpu() {
            true => size.next_multiple_of(8),
            false => size,
        };
        value
            .chunks(stride.max(1))
            .map(move |slot| slot.get(..size).unwrap_or(slot))
    }

    /// A value as one line of text. Those of all CPUs are added up, unless they cannot be.
    pub(super) fn value_text(&self, value: &[u8], per_cpu: bool) -> String {
        if !self.map.spec().kind.is_per_cpu() {
            return self.value.text(value);
        }
        let shown: Vec<Value> = self
            .slots(value)
            .map(|slot| self.value.show(slot))
            .collect();
        let sum = shown
            .iter()
            .cloned()
            .map(Some)
            .reduce(|sum, next| add(&sum?, &next?))
            .flatten();
        match sum.filter(|_| !per_cpu) {
            Some(sum) => sum.to_string(),
            None => {
                let each = shown.iter().enumerate();
                let each: Vec<String> = each.map(|(cpu, one)| format!("cpu{cpu}={one}")).collect();
                each.join(" ")
            }
        }
    }

    /// An entry as a document, with bpftool's names.
    pub(super) fn document<'e>(&'e self, key: &'e [u8], value: &'e [u8]) -> EntryDocument<'e> {
        EntryDocument {
            entries: self,
            key,
            value,
        }
    }
}

impl Part {
    /// The bytes that a text says.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u8>> {
        let encoded = match &self.types {
            Some(types) => Types::of(types).encode(self.id, text),
            None => value::encode_plain(text, self.size),
        };
        encoded.map_err(|error| {
            error.map(|diagnosis| {
                let what = self.what();
                let message = format!("the {what}: {}", diagnosis.message);
                Diagnosis {
                    message,
                    ..diagnosis
                }
                .in_map(&self.map)
            })
        })
    }

    pub(super) fn misfit(&self, message: String) -> twinbpf::Error {
        let message = format!("the {}: {message}", self.what());
        Diagnosis::new(Code::VALUE_MISFIT, message)
            .in_map(&self.map)
            .into()
    }

    /// One line of text.
    pub(super) fn text(&self, bytes: &[u8]) -> String {
        match self.types {
            Some(_) => self.show(bytes).to_string(),
            None => PlainValue::from(bytes).to_string(),
        }
    }

    fn show(&self, bytes: &[u8]) -> Value {
        self.typed(bytes)
            .unwrap_or_else(|| match PlainValue::from(bytes) {
                PlainValue::Number(number) => Value::Unsigned(number),
                bytes => Value::Text(bytes.to_string()),
            })
    }

    fn typed(&self, bytes: &[u8]) -> Option<Value> {
        Types::of(self.types.as_ref()?).value(self.id, bytes)
    }

    fn what(&self) -> &'static str {
        match self.side {
            Side::Key => "key",
            Side::Value => "value",
        }
    }
}

/// The sum of two values of the same type; `None` if they cannot be added.
fn add(one: &Value, other: &Value) -> Option<Value> {
    match (one, other) {
        (Value::Unsigned(one), Value::Unsigned(other)) => {
            Some(Value::Unsigned(one.wrapping_add(*other)))
        }
        (Value::Signed(one), Value::Signed(other)) => Some(Value::Signed(one.wrapping_add(*other))),
        (Value::Float(one), Value::Float(other)) => Some(Value::Float(one + other)),
        (Value::List(one), Value::List(other)) => {
            let sums = one.iter().zip(other).map(|(one, other)| add(one, other));
            sums.collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Value::Fields(one), Value::Fields(other)) => {
            let sums = one
                .iter()
                .zip(other)
                .map(|((name, one), (_, other))| Some((name.clone(), add(one, other)?)));
            sums.collect::<Option<Vec<_>>>().map(Value::Fields)
        }
        (one, other) if one == other => Some(one.clone()),
        _ => None,
    }
}

/// An entry, as bpftool writes it: bytes, and behind them what they mean.
pub(super) struct EntryDocument<'e> {
    entries: &'e Entries,
    key: &'e [u8],
    value: &'e [u8],
}

#[derive(Serialize)]
struct OfCpu<T: Serialize> {
    cpu: usize,
    value: T,
}

#[derive(Serialize)]
struct Formatted {
    key: Typed,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Typed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<OfCpu<Typed>>>,
}

impl Serialize for EntryDocument<'_> {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        let entries = self.entries;
        let is_per_cpu = entries.map.spec().kind.is_per_cpu();
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("key", &bytes(self.key))?;
        if is_per_cpu {
            let slots = entries.slots(self.value).enumerate();
            let slots = slots.map(|(cpu, slot)| OfCpu {
                cpu,
                value: bytes(slot),
            });
            document.serialize_entry("values", &slots.collect::<Vec<_>>())?;
        } else {
            document.serialize_entry("value", &bytes(self.value))?;
        }
        if let Some(formatted) = self.formatted(is_per_cpu) {
            document.serialize_entry("formatted", &formatted)?;
        }
        document.end()
    }
}

impl EntryDocument<'_> {
    fn formatted(&self, is_per_cpu: bool) -> Option<Formatted> {
        let (entries, key) = (self.entries, self.entries.key.typed(self.key)?);
        let (mut value, mut values) = (None, None);
        if is_per_cpu {
            let slots = entries.slots(self.value).enumerate().map(|(cpu, slot)| {
                let value = Typed(entries.value.typed(slot)?);
                Some(OfCpu { cpu, value })
            });
            values = Some(slots.collect::<Option<Vec<_>>>()?);
        } else {
            value = Some(Typed(entries.value.typed(self.value)?));
        }
        Some(Formatted {
            key: Typed(key),
            value,
            values,
        })
    }
}

/// Bytes as bpftool writes them.
pub(super) fn bytes(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("0x{byte:02x}")).collect()
}
