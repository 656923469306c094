//! Says what a file is, and refuses what cannot be a BPF object with one clear cause each.
//!
//! The header is read by hand as far as needed to name the file's kind, because "x86-64 executable" helps a user
//! and "unsupported header" does not.

use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use crate::bytes::ByteOrder;
use crate::bytes::u16_at;
use crate::diagnosis::{Code, Diagnosis, Error, Result};

/// The header type of the only class BPF has.
pub(super) type Header = elf::FileHeader64<Endianness>;

const HEADER_BYTES: usize = size_of::<Header>();
const IDENT_BYTES: usize = 16;
const MACHINE_OFFSET: usize = 18;
const TYPE_OFFSET: usize = 16;

/// Most of a foreign file's first line that a message shows.
const SHOWN_CHARACTERS: usize = 24;

/// The header of a relocatable 64-bit BPF file.
///
/// # Errors
///
/// For everything else.
pub(super) fn identify(bytes: &[u8]) -> Result<&Header> {
    check_magic(bytes)?;
    let order = check_ident(bytes)?;
    check_machine(bytes, order)?;
    if bytes.len() < HEADER_BYTES {
        return Err(too_short(bytes.len(), HEADER_BYTES));
    }
    let header = Header::parse(bytes)
        .map_err(|error| Diagnosis::new(Code::MALFORMED_ELF, format!("ELF header: {error}")))?;
    check_type(header, order)?;
    Ok(header)
}

fn check_magic(bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(Diagnosis::new(Code::EMPTY_FILE, "the file is empty: 0 bytes").into());
    }
    if bytes.starts_with(&elf::ELFMAG) {
        return Ok(());
    }
    if elf::ELFMAG.starts_with(bytes) {
        return Err(too_short(bytes.len(), HEADER_BYTES));
    }
    let message = format!("not an ELF file: starts with {}", beginning(bytes));
    Err(Diagnosis::new(Code::NOT_ELF, message)
        .help("give an object that `clang -target bpf -O2 -g -c` wrote")
        .into())
}

/// Class, byte order and version.
fn check_ident(bytes: &[u8]) -> Result<ByteOrder> {
    if bytes.len() < MACHINE_OFFSET + 2 {
        return Err(too_short(bytes.len(), HEADER_BYTES));
    }
    let ident = &bytes[..IDENT_BYTES];
    let order = match ident[5] {
        1 => ByteOrder::Little,
        2 => ByteOrder::Big,
        other => return Err(bad_ident(5, "byte order", other)),
    };
    match ident[4] {
        2 => {}
        1 => return Err(foreign(bytes, order, "32-bit ")),
        other => return Err(bad_ident(4, "class", other)),
    }
    if ident[6] != 1 {
        return Err(bad_ident(6, "version", ident[6]));
    }
    Ok(order)
}

fn check_machine(bytes: &[u8], order: ByteOrder) -> Result<()> {
    let machine = u16_at(bytes, MACHINE_OFFSET, order).unwrap_or_default();
    let is_object = u16_at(bytes, TYPE_OFFSET, order) == Some(elf::ET_REL.0);
    // The first BPF back ends had no machine number yet and wrote 0 (EM_NONE).
    if machine == elf::EM_BPF.0 || (machine == elf::EM_NONE.0 && is_object) {
        return Ok(());
    }
    Err(foreign(bytes, order, ""))
}

fn check_type(header: &Header, order: ByteOrder) -> Result<()> {
    let file_type = header.e_type(endianness(order));
    if file_type == elf::ET_REL {
        return Ok(());
    }
    let message = format!(
        "this is a BPF {}, but only relocatable objects can be loaded",
        type_name(file_type.0)
    );
    Err(Diagnosis::new(Code::NOT_RELOCATABLE, message)
        .help("compile with `-c` and give the .o file itself")
        .into())
}

/// An ELF file for something else than 64-bit BPF.
fn foreign(bytes: &[u8], order: ByteOrder, class: &str) -> Error {
    let machine = u16_at(bytes, MACHINE_OFFSET, order).unwrap_or_default();
    let file_type = u16_at(bytes, TYPE_OFFSET, order).unwrap_or_default();
    let kind = if file_type == elf::ET_DYN.0 && has_interpreter(bytes, order) {
        "executable"
    } else {
        type_name(file_type)
    };
    let machine = machine_name(machine);
    // "32-bit x86", but "x86-64" says its width itself.
    let message = if machine == "BPF" {
        format!("this is a {class}BPF {kind}, but BPF objects are 64-bit")
    } else {
        let article = if class.is_empty() && machine.starts_with(['x', 'A', 'I', 'S']) {
            "an"
        } else {
            "a"
        };
        format!("this is {article} {class}{machine} {kind}, not BPF")
    };
    Diagnosis::new(Code::NOT_BPF, message)
        .help("compile for BPF: `clang -target bpf -O2 -g -c`")
        .into()
}

/// Whether a position-independent file is meant to be started: only then it names a dynamic loader.
fn has_interpreter(bytes: &[u8], order: ByteOrder) -> bool {
    let endian = endianness(order);
    Header::parse(bytes)
        .and_then(|header| header.program_headers(endian, bytes))
        .is_ok_and(|headers| {
            headers
                .iter()
                .any(|header| header.p_type(endian) == elf::PT_INTERP)
        })
}

