//! Words of the command line: which map, which bytes.

use std::path::Path;

use twinbpf::{Code, Diagnosis, Engine, RawMap, Result};

use super::entry::{Part, Side};

/// Words that were not read yet.
#[derive(Debug)]
pub(super) struct Words<'a>(&'a [String]);

impl<'a> Words<'a> {
    pub(super) fn new(words: &'a [String]) -> Self {
        Self(words)
    }

    /// The map that the next words name.
    pub(super) fn map(&mut self) -> Result<RawMap> {
        let engine = Engine::kernel()?;
        match self.next("a map")? {
            "id" => by_id(&engine, self.next("a number after `id`")?),
            "name" => by_name(&engine, self.next("a name after `name`")?),
            "pinned" => by_path(&engine, self.next("a path after `pinned`")?),
            word if word.contains('/') => by_path(&engine, word),
            word if word.starts_with(|c: char| c.is_ascii_digit()) => by_id(&engine, word),
            word => by_name(&engine, word),
        }
    }

    /// The bytes that the next words say, of a key or a value.
    pub(super) fn part(&mut self, part: &Part) -> Result<Vec<u8>> {
        let (keyword, what) = match part.side {
            Side::Key => ("key", "a key"),
            Side::Value => ("value", "a value"),
        };
        if !self.takes(keyword) {
            return part.encode(self.next(what)?);
        }
        let is_hex = self.takes("hex");
        let ends = |word: &String| matches!(word.as_str(), "value" | "any" | "exist" | "noexist");
        let end = self.0.iter().position(ends).unwrap_or(self.0.len());
        let (own, rest) = self.0.split_at(end);
        self.0 = rest;
        if is_hex || (own.len() == part.size && own.len() > 1) {
            return single_bytes(own, is_hex, part);
        }
        match own {
            [] => Err(missing(what)),
            own => part.encode(&own.join(" ")),
        }
    }

    /// The next word.
    pub(super) fn next(&mut self, what: &str) -> Result<&'a str> {
        let (first, rest) = self.0.split_first().ok_or_else(|| missing(what))?;
        self.0 = rest;
        Ok(first)
    }

    /// Whether there are more.
    pub(super) fn has_more(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the next word if it is this one.
    pub(super) fn takes(&mut self, word: &str) -> bool {
        let is_next = self.0.first().is_some_and(|first| first == word);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// Whether the next word is the name of an ordinary file, and the only one left.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.0, [only] if Path::new(only).is_file() && !only.starts_with("/sys/fs/bpf"))
    }

    /// That was all.
    pub(super) fn end(&self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            [first, ..] => Err(usage(format!("`{first}` is one word too many"))),
        }
    }
}

/// bpftool's way to write bytes: each a word.
fn single_bytes(words: &[String], is_hex: bool, part: &Part) -> Result<Vec<u8>> {
    let byte = |word: &String| {
        let number = match word.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16),
            None if is_hex => u8::from_str_radix(word, 16),
            None => word.parse(),
        };
        number.map_err(|_| part.misfit(format!("`{word}` is no byte: it holds 0 to 255")))
    };
    let bytes = words.iter().map(byte).collect::<Result<Vec<u8>>>()?;
    if bytes.len() == part.size {
        return Ok(bytes);
    }
    let message = format!("it has {} bytes, {} are given", part.size, bytes.len());
    Err(part.misfit(message))
}

fn by_id(engine: &Engine, word: &str) -> Result<RawMap> {
    let id = word
        .parse()
        .map_err(|_| usage(format!("`{word}` is no number of a map")))?;
    engine
        .map_by_id(id)?
        .ok_or_else(|| not_found(format!("there is no map with number {id}")))
}

fn by_path(engine: &Engine, word: &str) -> Result<RawMap> {
    engine
        .open_pinned_map(Path::new(word))?
        .ok_or_else(|| not_found(format!("nothing is pinned at {word}")))
}

/// The kernel keeps 15 bytes of a name.
fn by_name(engine: &Engine, word: &str) -> Result<RawMap> {
    let kept = word.get(..15).unwrap_or(word);
    let mut found = Vec::new();
    for id in engine.map_ids()? {
        // A map may go while we look.
        if let Some(map) = engine.map_by_id(id)?
            && map.spec().name == kept
        {
            found.push((id, map));
        }
    }
    match found.len() {
        0 => Err(not_found(format!("there is no map with name `{word}`"))),
        1 => Ok(found.swap_remove(0).1),
        count => {
            let ids: Vec<String> = found.iter().map(|(id, _)| format!("id {id}")).collect();
            let message = format!("{count} maps have the name `{word}`");
            let diagnosis = Diagnosis::new(Code::USAGE, message);
            Err(diagnosis.fact("they are", ids.join(", ")).into())
        }
    }
}

fn missing(what: &str) -> twinbpf::Error {
    usage(format!("{what} is missing"))
}

fn not_found(message: String) -> twinbpf::Error {
    let help = "`twinbpf map show` lists the maps of the system";
    Diagnosis::new(Code::MAP_NOT_FOUND, message)
        .help(help)
        .into()
}

pub(super) fn usage(message: String) -> twinbpf::Error {
    let help = "`twinbpf map help` says how maps, keys and values are written";
    Diagnosis::new(Code::USAGE, message).help(help).into()
}
