//! Files that hold secrets: readable for their owner only, and replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Maximum size of a file that is read. The largest hold a chain or a hundred challenges.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file; `None` if it does not exist. A larger one than geofront writes is an error.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is too large to be geofront's"));
    }
    Ok(Some(text))
}

/// Replaces a file as a whole; only its owner may read it. When this returns, the new file survives
/// a power failure. The folder is created if it does not exist.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    create_folder(folder)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    // What a crash left may have other permissions, and those of an existing file would stay.
    remove(Path::new(&name))?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&name)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&name, path)?;
    File::open(folder)?.sync_all()
}

/// Creates the folder if it does not exist, for its owner only.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes a file, which need not exist.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
        // A crash may have left an unfinished file that others can read.
        let unfinished = folder.path().join("acme").join("account.json.new");
        fs::write(&unfinished, "torn").unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.json");
        let file = File::create(&path).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert!(read(&path).is_err());
    }
}
