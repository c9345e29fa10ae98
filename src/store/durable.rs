//! Files that are whole or absent, whatever happens to the machine, and that only their owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a folder, with its parents, that only its owner may enter.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes sure a file exists that only its owner may read; a wider one is narrowed.
///
/// A file that exists is not opened: closing it again would release the locks that the registry's database holds on
/// it elsewhere in this process.
pub(crate) fn private_file(path: &Path) -> io::Result<()> {
    match new_file(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => narrow(path),
        Err(error) => Err(error),
    }
}

/// Writes a file that only its owner may read, replacing what was there.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let waiting = write_beside(path, content)?;
    fs::rename(&waiting, path).inspect_err(|_| drop(fs::remove_file(&waiting)))?;
    sync_folder(path)
}

/// Writes a file that only its owner may read, unless one is there: then `false`, and that one stays untouched. Of two
/// writers at once, in two processes too, exactly one wins.
pub(crate) fn create_new(path: &Path, content: &[u8]) -> io::Result<bool> {
    let waiting = write_beside(path, content)?;
    let linked = fs::hard_link(&waiting, path);
    let _ = fs::remove_file(&waiting);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) if path.exists() => Ok(false),
        // A file system without hard links: a crash may leave half a file, which its reader then reports.
        Err(_) => match new_file(path) {
            Ok(mut file) => {
                file.write_all(content)?;
                file.sync_all()?;
                sync_folder(path).map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// Gives a file that was written beside `path` that name, unless there is one: then `false`, and that one stays untouched.
pub(super) fn name_new(waiting: &Path, path: &Path) -> io::Result<bool> {
    match fs::hard_link(waiting, path) {
        Ok(()) => drop(fs::remove_file(waiting)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(_) if path.exists() => return Ok(false),
        // A file system without hard links.
        Err(_) => fs::rename(waiting, path)?,
    }
    sync_folder(path).map(|()| true)
}

/// Writes a file that only its owner may read, to be given the name `path` once it is whole.
pub(super) fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let waiting = path.with_file_name(format!(".{name}.{}.{count}.tmp", std::process::id()));
    // Left over from a process of the same id that was killed.
    let _ = fs::remove_file(&waiting);
    let mut file = new_file(&waiting)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&waiting);
        return Err(error);
    }
    Ok(waiting)
}

pub(super) fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn narrow(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn narrow(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Without this a renamed or linked file may be gone after a power cut.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
