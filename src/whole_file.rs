//! Files that are read and replaced as a whole.
//!
//! The new content reaches the disk before its name does. A reader, or geofront after a crash or
//! power failure, finds either the old or the new file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file; `None` if it does not exist. A file of more than `max_bytes` is an error: geofront
/// did not write it.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::other("it is too large to be geofront's"));
    }
    Ok(Some(text))
}

/// Replaces a file, which then has these permissions, less those that the process masks. When this
/// returns, the new file survives a power failure. After a failure, the old file is there and no
/// part of the new one.
pub fn replace(path: &Path, text: &str, permissions: u32) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    // What a crash left may have other permissions, and those of an existing file would stay.
    remove(unfinished)?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(permissions)
        .open(unfinished)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(unfinished, path));
    if let Err(error) = written {
        // On a full disk it may occupy the last block.
        fs::remove_file(unfinished).ok();
        return Err(error);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
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

    fn permissions(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_has_the_permissions_that_are_wanted_whatever_a_crash_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.json");
        let unfinished = folder.path().join("account.json.new");
        fs::write(&unfinished, "torn").unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, "one", 0o600).unwrap();
        replace(&path, "two", 0o600).unwrap();
        assert_eq!(read(&path, 3).unwrap().as_deref(), Some("two"));
        assert_eq!(permissions(&path), 0o600);
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        fs::create_dir(&path).unwrap();
        assert!(
            replace(&path, "new", 0o644).is_err(),
            "a folder has that name"
        );
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.json");
        assert_eq!(read(&path, 10).unwrap(), None);
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path, 10).is_err());
    }
}
