//! pcscd unloads a handler with its last reader while the control thread still runs in it: the code has to
//! stay mapped.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
