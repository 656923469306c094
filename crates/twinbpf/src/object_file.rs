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
/// If the file cannot be read, becomes shorter meanwhile, or has more than 256 MiB
/// ([`FileTooLarge`](io::ErrorKind::FileTooLarge)).
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
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    match usize::try_from(metadata.len()) {
        Ok(length) if metadata.is_file() && length <= MOST_BYTES => {
            read_without_debugging(length, |at, room| file.read_exact_at(room, at))
        }
        _ if metadata.is_file() => Err(io::ErrorKind::FileTooLarge.into()),
        // A pipe does not say how much there is, and a device may never end.
        _ => read_up_to(MOST_BYTES, file),
    }
}

fn read_up_to(most: usize, file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(most).map_or(u64::MAX, |most| most.saturating_add(1));
    file.take(one_more).read_to_end(&mut bytes)?;
    match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

/// The largest file that is read. Debugging information included, real objects have some 10 MiB.
const MOST_BYTES: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_is_not_read_to_its_end() {
        let too_large =
            |result: io::Result<Vec<u8>>| result.unwrap_err().kind() == io::ErrorKind::FileTooLarge;
        assert!(too_large(read_up_to(1000, io::repeat(0))));
        assert_eq!(read_up_to(1000, &[7; 1000][..]).unwrap().len(), 1000);
    }
}
