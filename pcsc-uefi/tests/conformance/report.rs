//! Lines of the report, which begin with `# `.

use uefi::{println, Status};

pub fn say(name: &str, status: Status) {
    println!("# {name}: {status}");
}

pub fn told<T>(name: &str, result: &uefi::Result<T>) {
    match result {
        Ok(_) => say(name, Status::SUCCESS),
        Err(error) => say(name, error.status()),
    }
}
