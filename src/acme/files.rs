//! Files that hold secrets: readable for their owner only, and replaced as a whole.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::whole_file;
pub use crate::whole_file::remove;

/// Maximum size of a file that is read. The largest hold a chain or a hundred challenges.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file; `None` if it does not exist. A larger one than geofront writes is an error.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    whole_file::read(path, MAX_BYTES)
}

/// Replaces a file as a whole; only its owner may read it. When this returns, the new file survives
/// a power failure. The folder is created if it does not exist.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    create_folder(path.parent().unwrap_or_else(|| Path::new(".")))?;
    whole_file::replace(path, text, 0o600)
}

/// Creates the folder if it does not exist, for its owner only.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme").join("account.json");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
