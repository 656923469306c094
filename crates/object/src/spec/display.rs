//! An object in a few lines, for logs and `println!`; listings with more detail are the caller's.

use std::fmt;

use super::{ByteOrder, MapSpec, Object, ProgramSpec};

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} BPF object, ", self.byte_order)?;
        match &self.license {
            Some(license) => write!(f, "license `{license}`")?,
            None => f.write_str("no license")?,
        }
        for map in &self.maps {
            write!(f, "\n  map {map}")?;
        }
        for program in &self.programs {
            write!(f, "\n  program {program}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MapSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}`: {}, key {} B, value {} B, {} entries",
            self.name, self.kind, self.key_size, self.value_size, self.max_entries
        )?;
        match self.flags.0 {
            0 => Ok(()),
            flags => write!(f, ", flags {flags:#x}"),
        }
    }
}

impl fmt::Display for ProgramSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in `{}`: ", self.name, self.section)?;
        match self.kind {
            Some(kind) => write!(f, "{kind}"),
            None => f.write_str("no type"),
        }
    }
}

impl fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Little => "little-endian",
            Self::Big => "big-endian",
        })
    }
}
