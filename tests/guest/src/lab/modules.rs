//! Kernel modules and what they stand on, read from the modules themselves.

use super::error::Error;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A module's name and file.
pub(super) type Module = (String, Vec<u8>);

/// `wanted` and everything they depend on, each after what it depends on: the order to insert them in.
pub(super) fn load(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>, Error> {
    let mut files = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) {
            files.insert(stem.replace('-', "_"), path);
        }
    }
    let mut loaded: Vec<Module> = Vec::new();
    let mut waiting: Vec<(String, bool)> = wanted
        .iter()
        .rev()
        .map(|name| (name.replace('-', "_"), false))
        .collect();
    let mut read = HashMap::new();
    while let Some((name, expanded)) = waiting.pop() {
        if loaded.iter().any(|(known, _)| *known == name) {
            continue;
        }
        if expanded {
            if let Some(bytes) = read.remove(&name) {
                loaded.push((name, bytes));
            }
            continue;
        }
        if read.contains_key(&name) {
            return Err(Error::Failed(format!("module {name} depends on itself")));
        }
        // A kernel may have built it in.
        let Some(path) = files.get(&name) else { continue };
        let bytes = fs::read(path)?;
        let below = dependencies(&bytes);
        read.insert(name.clone(), bytes);
        waiting.push((name, true));
        waiting.extend(below.into_iter().map(|name| (name, false)));
    }
    Ok(loaded)
}

/// The names in the `depends` field of a module's `.modinfo`, which is a list of `key=value` with NULs
/// between.
fn dependencies(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|window| window == FIELD) else {
        return Vec::new();
    };
    let value = module.get(at + FIELD.len()..).unwrap_or_default();
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = value.split(|&byte| byte == b',').filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn dependencies_come_first() {
        let folder = written(&[
            (
                "top-one.ko",
                b"\x7fELF\0license=GPL\0depends=middle,low-est\0name=top_one\0",
            ),
            ("middle.ko", b"\0depends=low-est\0"),
            ("low-est.ko", b"\0depends=\0"),
            ("other.ko", b"\0depends=\0"),
        ]);
        let order = load(folder.path(), &["top-one", "built-in", "middle"]).unwrap();
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["low_est", "middle", "top_one"]);
    }

    #[test]
    fn a_circle_is_an_error() {
        let folder = written(&[("a.ko", b"\0depends=b\0"), ("b.ko", b"\0depends=a\0")]);
        assert!(load(folder.path(), &["a"]).is_err());
    }
}
