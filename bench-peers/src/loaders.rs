//! One load of an object, whole, by each library.

use std::path::Path;

use aya::EbpfLoader;
use aya::programs::Program;
use twinbpf::{Engine, Object};

use crate::libbpf;

/// What stays alive until the caller has measured.
pub type Held = Box<dyn std::any::Any>;

/// A library that loads objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// Us.
    Twinbpf,
    /// libbpf, through `libbpf-sys`.
    Libbpf,
    /// aya.
    Aya,
}

impl Library {
    /// All, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Twinbpf, Self::Libbpf, Self::Aya];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twinbpf => "twinbpf",
            Self::Libbpf => "libbpf",
            Self::Aya => "aya",
        }
    }

    /// The library with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.name() == name)
    }

    /// Reads the file, creates the maps and loads the programs.
    ///
    /// # Errors
    ///
    /// The library's own words.
    pub fn load(self, path: &Path) -> Result<Held, String> {
        match self {
            Self::Twinbpf => twinbpf(path).map_err(|error| error.to_string()),
            Self::Libbpf => libbpf::Open::file(path, None)?
                .load()
                .map(|loaded| Box::new(loaded) as Held),
            Self::Aya => aya(path).map_err(|error| format!("{error:?}")),
        }
    }
}

fn twinbpf(path: &Path) -> Result<Held, Box<dyn std::error::Error>> {
    let object = Object::parse(&std::fs::read(path)?)?;
    Ok(Box::new(Engine::kernel()?.load_object(&object)?))
}

/// aya loads programs one by one, each through its own kind.
fn aya(path: &Path) -> Result<Held, Box<dyn std::error::Error>> {
    let mut loaded = EbpfLoader::new().load_file(path)?;
    for (_, program) in loaded.programs_mut() {
        match program {
            Program::SocketFilter(program) => program.load()?,
            Program::TracePoint(program) => program.load()?,
            Program::RawTracePoint(program) => program.load()?,
            Program::KProbe(program) => program.load()?,
            Program::Xdp(program) => program.load()?,
            Program::SchedClassifier(program) => program.load()?,
            other => return Err(format!("no load for {:?}", other.prog_type()).into()),
        }
    }
    Ok(Box::new(loaded))
}