fn type_name(number: u16) -> &'static str {
    match number {
        1 => "object",
        2 => "executable",
        3 => "shared library",
        4 => "core dump",
        _ => "file of unknown type",
    }
}

/// The machines a user is likely to mix up with BPF.
fn machine_name(number: u16) -> String {
    let name = match number {
        2 => "SPARC",
        3 => "x86",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "S/390",
        40 => "ARM",
        43 => "SPARC64",
        62 => "x86-64",
        183 => "AArch64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        _ => return format!("machine-{number}"),
    };
    name.to_owned()
}

/// The first line of a text, or the first bytes of something else.
fn beginning(bytes: &[u8]) -> String {
    let line = bytes
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default();
    let shown: String = String::from_utf8_lossy(&line[..line.len().min(4 * SHOWN_CHARACTERS)])
        .chars()
        .take(SHOWN_CHARACTERS)
        .collect();
    let is_text = !shown.is_empty()
        && shown.chars().all(|char| {
            (!char.is_control() || char == '\t') && char != char::REPLACEMENT_CHARACTER
        });
    if is_text {
        return format!("`{shown}`");
    }
    let hex: Vec<String> = bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("bytes {}", hex.join(" "))
}

fn too_short(length: usize, needed: usize) -> Error {
    let message = format!("the ELF header needs {needed} bytes but the file has {length}");
    Diagnosis::new(Code::TRUNCATED, message).into()
}

fn bad_ident(offset: u64, what: &str, value: u8) -> Error {
    let mut diagnosis = Diagnosis::new(
        Code::MALFORMED_ELF,
        format!("the ELF header has {what} {value}, which does not exist"),
    );
    diagnosis.place.offset = Some(offset);
    diagnosis.into()
}

/// The container crate's word for our byte order.
pub(crate) fn endianness(order: ByteOrder) -> Endianness {
    match order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, file_type: u16, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data, 1];
        bytes.resize(HEADER_BYTES, 0);
        let (file_type, machine) = match data {
            2 => (file_type.to_be_bytes(), machine.to_be_bytes()),
            _ => (file_type.to_le_bytes(), machine.to_le_bytes()),
        };
        bytes[16..18].copy_from_slice(&file_type);
        bytes[18..20].copy_from_slice(&machine);
        bytes
    }

    fn refusal(bytes: &[u8]) -> (Code, String) {
        let error = identify(bytes).unwrap_err();
        (error.diagnosis().code, error.to_string())
    }

    #[test]
    fn each_wrong_file_gets_its_own_cause() {
        let cases: [(Vec<u8>, Code, &str); 13] = [
            (vec![], Code::EMPTY_FILE, "the file is empty: 0 bytes"),
            (
                b"#include <linux/bpf.h>\nint x;".to_vec(),
                Code::NOT_ELF,
                "not an ELF file: starts with `#include <linux/bpf.h>`",
            ),
            (
                vec![0, 1, 0xff],
                Code::NOT_ELF,
                "not an ELF file: starts with bytes 00 01 ff",
            ),
            (
                b"\x7fEL".to_vec(),
                Code::TRUNCATED,
                "the ELF header needs 64 bytes but the file has 3",
            ),
            (
                header(2, 1, 1, 247)[..63].to_vec(),
                Code::TRUNCATED,
                "the ELF header needs 64 bytes but the file has 63",
            ),
            (
                header(2, 1, 2, 62),
                Code::NOT_BPF,
                "this is an x86-64 executable, not BPF",
            ),
            (
                header(2, 1, 1, 62),
                Code::NOT_BPF,
                "this is an x86-64 object, not BPF",
            ),
            (
                header(2, 1, 3, 183),
                Code::NOT_BPF,
                "this is an AArch64 shared library, not BPF",
            ),
            (
                header(1, 1, 1, 3),
                Code::NOT_BPF,
                "this is a 32-bit x86 object, not BPF",
            ),
            (
                header(1, 1, 1, 247),
                Code::NOT_BPF,
                "this is a 32-bit BPF object, but BPF objects are 64-bit",
            ),
            (
                header(2, 2, 2, 247),
                Code::NOT_RELOCATABLE,
                "this is a BPF executable, but only relocatable objects can be loaded",
            ),
            (
                header(2, 3, 1, 247),
                Code::MALFORMED_ELF,
                "offset 0x5: the ELF header has byte order 3, which does not exist",
            ),
            (
                header(9, 1, 1, 247),
                Code::MALFORMED_ELF,
                "offset 0x4: the ELF header has class 9, which does not exist",
            ),
        ];
        for (bytes, code, message) in cases {
            assert_eq!(refusal(&bytes), (code, message.to_owned()));
        }
    }

    #[test]
    fn objects_of_the_first_back_ends_have_machine_0() {
        assert!(identify(&header(2, 1, 1, 0)).is_ok());
        assert!(identify(&header(2, 2, 1, 247)).is_ok());
        assert!(identify(&header(2, 1, 2, 0)).is_err());
    }
}
