//! libbpf, as far as it is needed here, with its handles closed when dropped.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use twinbpf_object::insn::Insn;
use twinbpf_object::spec::ByteOrder;

/// An object that libbpf has opened.
#[derive(Debug)]
pub struct Open(*mut libbpf_sys::bpf_object);

/// An object whose maps exist and whose instructions are final, or whose programs are loaded too.
#[derive(Debug)]
pub struct Ready(Open);

/// A program as libbpf would hand it to the kernel.
#[derive(Debug)]
pub struct Prepared {
    /// Its name.
    pub name: String,
    /// Entry function first, then what it calls.
    pub insns: Vec<Insn>,
}

impl Open {
    /// Opens a file, with the target's types from another file if one is given.
    ///
    /// # Errors
    ///
    /// libbpf's error number.
    pub fn file(path: &Path, target_types: Option<&Path>) -> Result<Self, String> {
        // SAFETY: `None` turns the output off.
        unsafe { libbpf_sys::libbpf_set_print(None) };
        let path_text = text(path)?;
        let types_text = target_types.map(text).transpose()?;
        let options = libbpf_sys::bpf_object_open_opts {
            sz: size_of::<libbpf_sys::bpf_object_open_opts>() as u64,
            btf_custom_path: types_text
                .as_ref()
                .map_or(ptr::null(), |text| text.as_ptr()),
            ..Default::default()
        };
        // SAFETY: both texts and the options live until the call is over; libbpf copies what it keeps.
        let object =
            unsafe { libbpf_sys::bpf_object__open_file(path_text.as_ptr(), &raw const options) };
        if object.is_null() {
            return Err(format!("open: {}", std::io::Error::last_os_error()));
        }
        let open = Self(object);
        open.pin_nothing();
        Ok(open)
    }

    /// Maps that ask for a name in the bpffs get none: what is compared leaves nothing behind.
    fn pin_nothing(&self) {
        let mut last = ptr::null_mut();
        loop {
            // SAFETY: the object is open, and `last` is one of its maps or null.
            last = unsafe { libbpf_sys::bpf_object__next_map(self.0, last) };
            if last.is_null() {
                return;
            }
            // SAFETY: the map belongs to the open object; no path takes the one away that it has.
            unsafe { libbpf_sys::bpf_map__set_pin_path(last, ptr::null()) };
        }
    }

    /// Loads everything.
    ///
    /// # Errors
    ///
    /// libbpf's error number.
    pub fn load(self) -> Result<Ready, String> {
        // SAFETY: the object is open.
        let result = unsafe { libbpf_sys::bpf_object__load(self.0) };
        self.ready("load", result)
    }

    /// Creates the maps and relocates the programs, without loading any.
    ///
    /// # Errors
    ///
    /// libbpf's error number.
    pub fn prepare(self) -> Result<Ready, String> {
        // SAFETY: the object is open.
        let result = unsafe { libbpf_sys::bpf_object__prepare(self.0) };
        self.ready("prepare", result)
    }

    /// Switches every program off but one.
    pub fn only(&self, name: &str) {
        for program in self.programs() {
            // SAFETY: the program belongs to the open object.
            let own = unsafe { CStr::from_ptr(libbpf_sys::bpf_program__name(program)) };
            // SAFETY: as above.
            unsafe {
                libbpf_sys::bpf_program__set_autoload(program, own.to_bytes() == name.as_bytes())
            };
        }
    }

    fn ready(self, what: &str, result: i32) -> Result<Ready, String> {
        if result == 0 {
            return Ok(Ready(self));
        }
        Err(format!(
            "{what}: {}",
            std::io::Error::from_raw_os_error(-result)
        ))
    }

    fn programs(&self) -> Vec<*mut libbpf_sys::bpf_program> {
        let mut programs = Vec::new();
        let mut last = ptr::null_mut();
        loop {
            // SAFETY: the object is open, and `last` is one of its programs or null.
            last = unsafe { libbpf_sys::bpf_object__next_program(self.0, last) };
            if last.is_null() {
                return programs;
            }
            programs.push(last);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the object is open, and nobody has it after this.
        unsafe { libbpf_sys::bpf_object__close(self.0) };
    }
}

impl Ready {
    /// The programs that are switched on, with their final instructions.
    pub fn programs(&self) -> Vec<Prepared> {
        let mut prepared = Vec::new();
        for program in self.0.programs() {
            // SAFETY: the program belongs to the open object.
            if !unsafe { libbpf_sys::bpf_program__autoload(program) } {
                continue;
            }
            // SAFETY: as above; the name lives as long as the object.
            let name = unsafe { CStr::from_ptr(libbpf_sys::bpf_program__name(program)) };
            // SAFETY: as above.
            let count = unsafe { libbpf_sys::bpf_program__insn_cnt(program) } as usize;
            // SAFETY: as above.
            let first = unsafe { libbpf_sys::bpf_program__insns(program) };
            // SAFETY: libbpf keeps `count` instructions of eight bytes there until the object is closed.
            let bytes = unsafe { std::slice::from_raw_parts(first.cast::<u8>(), count * 8) };
            prepared.push(Prepared {
                name: name.to_string_lossy().into_owned(),
                insns: bytes
                    .chunks_exact(8)
                    .filter_map(|chunk| chunk.try_into().ok())
                    .map(|chunk| Insn::from_bytes(chunk, ByteOrder::HOST))
                    .collect(),
            });
        }
        prepared
    }
}

fn text(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}
