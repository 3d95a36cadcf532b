//! Where this project's library is for the programs that `pcsc with` and `pcsc spy` run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::doctor::libraries;
use crate::environment::variable;
use crate::output::warn;
use crate::problem::{Exit, Problem};

/// The library, with what is to stand before it.
#[derive(Debug)]
pub struct Library {
    /// The folder for LD_LIBRARY_PATH.
    pub folder: PathBuf,
    /// This project's library, under a name that no other library has.
    pub ours: PathBuf,
    /// pcsc-lite's libpcscspy.so.0, if the user wants it between the program and our library.
    pub spy: Option<PathBuf>,
}

impl Library {
    /// The library next to this program, where cargo builds both, or the one installed with it. Of
    /// LIBPCSCLITE_DELEGATE only pcsc-lite's spy is kept; another library there would take the place of ours.
    pub fn find() -> Result<Library, Problem> {
        let program = std::env::current_exe().and_then(|program| program.canonicalize());
        let folder = program
            .ok()
            .and_then(|program| program.parent().map(Path::to_owned))
            .unwrap_or_default();
        let built = folder.join("libpcsclite.so");
        let is_built = built.is_file();
        let mut library = match is_built {
            true => {
                let links = folder.join("with-pcsc");
                let target = Path::new("../libpcsclite.so");
                make_links(&links, &[("libpcsclite.so.1", target), (REAL, target)])?;
                Library {
                    ours: links.join(REAL),
                    folder: links,
                    spy: None,
                }
            }
            false => installed(&folder, &built)?,
        };
        let theirs = variable("LIBPCSCLITE_DELEGATE");
        let Some(theirs) = theirs.filter(|theirs| *theirs != library.ours) else {
            return Ok(library);
        };
        if !is_spy(&theirs) {
            warn(format_args!(
                "LIBPCSCLITE_DELEGATE is {} for this command, in the place of your {}",
                library.ours.display(),
                theirs.to_string_lossy()
            ));
            return Ok(library);
        }
        let Some(spy) = found(&theirs) else {
            warn(format_args!(
                "{} is not installed, and records nothing; pcsc spy does, without it",
                theirs.to_string_lossy()
            ));
            return Ok(library);
        };
        let links = match is_built {
            true => folder.join("with-pcsc-spy"),
            false => cache().join("pcsc/with-pcsc-spy"),
        };
        // The spy takes the place of the library, and loads the real one by the second name, before pcsc-lite
        // 2.3 by the third, or by LIBPCSCLITE_SPY_DELEGATE.
        let ours = library.ours.canonicalize().unwrap_or(library.ours);
        let names = [
            ("libpcsclite.so.1", &*spy),
            (REAL, &*ours),
            ("libpcsclite_nospy.so.1", &*ours),
        ];
        make_links(&links, &names)?;
        library.ours = links.join(REAL);
        library.folder = links;
        library.spy = Some(spy);
        Ok(library)
    }
}

/// The name by which pcsc-lite from 2.3 on finds the library that it stands before.
const REAL: &str = "libpcsclite_real.so.1";

fn installed(programs: &Path, built: &Path) -> Result<Library, Problem> {
    let folder = programs.join("../lib");
    let ours = folder.join("libpcsclite.so.1");
    if std::fs::read(&ours).is_ok_and(|bytes| libraries::is_ours(&bytes)) {
        return Ok(Library {
            folder,
            ours,
            spy: None,
        });
    }
    // Cargo warns, and leaves the shared library out.
    let advice = if built.with_extension("a").is_file() {
        "The static library alone is there: with musl, Rust makes a shared one only where asked for. Build \
         it with RUSTFLAGS='-C target-feature=-crt-static' cargo build --release -p pcsc-sys-shim"
    } else {
        "Build it first: cargo build --release -p pcsc-sys-shim"
    };
    Err(Problem::new(Exit::Failed, format!("{} is not there.", built.display())).advise(advice))
}

/// Whether this is the library that pcsc-lite records calls with.
fn is_spy(delegate: &OsStr) -> bool {
    let name = Path::new(delegate).file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"libpcscspy")
}

/// The file of a library, as the loader finds it: by its path, or by its name in the usual folders.
fn found(library: &OsString) -> Option<PathBuf> {
    let by_path = PathBuf::from(library);
    if library.as_encoded_bytes().contains(&b'/') {
        return by_path.canonicalize().ok();
    }
    let mut files = libraries::folders()
        .into_iter()
        .map(|folder| folder.join(library));
    files.find(|file| file.is_file())
}

/// The user's folder for files that can be made again.
fn cache() -> PathBuf {
    let folder = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
}

fn make_links(folder: &Path, links: &[(&str, &Path)]) -> Result<(), Problem> {
    for (name, target) in links {
        make_link(folder, name, target).map_err(|error| Problem::unwritable(folder, error))?;
    }
    Ok(())
}

/// Makes a link. It is made elsewhere and moved into place: another command may be starting right now.
fn make_link(folder: &Path, name: &str, target: &Path) -> io::Result<()> {
    let link = folder.join(name);
    if std::fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let made = folder.join(format!("{name}.{}", std::process::id()));
    symlink(target, &made)?;
    std::fs::rename(made, link)
}
