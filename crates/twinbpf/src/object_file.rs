//! Object files, read without what loading never looks at.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use twinbpf_object::read_without_debugging;

/// The bytes of an object file for [`Object::parse`](crate::Object::parse), without its debugging information: that is often
/// nine tenths of a file, and is zeros here. What is no object file is read whole.
///
/// # Errors
///
/// If the file cannot be read, or becomes shorter meanwhile.
///
/// # Examples
///
/// ```
/// use twinbpf::Object;
///
/// let object = Object::parse(&twinbpf::read_object_file("examples/sockex1/sockex1.bpf.o".as_ref())?)?;
/// assert_eq!(object.programs[0].name, "count_outgoing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_object_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    match usize::try_from(metadata.len()) {
        Ok(length) if metadata.is_file() && length <= MOST_BYTES => {
            read_without_debugging(length, |at, room| file.read_exact_at(room, at))
        }
        // A pipe has no length, and what is as large as this is none of ours.
        _ => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    }
}

/// Largest file for which room is made at once.
const MOST_BYTES: usize = 1 << 28;
