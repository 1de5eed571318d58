//! Gets rid of file descriptors that whoever started us left open.
//! A keeper lives for weeks: an inherited lock or pipe would be held that long.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const FIRST_BEYOND_STDERR: i32 = 3;

/// Starts this program anew, with the same pid, when anything beyond stderr is open.
pub(crate) fn shed_inherited() -> io::Result<()> {
    if !any_inherited()? {
        return Ok(());
    }
    close_fds::set_fds_cloexec(FIRST_BEYOND_STDERR, &[]);
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).exec())
}

fn any_inherited() -> io::Result<bool> {
    let mut beyond_stderr = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_string_lossy().parse::<i32>();
        if number.is_ok_and(|number| number >= FIRST_BEYOND_STDERR) {
            beyond_stderr += 1;
        }
    }
    let reading_this_directory = 1;
    Ok(beyond_stderr > reading_this_directory)
}
