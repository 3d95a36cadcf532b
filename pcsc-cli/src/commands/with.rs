//! `pcsc with`: runs a program on this project's libpcsclite.so.1, without installing it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::{symlink, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::args::{Backend, Global, With};
use crate::output::message;
use crate::problem::{Exit, Problem};

/// The program of a script, and that of the script that this is, and so on.
const MAX_SCRIPTS: usize = 4;

/// Runs the command. Returns only if it cannot be run.
pub fn run(global: &Global, arguments: &With) -> Result<(), Problem> {
    global.refuse("pcsc with", &["--reader", "--json"])?;
    let Some((program, rest)) = arguments.command.split_first() else {
        return Err(Problem::new(Exit::Usage, "Which command? See --help."));
    };
    let (folder, delegate) = library()?;
    if let Some((file, why)) = more_rights(program) {
        warn(&format!(
            "{} is {why}: where that gives it more rights than you have, it ignores LD_LIBRARY_PATH and uses the \
             system's libpcsclite.so.1",
            file.display()
        ));
    }
    let theirs = std::env::var_os("LIBPCSCLITE_DELEGATE").filter(|theirs| theirs != delegate.as_os_str());
    if let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty()) {
        warn(&format!(
            "LIBPCSCLITE_DELEGATE is {} for this command, in the place of your {}",
            delegate.display(),
            theirs.to_string_lossy()
        ));
    }
    let mut command = Command::new(program);
    let mut property = OsString::from("-Dsun.security.smartcardio.library=");
    property.push(folder.join("libpcsclite.so.1"));
    if arguments.java {
        // Quoted for Java, which splits this variable itself.
        let own = std::env::var_os("JAVA_TOOL_OPTIONS").filter(|own| !own.is_empty());
        let mut options = own.map_or(OsString::new(), |own| joined(own, " "));
        options.push("\"");
        options.push(property);
        options.push("\"");
        command.env("JAVA_TOOL_OPTIONS", options);
    } else if Path::new(program).file_name() == Some(OsStr::new("java")) {
        command.arg(property);
    }
    let mut path = folder.into_os_string();
    if let Some(own) = std::env::var_os("LD_LIBRARY_PATH").filter(|own| !own.is_empty()) {
        path = joined(path, ":");
        path.push(own);
    }
    match global.backend {
        Some(Backend::Auto) => command.env_remove("PCSCLITE_BACKEND"),
        Some(Backend::Daemon) => command.env("PCSCLITE_BACKEND", "daemon"),
        Some(Backend::Standalone) => command.env("PCSCLITE_BACKEND", "standalone"),
        Some(Backend::Simulated) => command.env("PCSCLITE_BACKEND", "simulated"),
        None => &mut command,
    };
    if let Some(socket) = &global.socket {
        command.env("PCSCLITE_CSOCK_NAME", socket);
    }
    let error = command
        .args(rest)
        .env("LD_LIBRARY_PATH", path)
        .env("LIBPCSCLITE_DELEGATE", delegate)
        .exec();
    // The exit codes of env(1) and of the shells.
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::CommandNotFound,
        _ => Exit::CommandUnusable,
    };
    Err(Problem::new(
        exit,
        format!("{} cannot be run: {error}.", program.to_string_lossy()),
    ))
}

fn joined(mut text: OsString, with: &str) -> OsString {
    text.push(with);
    text
}

fn warn(text: &str) {
    message(format_args!("warning: {text}"));
}

/// The folder for LD_LIBRARY_PATH and the file for LIBPCSCLITE_DELEGATE: next to this program, where cargo
/// builds both, or installed.
fn library() -> Result<(PathBuf, PathBuf), Problem> {
    let program = std::env::current_exe().and_then(|program| program.canonicalize());
    let folder = program
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned))
        .unwrap_or_default();
    let built = folder.join("libpcsclite.so");
    if built.is_file() {
        let links = folder.join("with-pcsc");
        for name in ["libpcsclite.so.1", "libpcsclite_real.so.1"] {
            link(&links, name).map_err(|error| {
                Problem::new(
                    Exit::Failed,
                    format!("{} cannot be written: {error}.", links.display()),
                )
            })?;
        }
        let delegate = links.join("libpcsclite_real.so.1");
        return Ok((links, delegate));
    }
    let installed = folder.join("../lib");
    let library = installed.join("libpcsclite.so.1");
    let is_ours = std::fs::read(&library).is_ok_and(|bytes| crate::doctor::libraries::is_ours(&bytes));
    match is_ours {
        true => Ok((installed, library)),
        false => Err(
            Problem::new(Exit::Failed, format!("{} is not there.", built.display()))
                .advise("Build it first: cargo build --release -p pcsc-sys-shim"),
        ),
    }
}

/// Makes a link to the library. It is made elsewhere and moved into place: another command may be starting
/// right now.
fn link(folder: &Path, name: &str) -> io::Result<()> {
    let target = Path::new("../libpcsclite.so");
    let link = folder.join(name);
    if std::fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let made = folder.join(format!("{name}.{}", std::process::id()));
    symlink(target, &made)?;
    std::fs::rename(made, link)
}

/// The file that the kernel runs for a command, if that may give its process more rights than the caller has,
/// and by what.
fn more_rights(program: &OsStr) -> Option<(PathBuf, &'static str)> {
    let mut file = found(program)?;
    for _ in 0..MAX_SCRIPTS {
        match interpreter(&file) {
            Some(next) => file = next,
            None => break,
        }
    }
    let mode = std::fs::metadata(&file).ok()?.mode();
    let has_capabilities = || rustix::fs::getxattr(&file, "security.capability", &mut [0_u8; 64][..]).is_ok();
    let why = match mode {
        mode if mode & 0o4000 != 0 => "setuid",
        mode if mode & 0o2000 != 0 => "setgid",
        _ if has_capabilities() => "a program with file capabilities",
        _ => return None,
    };
    Some((file, why))
}

/// A program's file, in the folders of PATH where its name has no slash.
fn found(program: &OsStr) -> Option<PathBuf> {
    if program.to_string_lossy().contains('/') {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0))
}

/// What runs a script: its interpreter, or what env finds for it. `None` for what is no script.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    let length = io::Read::read(&mut std::fs::File::open(file).ok()?, &mut start).ok()?;
    let line = start[..length]
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let mut program = words.next()?;
    if Path::new(program).file_name() == Some(OsStr::new("env")) {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    found(OsStr::new(program))
}
