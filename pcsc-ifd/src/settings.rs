//! Settings, as libccid has them: `ifdDriverOptions` and `ifdLogLevel` in the bundle's Info.plist. The
//! environment variables `PCSC_IFD_DRIVER_OPTIONS` and `PCSC_IFD_LOG_LEVEL` take precedence. `LANG` selects
//! the language of PIN pads.

#![forbid(unsafe_code)]

use crate::library_path::library_path;
use pcsc_ccid::reader::options::{number, ReaderOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Bits of `ifdLogLevel`.
const LOG_CRITICAL: u32 = 0x01;
const LOG_INFO: u32 = 0x02;

/// The largest Info.plist that is read, in bytes: ten times the size of one that lists every known reader.
const MAX_PLIST: u64 = 1 << 20;

/// The settings of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Options of the CCID driver.
    pub reader_options: ReaderOptions,
    /// Whether readers that cannot be used are logged.
    pub log_critical: bool,
    /// Whether normal operation is logged.
    pub log_info: bool,
}

impl Settings {
    fn read(plist: &str, environment: impl Fn(&str) -> Option<String>) -> Settings {
        let find = |key, variable| {
            environment(variable)
                .as_deref()
                .and_then(number)
                .or_else(|| number(string(plist, key)?))
        };
        let locale = environment("LANG").unwrap_or_default();
        let bits = find("ifdDriverOptions", "PCSC_IFD_DRIVER_OPTIONS").unwrap_or(0);
        let log_level = find("ifdLogLevel", "PCSC_IFD_LOG_LEVEL").unwrap_or(LOG_CRITICAL | LOG_INFO);
        Settings {
            reader_options: ReaderOptions::default()
                .with_driver_options(bits)
                .with_locale(&locale),
            log_critical: log_level & LOG_CRITICAL != 0,
            log_info: log_level & LOG_INFO != 0,
        }
    }
}

/// The settings, read once.
pub fn get() -> Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    *SETTINGS.get_or_init(|| {
        let plist = library_path()
            .and_then(|file| info_plist(&file))
            .unwrap_or_default();
        Settings::read(&plist, |name| std::env::var(name).ok())
    })
}

/// The text of Contents/Info.plist for a library in Contents/Linux, or for a symbolic link to such a library.
fn info_plist(library: &Path) -> Option<String> {
    let contents = |file: &Path| -> Option<PathBuf> { Some(file.parent()?.parent()?.join("Info.plist")) };
    let path = [Some(library.to_owned()), library.canonicalize().ok()]
        .into_iter()
        .flatten()
        .filter_map(|file| contents(&file))
        .find(|path| {
            path.metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_PLIST)
        })?;
    std::fs::read_to_string(path).ok()
}

/// The string after a key, as bundles of pcscd write it. Other forms of property lists are not understood.
fn string<'a>(plist: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = plist.split_once(&format!("<key>{key}</key>"))?;
    let value = after.trim_start().strip_prefix("<string>")?;
    Some(value.split_once("</string>")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLIST: &str = "<dict>\n\t<key>ifdDriverOptions</key>\n\t<string>0x0005</string>\n\
                         \t<key>ifdLogLevel</key>\n\t<string>1</string></dict>";

    #[test]
    fn the_plist_decides() {
        let settings = Settings::read(PLIST, |_| None);
        assert!(settings.reader_options.allow_escape && settings.reader_options.any_firmware);
        assert!(settings.log_critical && !settings.log_info);
    }

    #[test]
    fn the_environment_comes_first() {
        let settings = Settings::read(PLIST, |name| match name {
            "PCSC_IFD_DRIVER_OPTIONS" => Some("4".into()),
            "PCSC_IFD_LOG_LEVEL" => Some("0x2".into()),
            _ => Some("fr_CH.UTF-8".into()),
        });
        assert_eq!(settings.reader_options.language, *b"fr");
        assert!(!settings.reader_options.allow_escape && settings.reader_options.any_firmware);
        assert!(!settings.log_critical && settings.log_info);
        // A value that is not a number is ignored.
        assert_eq!(
            Settings::read(PLIST, |_| Some("C".into())),
            Settings::read(PLIST, |_| None)
        );
    }

    #[test]
    fn the_plist_is_that_of_the_bundle_which_the_library_is_in() {
        let root = std::env::temp_dir().join(format!("pcsc-ifd-{}-bundle", std::process::id()));
        let linux = root.join("Contents/Linux");
        std::fs::create_dir_all(&linux).unwrap();
        let (library, plist) = (linux.join("driver.so"), root.join("Contents/Info.plist"));
        std::fs::write(&library, "").unwrap();
        assert_eq!(info_plist(&library), None);
        std::fs::write(&plist, PLIST).unwrap();
        assert_eq!(info_plist(&library).as_deref(), Some(PLIST));
        // As distributions do it: the library elsewhere, and a link to it that pcscd loads; or the reverse.
        let link = root.join("link.so");
        std::os::unix::fs::symlink(&library, &link).unwrap();
        assert_eq!(info_plist(&link).as_deref(), Some(PLIST));
        // It is not read into memory, whatever is in it.
        let file = std::fs::File::options().write(true).open(&plist).unwrap();
        file.set_len(MAX_PLIST + 1).unwrap();
        assert_eq!(info_plist(&library), None);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        for plist in [
            "",
            "<key>ifdDriverOptions</key>",
            "<key>ifdDriverOptions</key><string>0x",
            "\u{0}",
        ] {
            let settings = Settings::read(plist, |_| None);
            assert!(!settings.reader_options.allow_escape && !settings.reader_options.any_firmware);
            assert!(settings.log_critical && settings.log_info);
        }
    }
}
