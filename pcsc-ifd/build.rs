//! pcscd unloads a handler with its last reader. Rust's standard library is not made to be unmapped: the
//! destructor of a pthread key that it has made is called when a thread ends, and its code has to be there.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
