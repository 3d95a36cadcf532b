//! A temporary folder.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::problem::Problem;

/// A temporary folder of this process, which no other user may enter. It is removed with what is in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder.
    pub fn new() -> Result<Folder, Problem> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            // Short, since sockets in it have paths of 107 bytes at most.
            let folder = std::env::temp_dir().join(format!("pcsc-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Folder(folder)),
                // Left by a killed process with this number. In containers it is always the same one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                Err(error) => {
                    let problem = Problem::unwritable(&folder, error);
                    return Err(problem.advise("TMPDIR names another place for temporary files."));
                }
            }
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Removes the folder. An error is ignored: it may have been removed already.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_private_and_goes_with_what_is_in_it() {
        let (folder, other) = (Folder::new().expect("a folder"), Folder::new().expect("a folder"));
        let path = folder.path("");
        assert_ne!(path, other.path(""));
        let mode = path.metadata().expect("our folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(folder.path("file"), "").expect("a file in our folder");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_was_left_behind_is_passed_over() {
        let before = Folder::new().expect("a folder");
        let name = before
            .0
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let (rest, number) = name.rsplit_once('-').expect("a number");
        let number: usize = number.parse().expect("a number");
        let left: Vec<_> = (1..4)
            .map(|more| before.0.with_file_name(format!("{rest}-{}", number + more)))
            .collect();
        // Another test may have made one of them.
        let made = left
            .iter()
            .filter(|path| std::fs::create_dir(path).is_ok())
            .collect::<Vec<_>>();
        let folder = Folder::new().expect("a folder");
        assert!(!made.contains(&&folder.0));
        assert!(folder.path("socket").as_os_str().len() - std::env::temp_dir().as_os_str().len() < 30);
        made.iter()
            .for_each(|path| std::fs::remove_dir(path).expect("our folder"));
    }
}
