//! The program in C, `c/program.c`: another compiler, calling convention by attribute, and a header of its
//! own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::run;

/// Debian's package gnu-efi.
const START: &str = "/usr/lib/crt0-efi-x86_64.o";
const LAYOUT: &str = "/usr/lib/elf_x86_64_efi.lds";
/// The sections of an image.
const SECTIONS: [&str; 7] = [
    ".text", ".sdata", ".data", ".rodata", ".dynamic", ".rel*", ".reloc",
];
const LIMIT: Duration = Duration::from_secs(120);

/// Why it cannot be built here, if it cannot.
pub fn missing() -> Option<String> {
    (!Path::new(START).exists() || !Path::new(LAYOUT).exists())
        .then(|| format!("no {START}: run scripts/setup"))
}

/// Builds it into `folder`; gives the image's path.
pub fn program(folder: &Path) -> PathBuf {
    let [object, library, image] = ["program.o", "program.so", "program.efi"].map(|name| folder.join(name));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"])
        .args([
            "-I/usr/include/efi",
            "-I/usr/include/efi/x86_64",
            "-DGNU_EFI_USE_MS_ABI",
        ])
        .args(["-ffreestanding", "-fno-stack-protector", "-fpic", "-fshort-wchar"])
        .args(["-mno-red-zone", "-maccumulate-outgoing-args"])
        .arg("-c")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/uefi/c/program.c"))
        .arg("-o")
        .arg(&object);
    run(&mut compiler, LIMIT).stdout();
    let mut linker = Command::new("ld");
    linker
        .args([
            "-shared",
            "-Bsymbolic",
            "-nostdlib",
            "-znocombreloc",
            "-T",
            LAYOUT,
            START,
        ])
        .arg(&object)
        .args(["-L/usr/lib", "-lefi", "-lgnuefi", "-o"])
        .arg(&library);
    run(&mut linker, LIMIT).stdout();
    let mut copier = Command::new("objcopy");
    for section in SECTIONS {
        copier.args(["-j", section]);
    }
    copier
        .arg("--output-target=efi-app-x86_64")
        .args([&library, &image]);
    run(&mut copier, LIMIT).stdout();
    image
}
