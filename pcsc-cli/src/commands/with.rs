//! `pcsc with`: runs a program on this project's libpcsclite.so.1, without installing it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::library::Library;
use crate::args::{Backend, Global, With};
use crate::environment::variable;
use crate::output::warn;
use crate::problem::{Exit, Problem};

/// How many scripts are followed to their interpreters: an interpreter may be a script itself.
const MAX_SCRIPTS: usize = 4;

/// Runs the command. Returns only if it cannot be run.
pub fn run(global: &Global, arguments: &With) -> Result<(), Problem> {
    let mut command = command(global, &arguments.command, arguments.java)?;
    let error = command.exec();
    Err(cannot_run(&command, &error))
}

/// The problem that a program cannot be run.
pub fn cannot_run(command: &Command, error: &io::Error) -> Problem {
    // The exit codes of env(1) and of the shells.
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::CommandNotFound,
        _ => Exit::CommandUnusable,
    };
    let program = command.get_program().to_string_lossy();
    Problem::new(exit, format!("{program} cannot be run: {error}."))
}

/// A program and its arguments, with our library in its environment; `java` is for all Java programs below
/// it.
pub fn command(global: &Global, command: &[OsString], java: bool) -> Result<Command, Problem> {
    let Some((program, rest)) = command.split_first() else {
        return Err(Problem::new(Exit::Usage, "Which command? See --help."));
    };
    if let Some((file, why)) = more_rights(program) {
        warn(format_args!(
            "{} is {why}: where that gives it more rights than you have, it ignores LD_LIBRARY_PATH and uses \
             the system's libpcsclite.so.1",
            file.display()
        ));
    }
    let library = Library::find()?;
    let mut command = Command::new(program);
    let mut property = OsString::from("-Dsun.security.smartcardio.library=");
    property.push(library.folder.join("libpcsclite.so.1"));
    if java {
        // Quoted for Java, which splits this variable itself.
        let own = variable("JAVA_TOOL_OPTIONS");
        let mut options = own.map_or(OsString::new(), |own| joined(own, " "));
        options.push("\"");
        options.push(property);
        options.push("\"");
        command.env("JAVA_TOOL_OPTIONS", options);
    } else if Path::new(program).file_name() == Some(OsStr::new("java")) {
        command.arg(property);
    }
    let mut path = library.folder.clone().into_os_string();
    if let Some(own) = variable("LD_LIBRARY_PATH") {
        path = joined(path, ":");
        path.push(own);
    }
    match global.backend {
        Some(Backend::Auto) => command.env_remove("PCSCLITE_BACKEND"),
        Some(Backend::Daemon) => command.env("PCSCLITE_BACKEND", "daemon"),
        Some(Backend::Standalone) => command.env("PCSCLITE_BACKEND", "standalone"),
        Some(Backend::Simulated) => command.env("PCSCLITE_BACKEND", "simulated"),
        Some(Backend::System) => {
            let text = "pcsc with puts this project's library in the place of the system's: it takes no \
                --backend system.";
            return Err(Problem::new(Exit::Usage, text));
        }
        None => &mut command,
    };
    if let Some(socket) = &global.socket {
        command.env("PCSCLITE_CSOCK_NAME", socket);
    }
    command.args(rest).env("LD_LIBRARY_PATH", path);
    match &library.spy {
        Some(spy) => command
            .env("LIBPCSCLITE_DELEGATE", spy)
            .env("LIBPCSCLITE_SPY_DELEGATE", &library.ours),
        None => command.env("LIBPCSCLITE_DELEGATE", &library.ours),
    };
    Ok(command)
}

fn joined(mut text: OsString, with: &str) -> OsString {
    text.push(with);
    text
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
    let why = match mode {
        mode if mode & 0o4000 != 0 => "setuid",
        mode if mode & 0o2000 != 0 => "setgid",
        _ if has_capabilities(&file) => "a program with file capabilities",
        _ => return None,
    };
    Some((file, why))
}

/// Whether the kernel gives capabilities to a file's program.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has_capabilities(file: &Path) -> bool {
    rustix::fs::getxattr(file, "security.capability", &mut [0_u8; 64][..]).is_ok()
}

/// Linux alone has such files.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn has_capabilities(_file: &Path) -> bool {
    false
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_gives_a_program_more_rights_is_found_behind_scripts() {
        let folder = Folder::new().expect("a folder");
        let put = |name: &str, text: &str, mode| {
            let file = folder.path(name);
            fs::write(&file, text).expect("a file in our folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("our file");
            file
        };
        let found = |file: &Path| more_rights(file.as_os_str());
        let plain = put("plain", "\x7FELF", 0o755);
        assert_eq!(found(&plain), None);
        let setuid = put("setuid", "\x7FELF", 0o4755);
        let expected = Some((setuid.clone(), "setuid"));
        assert_eq!(found(&setuid), expected);
        let setgid = put("setgid", "\x7FELF", 0o2755);
        assert_eq!(found(&setgid), Some((setgid.clone(), "setgid")));
        for line in [
            format!("#!{}\n", setuid.display()),
            format!("#! {} -x\nrest", setuid.display()),
            format!("#!/usr/bin/env {}\n", setuid.display()),
            format!("#!/usr/bin/env -S A=b {} -x\n", setuid.display()),
        ] {
            let script = put("script", &line, 0o755);
            assert_eq!(found(&script), expected, "{line}");
            // The kernel ignores the bits of a script.
            let outer = put("outer", &format!("#!{}\n", script.display()), 0o4755);
            assert_eq!(found(&outer), expected, "{line}");
        }
        assert_eq!(found(&put("script", "#!/usr/bin/env\n", 0o755)), None);
        assert_eq!(found(Path::new("/nonexistent/program")), None);
        assert_eq!(super::found(OsStr::new("no-such-program")), None);
        assert!(super::found(OsStr::new("sh")).is_some_and(|file| file.is_absolute()));
    }
}
